"""Private training in several processes: rows are clipped where they lie, sums are added up, noise is added once.

Every process holds rows of its own and throws their coins itself, so all coins are independent, as Poisson sampling wants.
The first process charges the ledger and draws the noise; the others get what came out, so all weights stay equal.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from veriward.core.errors import PrivacyError, SettingsError, VeriwardError
from veriward.privacy.clipping import Adaptive, Rule
from veriward.privacy.clipping.written import Loss
from veriward.privacy.dp.dp_sgd import Gathered, PrivateTraining, Sums
from veriward.privacy.dp.sampling import Full, Poisson
from veriward.privacy.dp.terms import Seen


class ParallelTraining(PrivateTraining):
    """One of several processes of a private training; `torch.distributed` has been initialised in each.

    x, y: the rows of this process, which no other has. Settings are those of `PrivateTraining`, the same in each process;
    `divisor` is the expected size of the whole batch, over all processes. The ledger is the first process's alone. Weights
    are taken from the first process. Clipped sums travel between the processes without noise: one house, one wire.

    Whatever fails in one process before a step is paid fails in all: PrivacyError where another one failed, nothing spent.
    Raises SettingsError for samplers whose batches need all rows in one place (`Fixed`, `Shuffled`), and for a ledger in
    another process than the first.
    """

    def __init__(self, module: nn.Module, loss: Loss, x: Tensor, y: Tensor, **settings: Any) -> None:
        self._first = dist.get_rank() == 0
        sampler = settings.get("sampler")
        if not isinstance(sampler, Poisson | Full):
            raise SettingsError(
                f"sampler: {type(sampler).__name__} draws from all rows at once; want Poisson or Full for several processes"
            )
        if settings.get("ledger") is not None and not self._first:
            raise SettingsError("ledger: a step would be charged by several processes; want it in the first one alone")
        super().__init__(module, loss, x, y, **settings)
        for value in (*module.parameters(), *module.buffers()):
            dist.broadcast(value.detach(), 0)
        if self._most(float(self._source.name != "cryptographic")):
            self.sources.add("simulation")

    def _gathered(self) -> Gathered:
        """Return the sums over the rows of all processes."""
        found = error = None
        try:
            found = super()._gathered()
        except Exception as mine:
            error = mine
        self._agree(error)
        assert found is not None
        sums = {name: total.contiguous() for name, total in found.sums.items()}
        for total in sums.values():
            dist.all_reduce(total)
        counts = torch.tensor([found.within, found.seen.rows, found.seen.bad, found.seen.clipped], device=self._device)
        dist.all_reduce(counts)
        within, *seen = counts.tolist()
        return Gathered(sums, within, Seen(*seen))

    def _pay(self) -> None:
        """Charge once, in the first process; the others count the step if that went well."""
        error = None
        try:
            super()._pay()
        except VeriwardError as mine:
            error = mine
        refused = self._most(float(error is not None))
        if refused and error is None:
            self.steps, self.paid = self.steps - 1, self.paid - 1
        self._raise(error, refused)

    def _noisy(self, sums: Sums, std: float) -> Sums:
        """Return the first process's noisy sums."""
        found = super()._noisy(sums, std) if self._first else sums
        for total in found.values():
            dist.broadcast(total, 0)
        return found

    def _next_rule(self, found: Gathered) -> Rule:
        """Return the first process's rule, whose count has the noise."""
        rule = super()._next_rule(found)
        clip = torch.tensor(rule.sensitivity, dtype=torch.float64, device=self._device)
        dist.broadcast(clip, 0)
        return replace(rule, clip=float(clip)) if isinstance(rule, Adaptive) else rule

    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    def _most(self, value: float) -> float:
        """Return the largest of all processes' values."""
        found = torch.tensor(value, device=self._device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return float(found)

    def _agree(self, error: Exception | None) -> None:
        self._raise(error, self._most(float(error is not None)))

    def _raise(self, error: Exception | None, failed: float) -> None:
        if error is not None:
            raise error
        if failed:
            raise PrivacyError("another process could not take this step, and says why; nothing was spent for it")
