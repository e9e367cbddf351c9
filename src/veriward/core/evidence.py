"""What a check found, whatever one thinks of it: verdicts come later, from a policy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from veriward.core.estimate import Estimate
from veriward.core.note import Note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    import numpy as np

MAX_WITNESSES = 20
NOTES = ("alarms", "assumptions", "untested")


@dataclass(frozen=True)
class Cost:
    """What crossed to the model, in rows, and the time that it took."""

    seconds: float = 0.0
    forwards: int = 0
    gradients: int = 0
    queries: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.seconds + other.seconds,
            self.forwards + other.forwards,
            self.gradients + other.gradients,
            self.queries + other.queries,
        )


@dataclass(frozen=True)
class Witness:
    """One example of a finding: a row, what was done to it in the user's words, and numbers beside it."""

    row: int
    text: str
    size: float  # what the attack costs, smaller is cheaper: witnesses are sorted by it
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Controlled:
    """How a control came out: the metric, the known truth as a range, and what the check measured."""

    name: str
    metric: str
    low: float
    high: float
    measured: float | None

    @property
    def holds(self) -> bool:
        """Whether the check told the truth where the truth is known."""
        return self.measured is not None and self.low <= self.measured <= self.high


@dataclass(frozen=True)
class Evidence:
    """The yield of one check under one threat."""

    check: str
    version: str
    threat: Threat
    estimates: tuple[Estimate, ...]
    outcomes: Mapping[str, "np.ndarray[Any, Any]"] = field(default_factory=dict)
    rows: int = 0
    alarms: tuple[Note, ...] = ()  # signs that a number may flatter the model: they keep a check from passing
    witnesses: tuple[Witness, ...] = ()
    cost: Cost = Cost()
    controls: tuple[Controlled, ...] = ()
    assumptions: tuple[Note, ...] = ()
    untested: tuple[Note, ...] = ()
    period: str | None = None
    origin: str = "assess"
    environment: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the outcomes stay arrays, which the dossier keeps as blobs."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["threat"] = self.threat.to_dict()
        data["estimates"] = [estimate.to_dict() for estimate in self.estimates]
        for name in ("witnesses", "controls"):
            data[name] = [asdict(item) for item in data[name]]
        for name in NOTES:
            data[name] = [item.to_dict() for item in data[name]]
        data["cost"] = asdict(self.cost)
        for name in ("outcomes", "environment"):
            data[name] = dict(data[name])
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Evidence":
        """Return the evidence that `to_dict` wrote."""
        known = {name: data[name] for name in cls.__dataclass_fields__}
        known["threat"] = Threat.from_dict(data["threat"])
        known["estimates"] = tuple(Estimate.from_dict(item) for item in data["estimates"])
        known["witnesses"] = tuple(Witness(**item) for item in data["witnesses"])
        known["controls"] = tuple(Controlled(**item) for item in data["controls"])
        known["cost"] = Cost(**data["cost"])
        for name in NOTES:
            known[name] = tuple(Note.from_dict(item) for item in data[name])
        return cls(**known)
