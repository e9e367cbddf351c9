"""What an attacker wants, may reach and may spend. A check gets one Threat; several radii are several Threats."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Access = Literal["gradients", "scores", "labels"]
Reach = (
    Access | Literal["file", "data"]
)  # who writes the model's file, or reads the data, needs no answers of the model
ACCESSES: tuple[Access, ...] = ("labels", "scores", "gradients")  # each includes the ones before it


@dataclass(frozen=True)
class Threat:
    """Goal, access and knobs; `units` holds the unit of each knob."""

    goal: str
    access: Reach
    knobs: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    queries: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for keys, dossiers and reports."""
        return {**asdict(self), "knobs": dict(self.knobs), "units": dict(self.units)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Threat":
        """Return the threat that `to_dict` wrote."""
        return cls(**data)

    def suffix(self, *, norm: bool = False) -> str:
        """Return what tells this threat from its siblings in a finding's id; with the norm, where they differ in that.

        >>> Threat("misclassify", "scores", {"norm": "linf", "eps": 0.1}).suffix(norm=True)
        '@norm=linf,eps=0.1'
        """
        told = [f"norm={self.knobs['norm']}"] if norm and "norm" in self.knobs else []
        told += [f"eps={self.knobs['eps']:g}"] if self.knobs.get("eps") is not None else []
        return "@" + ",".join(told) if told else ""
