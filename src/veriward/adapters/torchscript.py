"""TorchScript programs, from `torch.jit.save`. Exported programs (`.pt2`) have taken their place in torch."""

import io
import warnings
from typing import Any

import torch
from torch import nn

from veriward.adapters.artefact import Artefact
from veriward.adapters.loading import Loading, choose_device
from veriward.adapters.modules import ModuleBackend
from veriward.core.errors import ArtefactError
from veriward.core.subject import Subject

_LAYERS = ("Linear", "Conv1d", "Conv2d")


class Scripted(nn.Module):
    """A program run as it is written: torch may fuse operations after the first calls, and round otherwise."""

    def __init__(self, program: Any) -> None:
        super().__init__()
        self.program = program

    def forward(self, *rows: Any) -> Any:
        """Return the program's answer."""
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # torch documents it and forgets to export it
            return self.program(*rows)


def from_torchscript(artefact: Artefact, subject: Subject, how: Loading) -> ModuleBackend:
    """Load a TorchScript file; its gradients are the program's own."""
    path, device = artefact.path, choose_device(how.device)
    content = artefact.content()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=DeprecationWarning)
            program = torch.jit.load(io.BytesIO(content), map_location=device)
    except Exception as error:
        text = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise ArtefactError(f"{path}: cannot be loaded as TorchScript ({text}); save the program again") from error
    if (count := _inputs(program)) != 1:
        raise ArtefactError(f"{path}: takes {count} inputs; want a program of one batch of rows")
    program.eval()
    for parameter in program.parameters():  # a program has no requires_grad_ of its own
        parameter.requires_grad_(False)
    backend = ModuleBackend(Scripted(program), format="torchscript", device=device, batch_size=how.batch_size)
    backend.width = _width(program)
    return backend


def _inputs(program: Any) -> int:
    """Return how many inputs `forward` wants, itself aside."""
    forward = getattr(program, "forward", None)
    return sum(not wanted.has_default_value() for wanted in forward.schema.arguments[1:]) if forward else 0


def _width(program: Any) -> int | None:
    """Return the number of inputs if the first layer is linear; a program's layers keep the names of their classes."""
    first = next((part for part in program.modules() if getattr(part, "original_name", "") in _LAYERS), None)
    return int(first.weight.shape[1]) if first is not None and first.original_name == "Linear" else None
