"""The run as a check sees it: work is looked up in the dossier first, and written there as soon as it is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from veriward.core.canonical import digest, plain
from veriward.core.evidence import Cost, Evidence
from veriward.core.progress import Progress, Silent
from veriward.core.streams import Stream
from veriward.core.threat import Threat
from veriward.run.engine import Engine, Work

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened


class Memory(Protocol):
    """Where finished work is kept."""

    def recall(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return what was kept, or None."""

    def keep(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        """Keep it, durably."""


class Forgetful:
    """Keeps nothing: for controls, which are short."""

    def recall(self, kind: str, key: str) -> None:
        """Return None."""

    def keep(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        """Ignore it."""


@dataclass
class RunJob:
    """One check under one threat. `key` names the evidence, so the items' keys follow from it."""

    opened: "Opened"
    check: str
    settings: Mapping[str, Any]
    key: str
    seed: int
    engine: Engine
    memory: Memory = field(default_factory=Forgetful)
    progress: Progress = field(default_factory=Silent)
    found: Mapping[str, Evidence] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    subject_key: str = ""  # of the parts that what is kept depends on

    def map(self, stage: str, work: Work, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the items' results in order; finished ones come from the dossier."""
        keys = [digest(self.key, stage, plain(item)) for item in items]
        results = [self._recalled(key) for key in keys]
        missing = [n for n, result in enumerate(results) if result is None]
        self.progress.begin(stage, len(items))
        self.progress.advance(len(items) - len(missing))
        for done in self.engine.map(work, [items[n] for n in missing]) if missing else ():
            number = missing[done.number]
            self.memory.keep("item", keys[number], {"result": done.result, "cost": asdict(done.cost)})
            self.cost += done.cost
            results[number] = dict(done.result)
            self.progress.advance(1)
        return [result for result in results if result is not None]

    def _recalled(self, key: str) -> dict[str, Any] | None:
        body = self.memory.recall("item", key)
        if body is None:
            return None
        self.cost += Cost(**body["cost"])
        return dict(body["result"])

    def keep(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return what `make` made, once for all checks that name it so on the same subject."""
        key = digest(self.subject_key, self.seed, name)
        body = self.memory.recall("keep", key)
        if body is None:
            body = dict(make())
            self.memory.keep("keep", key, body)
        return body

    def stream(self, name: str) -> Stream:
        """Return a stream of the seed, the check and the name: the same for two models, so that they can be compared."""
        return Stream.of(self.seed, f"{self.check}/{name}")

    def shared(self, name: str) -> Stream:
        """Return a stream of the seed and the name alone, the same for every check."""
        return Stream.of(self.seed, f"shared/{name}")

    def evidence(self, check: str, threat: Threat | None = None) -> Evidence | None:
        """Return the evidence of a check that ran before, under the same norm and eps if a threat is given."""
        found = (evidence for evidence in self.found.values() if evidence.check == check)
        return next((e for e in found if threat is None or dict(e.threat.knobs) == dict(threat.knobs)), None)
