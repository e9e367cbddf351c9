"""TorchScript programs: parity with the module that they came from, gradients, tiles, refusals."""

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import veriward as vw
from veriward.adapters.artefact import Artefact
from veriward.adapters.load import load_backend
from veriward.adapters.loading import Loading
from veriward.adapters.modules import ModuleBackend
from veriward.adapters.scan import scan
from veriward.adapters.torchscript import from_torchscript
from veriward.core.errors import ArtefactError

ON_CPU = Loading(device="cpu")


def rows(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 4, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))


def saved(module: nn.Module, path: Path, *, traced: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch wants exported programs instead
        program = torch.jit.trace(module.eval(), rows(2)) if traced else torch.jit.script(module)
        torch.jit.save(program, path)
    return path


def opened(path: Path, how: Loading = ON_CPU) -> ModuleBackend:
    backend = load_backend(vw.Subject(model=path, data={"test": ([[0.0]], [0])}), how)
    assert isinstance(backend, ModuleBackend)
    return backend


def gradient(model: Any, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad((model(x) * torch.tensor([1.0, 2.0, 3.0])).sum(), x)
    return found


@pytest.mark.parametrize("traced", [False, True])
def test_scores_and_gradients_are_the_modules(traced: bool, tmp_path: Path) -> None:
    module, x = net(), rows(200)
    backend = opened(saved(module, tmp_path / "model.pt", traced=traced))
    module.eval()  # it was scripted in training mode: dropout must be off all the same
    assert (backend.raw(x) - module(x)).abs().max() <= 1e-6
    assert (gradient(backend.forward, x) - gradient(module, x)).abs().max() <= 1e-6
    assert (backend.format, backend.access, backend.width) == ("torchscript", "gradients", 4)
    assert not any(parameter.requires_grad for parameter in backend.module.parameters())


def test_a_row_is_answered_the_same_in_any_company_and_every_time(tmp_path: Path) -> None:
    backend, x = opened(saved(net(), tmp_path / "model.pt")), rows(200)
    whole = backend.raw(x)
    for n in (1, 2, 63, 64, 65, 128, 199):  # torch may rewrite a program after its first calls
        assert torch.equal(backend.raw(x[:n]), whole[:n])
        assert torch.equal(backend.forward(x[:n].clone().requires_grad_()), whole[:n])


class Branches(nn.Module):
    """What only a script holds: control flow by the data, and an answer in a dictionary."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = x * 2 if bool(x.sum() > 0) else x * 3
        return {"hidden": x, "logits": y}


def test_control_flow_and_answers_by_name(tmp_path: Path) -> None:
    backend = opened(saved(Branches(), tmp_path / "model.pt"))
    assert backend.width is None
    assert torch.equal(backend.raw(torch.ones(64, 4)), torch.full((64, 4), 2.0))
    assert torch.equal(backend.raw(-torch.ones(64, 4)), torch.full((64, 4), -3.0))


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_programs_of_two_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="takes 2 inputs; want a program of one batch of rows"):
        opened(saved(Two(), tmp_path / "model.pt"))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = saved(net(), tmp_path / "model.pt")
    path.write_bytes(path.read_bytes()[:3000])
    subject = vw.Subject(model=path, data={"test": ([[0.0]], [0])})
    with pytest.raises(ArtefactError, match=r"model\.pt: cannot be loaded as TorchScript"):
        from_torchscript(Artefact(path, scan(path)), subject, ON_CPU)


def test_only_the_warning_of_loading_is_kept_quiet(tmp_path: Path) -> None:
    content = saved(net(), tmp_path / "model.pt").read_bytes()
    opened(tmp_path / "model.pt")
    with pytest.warns(DeprecationWarning, match=r"torch\.jit\.load"):
        torch.jit.load(io.BytesIO(content))
