"""`vw.train`: from a subject with a recipe to one whose model was trained with differential privacy, with its record."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from veriward.adapters.loading import choose_device
from veriward.adapters.recipe import Steps, as_taken, recipe_of
from veriward.adapters.training_rows import TrainingRows, training_rows
from veriward.core.errors import SettingsError
from veriward.core.estimate import Estimate
from veriward.core.fingerprint import fingerprints
from veriward.core.note import Note
from veriward.core.subject import Recipe, Subject
from veriward.privacy.clipping import fix as fix_module
from veriward.remedies.new_folder import copy_code, write_model, write_subject
from veriward.remedies.private_audit import audited
from veriward.remedies.private_plan import PrivatePlan, plan
from veriward.remedies.private_record import RECORD, accuracy, changes, holder_notes, public_notes, record
from veriward.remedies.private_run import AGREED, Finished, Run, Watch, written
from veriward.remedies.private_search import Candidate, Searched, candidates, searched

SUFFIX, HOLDER = "-private", ".holder"


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
    holder_notes: tuple[Note, ...]


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
    search: str | None = None,
    search_by: str = "all",
    audit: bool = False,
    watch: Watch | None = None,
    **options: Any,
) -> PrivateModel:
    """Train the subject's recipe with differential privacy and write the new subject, its record and its claims.

    epsilon, delta: what all of it may cost. `options` are keys of [recipe.private] (sampling, rows, batch_size, epochs,
    learning_rate, clip, mechanism, noise_multiplier, group) and overrule it. seed: of the first weights; noise takes none.
    account: the ledger of all that is done with these data, begun with the epsilon `budget` where there is none; without it
    the training keeps a ledger of its own. fix: replace layers that mix rows. search: settings to choose among, e.g.
    "learning_rate=0.01,0.1;clip=1,automatic", by a way of `private_search`. audit: also audit the trainer under these terms.

    Called again after it was stopped, a training goes on where it stood; finished, it trains nothing. A search is all or
    nothing. Abadi et al., 2016 (arXiv:1607.00133), algorithm 1. Raises SettingsError for values out of range or a recipe
    that only trains whole, ModelError for layers without per-row gradients, BudgetExceeded where the account refuses.
    """
    subject = subject if isinstance(subject, Subject) else Subject.load(subject)
    given = _stepwise(subject)
    folder, holder = places(subject, out)
    _check_free(folder, holder)
    rows = training_rows(subject)
    grid = candidates(search) if search is not None else ()
    if grid and options.get("noise_multiplier"):
        raise SettingsError("noise_multiplier: a search finds the noise that its candidates need; leave it out")

    def make(candidate: Candidate) -> Steps:
        return _recipe(subject, rows, _rate(given, candidate, options), fix, code)

    recipe = make({})
    told = _delta(subject, delta)
    agreed = plan(given, data_rows=len(rows.train), epsilon=epsilon, delta=told, compute=compute, **options)
    if audit and agreed.mechanism != "gaussian":
        raise SettingsError(
            f"mechanism = {agreed.mechanism!r}: the audit knows gaussian noise alone; leave --audit out"
        )
    prints = fingerprints(subject, parts=("train", "recipe"))
    how = {
        "recipe": prints["recipe"],
        "fix": fix,
        "grid": [dict(each) for each in grid],
        "by": search_by if grid else None,
    }
    run = Run(
        holder,
        agreed,
        seed,
        prints["train"],
        how,
        Path(account) if account else None,
        budget,
        choose_device(device),
        physical,
    )
    picked: Candidate = {}
    found: Searched | None = None
    if grid:
        finished, found, agreed = searched(run, rows, grid, search_by, make, watch)
        run, picked = replace(run, plan=agreed), found.best
    else:
        finished = run.train(recipe, rows.train, watch)
    said = audited(make(picked), agreed, rows.train, seed=seed) if audit else None
    rate = _rate(given, picked, options)
    return _written(subject, rows, run, finished, folder, fix=fix, searched=found, audit=said, rate=rate)


def _stepwise(subject: Subject) -> Recipe:
    """Return the recipe; SettingsError where there is none, or one that trains whole."""
    given = subject.recipe
    if given is not None and given.fit is not None:
        raise SettingsError(
            "recipe.fit: trains whole, so no noise can be added to its steps; want build, loss and optimiser in [recipe]"
        )
    return given or Recipe()  # `recipe_of` says what is missing


def _rate(given: Recipe, candidate: Candidate, options: Mapping[str, Any]) -> float | None:
    """Return the learning rate that overrules the recipe's; None where nothing does."""
    own = given.private.learning_rate if given.private else None
    return cast("float | None", candidate.get("learning_rate") or options.get("learning_rate") or own)


