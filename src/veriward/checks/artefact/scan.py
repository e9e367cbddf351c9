"""artefact/scan: does loading the model's file run anything of its author's? The scan before loading, as evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veriward.checks.contract import Check, Control, Job
from veriward.checks.registry import register
from veriward.core.estimate import census
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.adapters.scan import ScanResult
    from veriward.core.subject import Subject

UNIT = "findings"


@dataclass(frozen=True)
class Look:
    """Tell what the scan found in one of the subject's files: the model's, which was scanned when it was loaded."""

    def __call__(self, opened: Opened, item: int) -> Mapping[str, Any]:
        """Return how many findings of each gravity there are, and the first of them."""
        result = _results(opened)[item]
        first = result.reasons[0] if result.reasons else None
        return {
            "kind": result.kind,
            "sha256": result.sha256,
            "dangerous": sum(reason.outcome == "dangerous" for reason in result.reasons),
            "unknown": sum(reason.outcome == "unknown" for reason in result.reasons),
            "first": [first.what, first.where, first.why] if first else ["", "", ""],
        }


def _results(opened: Opened) -> list[ScanResult]:
    from veriward.adapters.scan import scan_content
    from veriward.checks.artefact.planted import PlantedFiles

    live = opened.subject.model.live
    if isinstance(live, PlantedFiles):
        return [scan_content(content) for content in live.contents]
    assert opened.scanned is not None
    return [opened.scanned]


@register
class Scan(Check):
    """Findings of the scanner in the model's file: those that run code, and those that nobody can account for."""

    name = "artefact/scan"
    version = "1"
    question = "Does loading the model's file run anything of its author's?"
    metrics = ("dangerous_findings", "unknown_findings")
    tasks = ("classification", "regression", "forecasting", "recommendation", "text", "policy")
    reads = ("model",)

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse models without a file: live objects and served models."""
        if opened.scanned is not None:
            return None
        return note("artefact.live" if opened.subject.is_live else "artefact.served")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one attacker: whoever made the file, or could write to it on its way."""
        return (Threat("run_code", "file"),)

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return files with known gadgets, and files without."""
        from veriward.checks.artefact.planted import planted_controls

        return planted_controls(self.threats(opened)[0])

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Count what the scanner finds; what is unknown keeps the check from passing."""
        from veriward.checks.artefact.planted import PlantedFiles

        live = subject.model.live
        items = list(range(len(live.contents))) if isinstance(live, PlantedFiles) else [0]
        found = job.map("scan", Look(), items)
        count = {gravity: sum(result[gravity] for result in found) for gravity in ("dangerous", "unknown")}
        what, where, why = found[0]["first"]
        unknown = note("artefact.unknown", n=count["unknown"], what=what, where=where, why=why)
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(census(f"{gravity}_findings", n, len(found), UNIT) for gravity, n in count.items()),
            alarms=(unknown,) if count["unknown"] else (),
            assumptions=(note("artefact.file", kind=found[0]["kind"], sha256=found[0]["sha256"][:16]),),
            untested=(note("artefact.not_meant"),),
        )
