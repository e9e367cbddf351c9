"""Controls: each check first shows that it sees a planted weakness and stays quiet on a sound subject."""

from typing import TYPE_CHECKING

from veriward.adapters.opened import open_subject
from veriward.checks.contract import Check, Control
from veriward.core.canonical import digest
from veriward.core.estimate import Estimate
from veriward.core.evidence import Controlled, Evidence
from veriward.core.fingerprint import fingerprints
from veriward.run.engine import InProcess
from veriward.run.environment import environment
from veriward.run.job import Memory, RunJob

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened

SEED = 0  # the controls' own: what they show does not depend on the run's


def run_controls(check: Check, opened: "Opened", memory: Memory) -> tuple[Controlled, ...]:
    """Return how the check came out where the truth is known; remembered per version of the check and its libraries."""
    return tuple(result for control in check.controls(opened) for result in _one(check, control, memory))


def _one(check: Check, control: Control, memory: Memory) -> list[Controlled]:
    rows = fingerprints(control.subject, parts=("train", "test"))  # some controls are planted in the user's own rows
    key = digest(check.name, check.version, control.name, environment(), rows)
    body = memory.recall("control", key)
    if body is None:
        evidence = _measure(check, control)
        body = {"results": [_compare(control, evidence, metric) for metric in control.truth]}
        memory.keep("control", key, body)
    return [Controlled(**result) for result in body["results"]]


def _measure(check: Check, control: Control) -> Evidence:
    opened = open_subject(control.subject, device="cpu")
    settings = check.settings("quick")
    job = RunJob(opened, check.name, settings, f"control {control.name}", SEED, InProcess(opened))
    return check.run(control.subject, control.threat, job=job)


def _compare(control: Control, evidence: Evidence, metric: str) -> dict[str, object]:
    low, high = control.truth[metric]
    found = [e for e in evidence.estimates if e.metric == metric and _at(e, control)]
    measured = found[0].value if found else None
    return {"name": control.name, "metric": metric, "low": low, "high": high, "measured": measured}


def _at(estimate: Estimate, control: Control) -> bool:
    return all(estimate.at.get(key) == value for key, value in (control.at or {}).items())