def places(subject: Subject, out: Path | str | None = None) -> tuple[Path, Path]:
    """Return the folder of the new subject, and the one beside it that the data holder keeps."""
    folder = Path(os.path.abspath(out)) if out is not None else subject.folder / f"{subject.name}{SUFFIX}"
    if not folder.name:
        raise SettingsError(f"{folder}: has no folder beside it for what is not handed out; choose another --out")
    return folder, folder.with_name(folder.name + HOLDER)


def _check_free(folder: Path, holder: Path) -> None:
    """Refuse to mix a new subject with what is no work of ours, and to train once more where that cannot be counted."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder}: a file, not a folder; choose another --out")
    if (holder / AGREED).exists() or not folder.exists():
        return
    if (folder / RECORD).exists():
        raise SettingsError(
            f"{folder}: holds a private model, and {holder.name}, which counts what it cost, is not beside it; put it back, "
            f"or start anew with --fresh, which spends again"
        )
    if any(folder.iterdir()):
        raise SettingsError(f"{folder}: holds other files; choose another --out")


def _recipe(subject: Subject, rows: TrainingRows, rate: float | None, fix: bool, code: bool) -> Steps:
    """Return the recipe with the learning rate of private training, and without layers that mix rows where asked."""
    said = subject.recipe
    if said is not None and rate:
        subject = subject.model_copy(update={"recipe": said.model_copy(update={"learning_rate": rate})})
    steps = recipe_of(subject, rows.task, code=code)
    assert isinstance(steps, Steps)
    return replace(steps, build=_fixing(steps)) if fix else steps


def _fixing(steps: Steps) -> Callable[[int], nn.Module]:
    return lambda seed: fix_module(steps.module(seed))


def _delta(subject: Subject, given: float | None) -> float:
    claimed = subject.claims.delta if subject.claims else None
    delta = claimed if given is None else given
    if delta is None:
        raise SettingsError(
            "delta: none given; want the chance of a complete failure that you accept, well below 1 / rows, e.g. 1e-5"
        )
    return delta


def _written(
    subject: Subject,
    rows: TrainingRows,
    run: Run,
    finished: Finished,
    folder: Path,
    *,
    fix: bool,
    searched: Searched | None,
    audit: dict[str, Any] | None,
    rate: float | None,
) -> PrivateModel:
    """Write what may be handed out into `folder`, and the counts over private rows beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    agreed = run.plan
    notes = public_notes(rows, agreed, finished, searched)
    model = write_model(finished.module, _shape(rows, finished.module), subject, folder, fixed=fix)
    copy_code(subject, folder)
    found = record(subject, agreed, finished, folder / model["path"], notes, seed=run.seed, searched=searched)
    # the pick among candidates may have read the test rows: what they say of it then is no estimate
    score = None if searched is not None and searched.plan.kind == "public" else accuracy(finished.module, rows)
    if score is not None:
        found["accuracy"] = {key: getattr(score, key) for key in ("value", "low", "high", "confidence", "n", "method")}
    if audit is not None:
        found["audit"] = audit
    _as_before(found, folder / RECORD)
    written(folder / RECORD, found)
    counts = {"rows_seen": finished.seen.rows, "clipped": finished.seen.clipped, "zeroed": finished.seen.bad}
    written(run.folder / "counts.json", counts)
    write_subject(subject, folder, changes(subject, rows, agreed, model, rate))
    mine = holder_notes(rows, agreed)
    return PrivateModel(Subject.load(folder), folder, run.folder, agreed, found, finished, score, notes, mine)


def _as_before(found: dict[str, Any], path: Path) -> None:
    """Keep the time of a record that says the same, so that a seal on it holds."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if {**found, "time": before["time"]} == before:
            found["time"] = before["time"]
    except (OSError, ValueError, LookupError, TypeError):
        return


def _shape(rows: TrainingRows, module: nn.Module) -> Tensor:
    """Return two rows that show what the module takes; their numbers, which are private, are zeros."""
    return torch.zeros_like(as_taken(module, rows.train.x[:2].expand(2, *rows.train.x.shape[1:])))
