"""What is told of a private training: the record and the new subject.toml for anybody, notes for the data holder alone.

Nothing in the record depends on a training row other than through the noise, but for what it says is not covered.
"""

import datetime
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from torch import nn

from veriward.adapters.code import listed_recipe
from veriward.adapters.training_rows import TrainingRows
from veriward.core.estimate import Estimate
from veriward.core.fingerprint import file_hash
from veriward.core.intervals import clopper_pearson
from veriward.core.note import Note, note
from veriward.core.subject import Claims, Subject
from veriward.privacy.dp.event_json import to_dict
from veriward.remedies.private_plan import PrivatePlan
from veriward.remedies.private_run import Finished
from veriward.remedies.private_search import Searched
from veriward.remedies.scored import right

SCHEMA, RECORD = "veriward.privacy/1", "privacy.json"
PACKAGES = ("veriward", "torch", "numpy", "dp-accounting", "cryptography")


def public_notes(
    rows: TrainingRows, agreed: PrivatePlan, finished: Finished, searched: Searched | None
) -> tuple[Note, ...]:
    """Return what a reader of the claim has to know: see `reports`."""
    found = [note("privacy.not_covered")]
    if agreed.relation.value == "zero-out":
        found.append(note("privacy.rows_public"))
    if any(each.code == "data.classes_inferred" for each in rows.notes):
        found.append(note("privacy.classes_inferred"))
    if agreed.delta * agreed.rows >= 1:
        found.append(note("privacy.large_delta", delta=f"{agreed.delta:g}", rows=agreed.rows))
    if finished.steps < agreed.steps:
        found.append(note("privacy.lost_steps", lost=agreed.steps - finished.steps, steps=agreed.steps))
    if searched is not None:
        found.append(note(f"privacy.search_{searched.plan.kind}", count=searched.plan.candidates))
    return tuple(found)


def holder_notes(rows: TrainingRows, agreed: PrivatePlan) -> tuple[Note, ...]:
    """Return what only the data holder may know, beside what was inferred."""
    more = rows.most_of_one > agreed.group
    return (*rows.notes, *([note("privacy.one_person", most=rows.most_of_one, group=agreed.group)] if more else []))


def record(
    subject: Subject,
    agreed: PrivatePlan,
    finished: Finished,
    model: Path,
    notes: tuple[Note, ...],
    *,
    seed: int,
    searched: Searched | None,
) -> dict[str, Any]:
    """Return what was done, as it stands in privacy.json."""
    return {
        "schema": SCHEMA,
        "subject": subject.name,
        "claim": {
            "epsilon": agreed.epsilon,
            "delta": agreed.delta,
            "unit": agreed.unit,
            "relation": agreed.relation.value,
        },
        **_spent(agreed, searched),
        "terms": _terms(agreed, finished, seed),
        "model": {"file": model.name, "sha256": file_hash(model)},
        "code": listed_recipe(subject),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "notes": [{"code": each.code, "values": dict(each.values)} for each in notes],
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _spent(agreed: PrivatePlan, searched: Searched | None) -> dict[str, Any]:
    """Return what the accountant says, and of which event."""
    if searched is None:
        accounted = {"epsilon": agreed.spent(agreed.steps), "accountant": agreed.accountant, "steps": agreed.steps}
        return {"accounted": accounted, "event": to_dict(agreed.event(agreed.steps))}
    found = searched.plan
    accounted = {"epsilon": found.epsilon, "accountant": found.accountant, "steps": agreed.steps}
    return {"accounted": accounted, "event": to_dict(searched.event), "search": searched.plain()}


def _terms(agreed: PrivatePlan, finished: Finished, seed: int) -> dict[str, Any]:
    return {
        "sampling": agreed.sampling,
        "rate": agreed.rate,
        "rows": agreed.rows,
        "batch_size": agreed.batch_size,
        "divisor": agreed.divisor,
        "steps_executed": finished.steps,
        "clip": agreed.clip,
        "sensitivity": agreed.rule.sensitivity,
        "noise": agreed.mechanism,
        "noise_multiplier": agreed.noise_multiplier,
        "source": "cryptographic",
        "compute": agreed.compute,
        "seed": seed,
    }


def changes(
    subject: Subject, rows: TrainingRows, agreed: PrivatePlan, model: dict[str, Any], rate: float | None
) -> dict[str, Any]:
    """Return what is new in the new subject.toml: the model, its claims, and the terms it was trained under."""
    private = {
        "sampling": agreed.sampling if agreed.sampling != "cyclic" else None,
        "mechanism": agreed.mechanism,
        "rows": agreed.rows if agreed.relation.value == "add-or-remove-one" else None,
        "batch_size": agreed.batch_size if agreed.sampling != "full" else None,
        "epochs": int(agreed.epochs),
        "clip": agreed.clip,
        "noise_multiplier": agreed.noise_multiplier,
        "group": agreed.group if agreed.group > 1 else None,
        "learning_rate": rate,
    }
    claims = Claims(
        epsilon=agreed.epsilon,
        delta=agreed.delta,
        unit=agreed.unit,
        relation=cast(Any, agreed.relation.value),
        record=RECORD,
    )
    named = any(not isinstance(name, int) for name in rows.classes)
    return {
        "name": f"{subject.name}-private"[:100],
        "task": rows.task,
        "model": {**model, "access": subject.model.access, "output": subject.model.output},
        "data": {"classes": list(rows.classes)} if named else {},
        "recipe": {"private": private},
        "claims": claims.model_dump(mode="json", exclude_none=True),
    }


def accuracy(module: nn.Module, rows: TrainingRows) -> Estimate | None:
    """Return the share of test rows that the new model gets right, with its exact interval; None where there are none."""
    if rows.test is None or rows.task != "classification":
        return None
    found, n = right(module, rows.test, rows.cut), len(rows.test)
    low, high = clopper_pearson(found, n)
    return Estimate("clean_accuracy", found / n, low, high, n=n, unit="row", method="Clopper-Pearson")
