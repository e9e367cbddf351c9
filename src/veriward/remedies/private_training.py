"""`vw.train`: from a subject with a recipe to one whose model was trained with differential privacy, with its record."""

import datetime
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from veriward.adapters.code import listed_recipe
from veriward.adapters.loading import choose_device
from veriward.adapters.recipe import Rows, Steps, as_taken, recipe_of
from veriward.adapters.training_rows import TrainingRows, training_rows
from veriward.core.errors import SettingsError
from veriward.core.estimate import Estimate
from veriward.core.fingerprint import file_hash, fingerprints
from veriward.core.intervals import clopper_pearson
from veriward.core.note import Note, note
from veriward.core.subject import Claims, Recipe, Subject
from veriward.privacy.clipping import fix as fix_module
from veriward.privacy.dp.event_json import to_dict
from veriward.remedies.new_folder import copy_code, write_model, write_subject
from veriward.remedies.private_plan import PrivatePlan, plan
from veriward.remedies.private_run import Finished, Run, Watch, written

SCHEMA, RECORD, SUBJECT = "veriward.privacy/1", "privacy.json", "subject.toml"
SUFFIX, HOLDER = "-private", ".holder"
PACKAGES = ("veriward", "torch", "numpy", "dp-accounting", "cryptography")


@dataclass(frozen=True)
class PrivateModel:
    """A privately trained subject.

    `folder` may be handed out; `holder` may not: it keeps the ledger, the plan and exact counts over private rows.
    `record`: what was done, as it stands in privacy.json. `accuracy` is measured on data.test, None without test rows.
    """

    subject: Subject
    folder: Path
    holder: Path
    plan: PrivatePlan
    record: dict[str, Any]
    finished: Finished
    accuracy: Estimate | None
    notes: tuple[Note, ...]


def train(
    subject: Subject | str | Path,
    *,
    epsilon: float,
    delta: float | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    physical: int = 256,
    compute: str = "exact",
    account: Path | str | None = None,
    budget: float | None = None,
    fix: bool = False,
    code: bool = True,
    watch: Watch | None = None,
    **options: Any,
) -> PrivateModel:
    """Train the subject's recipe with differential privacy and write the new subject, its record and its claims.

    epsilon, delta: what the whole training may cost. `options` are keys of [recipe.private] (sampling, rows, batch_size,
    epochs, learning_rate, clip, noise_multiplier, group) and overrule it. seed: of the first weights; batches and noise take
    none. account: the ledger of all that is done with these data, begun with
    the epsilon `budget` where there is none; without it the training keeps a ledger of its own. fix:
    replace layers that mix rows. Called again after it was stopped, it goes on where it stood; finished, it trains nothing.

    Abadi et al., 2016 (arXiv:1607.00133), algorithm 1. Raises SettingsError for values out of range or a recipe that only
    trains whole, ModelError for layers without per-row gradients, BudgetExceeded where the account refuses.
    """
    subject = subject if isinstance(subject, Subject) else Subject.load(subject)
    given = subject.recipe
    if given is not None and given.fit is not None:
        raise SettingsError(
            "recipe.fit: trains whole, so no noise can be added to its steps; want build, loss and optimiser in [recipe]"
        )
    folder, holder = places(subject, out)
    _check_free(folder)
    rows = training_rows(subject)
    recipe = _recipe(subject, rows, options.get("learning_rate"), fix, code)
    assert given is not None
    agreed = plan(
        given,
        data_rows=len(rows.train),
        epsilon=epsilon,
        delta=_delta(subject, delta, rows),
        compute=compute,
        **options,
    )
    prints = fingerprints(subject, parts=("train", "recipe"))
    run = Run(
        holder,
        agreed,
        seed,
        prints["train"],
        f"{prints['recipe']} {'fixed' if fix else ''}".strip(),
        Path(account) if account else None,
        budget,
        choose_device(device),
        physical,
    )
    finished = run.train(recipe, rows.train, watch)
    return _written(subject, rows, run, finished, folder, fix=fix)


def places(subject: Subject, out: Path | str | None = None) -> tuple[Path, Path]:
    """Return the folder of the new subject, and the one beside it that the data holder keeps."""
    folder = Path(out) if out is not None else subject.folder / f"{subject.name}{SUFFIX}"
    return folder, folder.with_name(folder.name + HOLDER)


