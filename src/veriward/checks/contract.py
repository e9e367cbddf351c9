"""What a check is, and all it may ask of the run. Importing a check imports no torch: `veriward checks` is instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from veriward.adapters.model import Model
    from veriward.adapters.opened import Opened
    from veriward.core.evidence import Evidence
    from veriward.core.note import Note
    from veriward.core.policy import Budget
    from veriward.core.progress import Progress
    from veriward.core.streams import Stream
    from veriward.core.subject import Subject
    from veriward.core.threat import Threat

Need = Literal["labels", "scores", "gradients", "values"]
METHOD = {"labels": "labels", "scores": "scores", "gradients": "forward", "values": "values"}
ROWS: Mapping[str, int | None] = {"quick": 200, "standard": 1000, "thorough": None}  # attacked rows
Work = Callable[["Opened", Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Control:
    """A subject on which the truth is known: `truth` holds the range in which each metric must come out."""

    name: str
    subject: Subject
    threat: Threat
    truth: Mapping[str, tuple[float, float]]
    at: Mapping[str, Any] | None = None  # of the estimates that are compared


class Job(Protocol):
    """The run, as a check sees it."""

    opened: Opened
    settings: Mapping[str, Any]
    progress: Progress

    def map(self, stage: str, work: Work, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Return work(opened, item) for each item, in order. Each is remembered at once; any engine may run it.

        `work` is picklable and returns plain data and numpy arrays; items are plain data, and few: they are keys.
        """

    def keep(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return what `make` made once (surrogates, shadow models), shared between checks."""

    def stream(self, name: str) -> Stream:
        """Return a stream of random numbers of this check's own."""

    def shared(self, name: str) -> Stream:
        """Return a stream that all checks share: what they draw from it is the same, so that they speak of the same rows."""

    def evidence(self, check: str, threat: Threat | None = None) -> Evidence | None:
        """Return the evidence of a check named in `after`, None if it did not run; under the same knobs, if given."""


class Check:
    """One question. Authors set the class attributes and write `run`; the other methods have defaults."""

    name: ClassVar[str]
    version: ClassVar[str]
    question: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    metrics: ClassVar[tuple[str, ...]] = ()  # what it measures, so that `veriward policy check` knows; () says nothing
    reads: ClassVar[tuple[str, ...]] = ("model", "train", "test", "input")
    after: ClassVar[tuple[str, ...]] = ()

    def needs_of(self, task: str) -> tuple[Need, ...]:
        """Return what the model must offer: one that predicts numbers has values where a classifier has labels."""
        if task != "regression":
            return self.needs
        return tuple(dict.fromkeys("values" if need in ("labels", "scores") else need for need in self.needs))

    def refuse(self, opened: Opened) -> Note | None:
        """Return why the check does not apply to a subject, or None."""
        return None

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the attackers to assume: one finding each."""
        raise NotImplementedError

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return what a budget buys, as plain data: part of the key under which work is remembered."""
        return {"budget": budget}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return subjects of known truth that take the same path through the code as `opened` will."""
        return ()

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Answer the question; the runner adds cost, controls and environment."""
        raise NotImplementedError


def lacks(model: Model, needs: Sequence[Need]) -> tuple[Need, ...]:
    """Return the needs that a model does not meet."""
    return tuple(need for need in needs if not hasattr(model, METHOD[need]))
