"""A stand-in for slopes: the model decides, and a module that the subject names is differentiated.

Backward pass differentiable approximation, Athalye, Carlini & Wagner 2018 (arXiv:1802.00420), section 4.1. The subject says
`[threat.evasion] backward = "net:backward"`; the function gets the opened network (None where the file holds none) and
returns a torch module that takes the same rows and answers with the same scores, as nearly as a smooth one can.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from veriward.adapters.code import load_function
from veriward.adapters.loading import Loading
from veriward.adapters.model import Backend, answer
from veriward.adapters.modules import from_live
from veriward.core.domain import Domain
from veriward.core.errors import ArtefactError, ModelError
from veriward.core.note import Note, note
from veriward.core.subject import Access, Subject

KEY = "threat.evasion.backward"


class StraightThrough:
    """A backend with another's slopes; everything else is its own."""

    access: Access = "gradients"

    def __init__(self, backend: Backend, standin: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Any]) -> None:
        self.backend, self.standin, self.decode = backend, standin, decode

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["backend"], name)

    def raw(self, x: Any) -> Tensor:
        """Return the model's outputs."""
        return self.backend.raw(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's outputs to the last bit, with the stand-in's gradients."""
        soft = answer(self.standin, x)
        hard = self.backend.raw(self.decode(x.detach())).to(soft)
        if hard.shape != soft.shape:
            came, wanted = tuple(soft.shape), tuple(hard.shape)
            raise ModelError(
                f"threat.evasion.backward: the stand-in answers with shape {came}, the model with {wanted}; want the same"
            )
        return cast(Tensor, _Through.apply(hard, soft))  # type: ignore[no-untyped-call]  # torch types no apply


class _Through(torch.autograd.Function):
    """The first argument forwards, the second one backwards: a sum with a difference of zero would fail at infinity."""

    @staticmethod
    def forward(_: Any, hard: Tensor, soft: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def with_backward(
    backend: Backend, subject: Subject, domain: Domain, first: Tensor, how: Loading, notes: list[Note]
) -> Backend:
    """Return the backend with the slopes that the subject names, or as it is; `first` is an encoded row to try it on.

    Raises SettingsError for a name that leads nowhere, ArtefactError under --no-code and for code that fails, ModelError
    for a stand-in that answers otherwise than the model.
    """
    name = subject.threat.evasion.backward
    if name is None:
        return backend
    soft = _standin(backend, load_function(subject, name, KEY, code=how.code), name, how)
    found = StraightThrough(backend, soft, domain.decode)
    with torch.enable_grad():
        if not found.forward(first.detach().requires_grad_()).requires_grad:
            raise ArtefactError(
                f"threat.evasion.backward = {name!r}: the stand-in's answers carry no gradient; want a smooth one"
            )
    notes.append(note("evasion.backward", name=name))
    return cast(Backend, found)


def _standin(backend: Backend, make: Callable[..., Any], name: str, how: Loading) -> Callable[[Tensor], Tensor]:
    network = getattr(backend, "module", None)
    try:
        with torch.random.fork_rng(devices=[]):
            standin = make(network if isinstance(network, nn.Module) else None)
    except (Exception, SystemExit) as error:
        raise ArtefactError(f"threat.evasion.backward = {name!r}: raised {type(error).__name__}: {error}") from error
    if not isinstance(standin, nn.Module):
        raise ArtefactError(
            f"threat.evasion.backward = {name!r}: returned a {type(standin).__name__}; want a torch.nn.Module"
        )
    device = str(getattr(backend, "device", "cpu"))
    return from_live(standin, device=device, batch_size=how.batch_size).forward