def _check_free(folder: Path) -> None:
    """Refuse to mix a new subject with what is no work of ours."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder}: a file, not a folder; choose another --out")
    if folder.exists() and any(folder.iterdir()) and not (folder / RECORD).exists():
        raise SettingsError(f"{folder}: holds other files; choose another --out")


def _recipe(subject: Subject, rows: TrainingRows, learning_rate: float | None, fix: bool, code: bool) -> Steps:
    """Return the recipe with the learning rate of private training, and without layers that mix rows where asked."""
    said = subject.recipe
    rate = learning_rate or (said and said.private and said.private.learning_rate)
    if said is not None and rate:
        subject = subject.model_copy(update={"recipe": said.model_copy(update={"learning_rate": rate})})
    steps = recipe_of(subject, rows.task, code=code)
    assert isinstance(steps, Steps)
    return replace(steps, build=_fixing(steps)) if fix else steps


def _fixing(steps: Steps) -> Callable[[int], nn.Module]:
    return lambda seed: fix_module(steps.module(seed))


def _delta(subject: Subject, given: float | None, rows: TrainingRows) -> float:
    claimed = subject.claims.delta if subject.claims else None
    delta = claimed if given is None else given
    if delta is None:
        raise SettingsError(
            "delta: none given; want the chance of a complete failure that you accept, well below 1 / rows, e.g. 1e-5"
        )
    return delta


def _written(
    subject: Subject, rows: TrainingRows, run: Run, finished: Finished, folder: Path, *, fix: bool
) -> PrivateModel:
    """Write what may be handed out into `folder`, and the counts over private rows beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    notes = (*rows.notes, *_notes(rows, run.plan, finished))
    example = as_taken(finished.module, rows.train.x[:2]).clone().zero_()  # its values are private, its shape is not
    model = write_model(finished.module, example, subject, folder, fixed=fix)
    copies = copy_code(subject, folder)
    accuracy = _accuracy(finished.module, rows)
    record = _record(subject, run, finished, folder / model["path"], copies, notes)
    if accuracy is not None:
        record["accuracy"] = {
            key: getattr(accuracy, key) for key in ("value", "low", "high", "confidence", "n", "method")
        }
    written(folder / RECORD, record)
    written(
        run.folder / "counts.json",
        {"rows_seen": finished.seen.rows, "clipped": finished.seen.clipped, "zeroed": finished.seen.bad},
    )
    write_subject(subject, folder, _changes(subject, run.plan, model))
    return PrivateModel(Subject.load(folder), folder, run.folder, run.plan, record, finished, accuracy, notes)


def _notes(rows: TrainingRows, agreed: PrivatePlan, finished: Finished) -> list[Note]:
    """Return what a reader of the claim has to know: see `reports`."""
    found = [note("privacy.not_covered")]
    if rows.most_of_one > agreed.group:
        found.append(note("privacy.one_person", most=rows.most_of_one, group=agreed.group))
    if agreed.relation.value == "zero-out":
        found.append(note("privacy.rows_public"))
    if agreed.delta * agreed.rows >= 1:
        found.append(note("privacy.large_delta", delta=f"{agreed.delta:g}", rows=agreed.rows))
    if finished.steps < agreed.steps:
        found.append(note("privacy.lost_steps", lost=agreed.steps - finished.steps, steps=agreed.steps))
    return found


def _record(
    subject: Subject, run: Run, finished: Finished, model: Path, copies: list[Path], notes: tuple[Note, ...]
) -> dict[str, Any]:
    """Return what was done, for anybody to read: nothing in it depends on a training row but the model's own hash."""
    agreed = run.plan
    code = listed_recipe(subject)
    return {
        "schema": SCHEMA,
        "subject": subject.name,
        "claim": {
            "epsilon": agreed.epsilon,
            "delta": agreed.delta,
            "unit": agreed.unit,
            "relation": agreed.relation.value,
        },
        "accounted": {"epsilon": agreed.spent(agreed.steps), "accountant": agreed.accountant, "steps": agreed.steps},
        "terms": {
            "sampling": agreed.sampling,
            "rate": agreed.rate,
            "rows": agreed.rows,
            "batch_size": agreed.batch_size,
            "divisor": agreed.divisor,
            "steps_executed": finished.steps,
            "clip": agreed.clip,
            "sensitivity": agreed.rule.sensitivity,
            "noise": "gaussian",
            "noise_multiplier": agreed.noise_multiplier,
            "source": "cryptographic",
            "compute": agreed.compute,
            "seed": run.seed,
        },
        "event": to_dict(agreed.event(agreed.steps)),
        "model": {"file": model.name, "sha256": file_hash(model)},
        "code": code,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "notes": [{"code": each.code, "values": dict(each.values)} for each in notes],
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _changes(subject: Subject, agreed: PrivatePlan, model: dict[str, Any]) -> dict[str, Any]:
    """Return what is new in the new subject.toml: the model, its claims, and the terms it was trained under."""
    recipe = cast(Recipe, subject.recipe)
    private = {
        "sampling": agreed.sampling,
        "rows": agreed.rows if agreed.relation.value == "add-or-remove-one" else None,
        "batch_size": agreed.batch_size if agreed.sampling != "full" else None,
        "epochs": int(agreed.epochs),
        "clip": agreed.clip,
        "noise_multiplier": agreed.noise_multiplier,
        "group": agreed.group if agreed.group > 1 else None,
        "learning_rate": recipe.private.learning_rate if recipe.private else None,
    }
    claims = Claims(
        epsilon=agreed.epsilon,
        delta=agreed.delta,
        unit=agreed.unit,
        relation=cast(Any, agreed.relation.value),
        record=RECORD,
    )
    output = subject.model.output
    return {
        "name": f"{subject.name}{SUFFIX}"[:100],
        "model": {**model, "access": subject.model.access, "output": output},
        "recipe": {"private": private},
        "claims": claims.model_dump(mode="json", exclude_none=True),
    }


def _accuracy(module: nn.Module, rows: TrainingRows) -> Estimate | None:
    """Return the share of test rows that the new model gets right, with its exact interval; None where there are none."""
    if rows.test is None or rows.task != "classification":
        return None
    right, n = _right(module, rows.test), len(rows.test)
    low, high = clopper_pearson(right, n)
    return Estimate("clean_accuracy", right / n, low, high, n=n, unit="row", method="Clopper-Pearson")


def _right(module: nn.Module, rows: Rows) -> int:
    count = 0
    with torch.no_grad():
        for x, y in zip(as_taken(module, rows.x).split(1024), rows.y.split(1024), strict=True):
            out = module(x)
            found = out.argmax(1) if out.ndim > 1 and out.shape[1] > 1 else (out.view(-1) > 0).long()
            count += int((found == y).sum())
    return count
