"""Transfer: attack an imitation of the model, and ask the model itself about what comes out.

Papernot et al., 2017 (arXiv:1602.02697), with the momentum of Dong et al., 2018 (arXiv:1710.06081), which carries over
better. It needs answers alone, and where it beats gradients, the gradients are masked (Athalye et al., 2018,
arXiv:1802.00420, section 3.1).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from veriward.checks.evasion.attack import Attack, Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.classic import Climb
from veriward.checks.evasion.surrogate import Distil, Surrogate, distil, restored
from veriward.core.streams import Stream
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.checks.contract import Job


@dataclass(frozen=True, eq=False)
class Transfer:
    """Climb on an imitation that was trained with `queries` answers; without one, each block trains the same one."""

    name: ClassVar[str] = "transfer"
    reads: ClassVar[Reads] = "labels"

    steps: int = 20
    aims: int = 3  # the best class, then each of so many classes in the imitation's order
    looks: int = 2  # questions to the model per climb
    queries: int = 2000
    net: Surrogate | None = None

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        net = self.net or distil(chase.opened, chase.threat, stream.child("imitation"), self.queries)
        climb = Climb(self.steps, 2 / self.steps, 1.0, max(1, self.steps // self.looks))
        for rank in range(1 + min(self.aims, chase.goal.aims)):
            where = chase.active
            if len(where):
                climb.run(chase, where, _slope(chase, net, rank))


def _slope(chase: Chase, net: Surrogate, rank: int) -> Callable[[Tensor, Tensor], Tensor]:
    aims = chase.goal.aim(net.outcome(chase.clean).detach(), rank) if rank else None

    def slope(z: Tensor, where: Tensor) -> Tensor:
        return net.slope(chase.goal[where], z, "margin", None if aims is None else aims[where])

    return slope


def armed(attacks: tuple[Attack, ...], job: "Job", threat: Threat) -> tuple[Attack, ...]:
    """Return attacks whose imitations are trained: once per finding, remembered and counted like all work."""
    return tuple(_trained(attack, job, threat) if isinstance(attack, Transfer) else attack for attack in attacks)


def _trained(attack: Transfer, job: "Job", threat: Threat) -> Transfer:
    if attack.net is not None:
        return attack
    work = Distil(threat, job.stream("imitation"), attack.queries)
    body = job.map("imitation", work, [attack.queries])[0]
    return replace(attack, net=restored(job.opened, body))
