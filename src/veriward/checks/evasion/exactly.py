"""A second opinion on thin successes: the same network in float64. A decision that rounding alone turned is none."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from veriward.adapters.elsewhere import Raw
from veriward.adapters.model import answer, checked
from veriward.adapters.modules import ModuleBackend
from veriward.adapters.opened import Opened
from veriward.core.errors import ModelError


@dataclass
class Twin:
    """The float64 twin of a float32 network, made when it is first asked."""

    opened: Opened

    @cached_property
    def _raw(self) -> Raw | None:
        backend = self.opened.model.backend
        if not isinstance(backend, ModuleBackend) or backend.dtype != torch.float32:
            return None  # half precision decides by rounding, and that is the model; others are exact already
        with backend.elsewhere()["float64"].enter() as raw:
            return raw

    def scores(self, z: Tensor) -> Tensor | None:
        """Return (n, classes) scores in float64; None where the model cannot be had in float64."""
        if self._raw is None or self.opened.output not in ("logits", "probabilities"):
            return None
        try:
            raw = answer(self._raw, self.opened.domain.decode(z))
        except ModelError:  # layers that insist on float32: their own decision stands
            return None
        return checked(raw, len(z), len(self.opened.classes), self.opened.output)
