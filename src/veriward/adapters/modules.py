"""Torch modules: live ones, `.pt2` programs and `.safetensors` weights with a factory. Tiles make rows independent."""

import contextlib
import copy
import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from veriward.adapters.artefact import Artefact
from veriward.adapters.elsewhere import MOST_SINGLE, MOST_THREADED, Place, Raw, standing, threads
from veriward.adapters.loading import Loading, choose_device
from veriward.adapters.model import Classes
from veriward.core.data import Table
from veriward.core.errors import ArtefactError, ModelError
from veriward.core.note import Note
from veriward.core.subject import Access, Output, Subject

FORMATS = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TILE = 64  # rows: measured bit-equal per row whatever the companions, and the fastest on a CPU


class ModuleBackend:
    """A torch module in evaluation mode, parameters frozen."""

    access: Access = "gradients"
    classes: Classes | None = None
    columns: tuple[str, ...] | None = None
    width: int | None
    output: Output | None = None  # what the answers are, where the format says it
    notes: tuple[Note, ...] = ()

    def __init__(
        self, module: Any, *, format: str, device: str, batch_size: int | None = None, static: int | None = None
    ) -> None:
        self.module, self.format, self.device = module, format, torch.device(device)
        self.static, self.others = static, dict[str, Place]()  # the size of batch of the file; twins in other runtimes
        self.tile = static or TILE
        self.batch = self.tile if static else _whole_tiles(batch_size, self.device)
        first = next((p for p in module.parameters() if p.is_floating_point()), None)
        self.dtype = first.dtype if first is not None else torch.float32
        self.width = _width(module)

    def raw(self, x: Any) -> Tensor:
        """Return the outputs without gradients, where x is."""
        home = x.device if isinstance(x, Tensor) else torch.device("cpu")
        with torch.no_grad():
            parts = [self._run(part)[: len(part)].to(home) for part in self._prepared(x).split(self.batch)]
        return torch.cat(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs with gradients back to x."""
        return torch.cat([self._run(part)[: len(part)].to(x.device) for part in self._prepared(x).split(self.batch)])

    def elsewhere(self) -> dict[str, Place]:
        """Return this module in other number formats, on the other device, on two threads, and one row at a time."""
        found = {name: self._place(dtype=kind) for name, kind in FORMATS.items() if kind != self.dtype}
        if self.device.type != "cpu":
            found["cpu"] = self._place(device="cpu")
        elif torch.cuda.is_available():
            found["cuda"] = self._place(device="cuda")
        found["two_threads"] = Place(lambda: threads(2, self.raw), most=MOST_THREADED)
        if self.static is None:
            single = ModuleBackend(self.module, format=self.format, device=str(self.device), static=1)
            single.dtype = self.dtype
            found["one_row_at_a_time"] = standing(single.raw, most=MOST_SINGLE)
        return {**found, **self.others}

    def _place(self, *, dtype: torch.dtype | None = None, device: str | None = None) -> Place:
        def enter() -> contextlib.AbstractContextManager[Raw]:
            module = _copied(self.module).to(dtype=dtype or self.dtype, device=device or self.device)
            twin = ModuleBackend(module, format=self.format, device=device or str(self.device), static=self.static)
            twin.dtype = dtype or self.dtype
            return contextlib.nullcontext(twin.raw)

        return Place(enter)

    def _prepared(self, x: Any) -> Tensor:
        values = x.matrix() if isinstance(x, Table) else x
        tensor = torch.as_tensor(np.asarray(values)) if not isinstance(values, Tensor) else values
        return tensor.to(self.device, self.dtype)

    def _run(self, x: Tensor) -> Tensor:
        missing = -len(x) % self.tile
        # a copy in any case: a model may write into what it gets
        padded = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x.clone()
        out = self.module(padded)
        if isinstance(out, tuple | list) and out:
            out = out[0]
        if isinstance(out, Mapping):
            out = out.get("logits", list(out))
        if not isinstance(out, Tensor) or not out.ndim or len(out) != len(padded):
            came = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"{type(out).__name__} {str(out)[:60]}"
            raise ModelError(f"model: answered {came} for {len(padded)} rows; want a tensor, or it under 'logits'")
        return out


def _copied(module: Any) -> Any:
    """Return a copy with numbers of its own: the module itself may share the caller's."""
    with warnings.catch_warnings():
        # exported programs hold a class that torch has deprecated and still writes
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        return copy.deepcopy(module)


def _whole_tiles(batch_size: int | None, device: torch.device) -> int:
    default = TILE if device.type == "cpu" else 64 * TILE
    return -(-(batch_size or default) // TILE) * TILE


def _width(module: Any) -> int | None:
    """Return the number of inputs if the first layer is linear."""
    first = next((m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)), None)
    return int(first.in_features) if isinstance(first, nn.Linear) else None


def from_live(module: nn.Module, *, device: str | None, batch_size: int | None) -> ModuleBackend:
    """Wrap a module of the caller's: a copy that shares its numbers, so that mode, hooks and gradients stay untouched."""
    try:
        memo: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
        twin = copy.deepcopy(module, memo)
    except Exception as error:
        raise ArtefactError(f"model {type(module).__name__}: cannot be copied ({error}); export it to .pt2") from error
    where = next((str(p.device) for p in module.parameters()), "cpu")
    twin.eval().requires_grad_(False)
    return ModuleBackend(twin.to(device or where), format="module", device=device or where, batch_size=batch_size)


def from_export(artefact: Artefact, subject: Subject, how: Loading) -> ModuleBackend:
    """Load a `.pt2` file that the scanner found clean; a fixed batch becomes the size of the tiles."""
    path, device = artefact.path, choose_device(how.device)
    try:
        program = torch.export.load(io.BytesIO(artefact.content()))
    except ArtefactError:
        raise
    except Exception as error:
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ArtefactError(f"{path}: cannot be loaded as an exported program ({text}); export it again") from error
    inputs = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in inputs]
    if len(shapes) != 1:
        raise ArtefactError(f"{path}: takes {len(shapes)} inputs; want a program of one batch of rows")
    static = int(shapes[0][0]) if isinstance(shapes[0][0], int) else None
    module = program.module()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    backend = ModuleBackend(module.to(device), format="pt2", device=device, batch_size=how.batch_size, static=static)
    backend.width = int(shapes[0][1]) if len(shapes[0]) == 2 and isinstance(shapes[0][1], int) else None
    return backend
