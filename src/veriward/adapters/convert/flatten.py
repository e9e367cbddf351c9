"""Every tensor in a tree of containers, under its dotted name; modules give the names that their state dict would."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.scan.words import words
from veriward.core.errors import ArtefactError

from .inert import Inert

MAX_DEPTH = 64
WEIGHTS = ("state_dict", "model_state_dict", "model", "weights", "net", "params")
_NAMES = words("float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 int64 int32 int16 int8 uint8 bool")
_DTYPES = frozenset(getattr(torch, name) for name in _NAMES)


@dataclass
class Leaves:
    """What a tree holds: tensors and plain values by name, and the names of what fits neither.

    >>> leaves = Leaves.of({"a": {"w": torch.zeros(2)}, "epoch": 3})
    >>> list(leaves.tensors), leaves.values
    (['a.w'], {'epoch': 3})
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tree: Any) -> "Leaves":
        """Walk a tree; ArtefactError where it is too deep or two leaves would get one name."""
        leaves = cls()
        leaves._walk(tree, "", 0)
        return leaves

    def _walk(self, node: Any, name: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ArtefactError(f"{name[:80]}: lies more than {MAX_DEPTH} containers deep; want a state dict")
        if isinstance(node, Tensor):
            self._tensor(node, name)
        elif isinstance(node, np.ndarray | np.generic):
            self._array(np.asarray(node), name)
        elif node is None or isinstance(node, str | int | float | bool):
            self._once(self.values, name, node)
        else:
            self._container(node, name, depth)

    def _container(self, node: Any, name: str, depth: int) -> None:
        found = False
        for key, child in children(node):
            found = True
            self._walk(child, f"{name}.{key}" if name else str(key), depth + 1)
        if not found and not isinstance(node, Mapping | list | tuple | set | frozenset | Inert):
            self.left_out.append(f"{name or 'the object'} ({type(node).__name__})")

    def _tensor(self, tensor: Tensor, name: str) -> None:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in _DTYPES or tensor.is_meta:
            kind = "quantised" if tensor.is_quantized else f"{tensor.dtype}, {tensor.layout}"
            self.left_out.append(f"{name} (tensor of a kind that safetensors does not hold: {kind})")
            return
        self._once(self.tensors, name or "tensor", tensor.detach())

    def _array(self, array: "np.ndarray[Any, Any]", name: str) -> None:
        if (
            array.dtype.kind not in "biuf"
            or array.dtype.itemsize > 8
            or array.dtype in (np.uint16, np.uint32, np.uint64)
        ):
            self.left_out.append(f"{name} (array of {array.dtype})")
            return
        self._once(self.tensors, name or "array", torch.from_numpy(np.array(array, order="C")))

    def _once(self, kept: dict[str, Any], name: str, value: Any) -> None:
        if name in self.tensors or name in self.values:
            raise ArtefactError(f"{name[:80]}: two leaves would get this name; choose a part with --key")
        kept[name] = value


def children(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the named parts of a container, of a module's stand-in as in its state dict, of a stand-in as it was filled.

    >>> list(children([7, 8]))
    [('0', 7), ('1', 8)]
    """
    if isinstance(node, Mapping):
        yield from ((str(key), child) for key, child in node.items())
    elif isinstance(node, list | tuple):
        yield from ((str(i), child) for i, child in enumerate(node))
    elif isinstance(node, Inert):
        yield from _stand_in(node)


def _stand_in(node: Inert) -> Iterator[tuple[str, Any]]:
    state = node.state[0] if isinstance(node.state, tuple) and node.state else node.state
    if isinstance(state, Mapping) and "_parameters" in state and "_modules" in state:
        skipped = state.get("_non_persistent_buffers_set", ())
        for part in ("_parameters", "_buffers", "_modules"):
            for key, child in children(state.get(part)):
                if child is not None and key not in skipped:
                    yield key, child
        return
    yield from children(node.pairs)
    yield from children(node.items)
    yield from children(state)


def chosen(tree: Any, key: str | None) -> tuple[Any, str]:
    """Return the part of a checkpoint that holds the weights, and its name; "" for all of it.

    `key` is a dotted name; None takes the one usual entry of a training checkpoint, if there is one. Raises
    ArtefactError for a name that is not there.

    >>> chosen({"epoch": 3, "state_dict": {"w": torch.zeros(1)}}, None)[1]
    'state_dict'
    """
    if key is None:
        return _usual(tree)
    node = tree
    for step in key.split(".") if key else ():
        parts = dict(children(node))
        if step not in parts:
            raise ArtefactError(
                f"--key {key}: there is no {step!r}; there are: {', '.join(list(parts)[:20]) or 'none'}"
            )
        node = parts[step]
    return node, key


def _usual(tree: Any) -> tuple[Any, str]:
    if not isinstance(tree, Mapping) or any(isinstance(value, Tensor) for value in tree.values()):
        return tree, ""
    names = [name for name in WEIGHTS if isinstance(tree.get(name), Mapping | Inert)]
    return (tree[names[0]], names[0]) if len(names) == 1 else (tree, "")
