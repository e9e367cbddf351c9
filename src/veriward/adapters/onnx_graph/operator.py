"""The table of operators. Each entry builds, from a node's attributes, a function of tensors; attributes are read once.

Semantics: the ONNX operator specification, https://onnx.ai/onnx/operators, of the opset that the graph imports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

MOST_ELEMENTS = 1 << 29  # of one tensor: a few bytes of a hostile file can ask for more than any machine holds

Function = Callable[..., Any]
Build = Callable[["Node"], Function]


class Unsupported(Exception):  # noqa: N818 -- a finding on the way to a note, never shown as an error by itself
    """An operator, or a setting of one, that has no torch reading; the text names it."""


class TooLarge(Exception):  # noqa: N818 -- the graph's shapes are what is wrong
    """A tensor that no machine should try to hold."""


@dataclass(frozen=True)
class Node:
    """One step of a graph. `version` is the opset of the operator's domain; absent optional inputs are called ""."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0
    name: str = ""

    def get(self, key: str, default: Any = None) -> Any:
        """Return an attribute, or its default."""
        return self.attributes.get(key, default)

    def has(self, position: int) -> bool:
        """Return whether the optional input at a position is given."""
        return position < len(self.inputs) and self.inputs[position] != ""

    def only_first(self) -> None:
        """Raise Unsupported if the optional further outputs are wanted."""
        if any(self.outputs[1:]):
            raise Unsupported(f"{self.op} with {len(self.outputs)} outputs")


@dataclass(frozen=True)
class Entry:
    """An operator: how it is built, and which inputs are shapes or axes, which are read on the host."""

    build: Build
    host: tuple[int, ...] = ()


OPERATORS: dict[str, Entry] = {}


def operator(*names: str, host: tuple[int, ...] = ()) -> Callable[[Build], Build]:
    """Enter a builder under the names of its operators.

    >>> @operator("Twice")
    ... def _twice(node: Node) -> Function:
    ...     return lambda x: 2 * x
    >>> OPERATORS.pop("Twice").build(Node("Twice", ("x",), ("y",)))(3)
    6
    """

    def enter(build: Build) -> Build:
        for name in names:
            OPERATORS[name] = Entry(build, host)
        return build

    return enter


def simple(function: Function, *names: str) -> None:
    """Enter operators without attributes."""
    for name in names:
        OPERATORS[name] = Entry(lambda node: function)


def ints(tensor: Tensor) -> list[int]:
    """Return a tensor of sizes, axes or positions as numbers.

    >>> import torch
    >>> ints(torch.tensor([2, -1])), ints(torch.tensor(3))
    ([2, -1], [3])
    """
    return [int(value) for value in tensor.reshape(-1).tolist()]


def affordable(sizes: list[int]) -> list[int]:
    """Return the sizes of a tensor to be made; TooLarge if it holds more than MOST_ELEMENTS.

    >>> affordable([2, 3])
    [2, 3]
    """
    count = 1
    for size in sizes:
        count *= max(size, 0)
    if count > MOST_ELEMENTS:
        raise TooLarge(f"a tensor of shape {tuple(sizes)[:8]}, more than {MOST_ELEMENTS} numbers")
    return sizes
