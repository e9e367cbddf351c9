"""Private training with a search for its settings, under one epsilon: all candidates, a random number, or public rows.

The whole search is charged before its first training, and it is all or nothing: a search that was killed stays spent.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from veriward.adapters.recipe import Rows, Steps, seeded
from veriward.adapters.training_rows import TrainingRows
from veriward.core.errors import DataError, PrivacyError, SettingsError
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SecureSource, Source
from veriward.privacy.dp.search import SearchPlan, Trainings, plan_all, plan_public, plan_random, search
from veriward.privacy.dp.terms import Seen
from veriward.remedies.private_plan import PrivatePlan
from veriward.remedies.private_run import Finished, Run, Watch, written
from veriward.remedies.scored import right

KEYS = ("learning_rate", "clip")  # settings that change nothing of what a training costs
WAYS = ("all", "random", "public")
MOST = 1000  # candidates
HELD_OUT = 0.1  # share of the training rows that candidates are scored on
FOUND, WEIGHTS = "search.json", "search.safetensors"

Candidate = Mapping[str, float | str]


@dataclass(frozen=True)
class Searched:
    """A finished search: its plan, the settings that were tried, and which of them were chosen."""

    plan: SearchPlan
    event: Event
    grid: tuple[Candidate, ...]
    best: Candidate

    def plain(self) -> dict[str, Any]:
        """Return the search as plain data for JSON."""
        kept = {key: value for key, value in self.plan.plain().items() if key != "event"}
        return {**kept, "grid": [dict(each) for each in self.grid], "best": dict(self.best)}


def candidates(text: str) -> tuple[Candidate, ...]:
    """Return all combinations of the settings that a text lists.

    Raises SettingsError for unknown settings, for values that are none, and for fewer than two candidates.

    >>> candidates("learning_rate=0.01,0.1; clip=1,automatic")[1]
    {'learning_rate': 0.01, 'clip': 'automatic'}
    """
    lists: dict[str, list[float | str]] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        key, equals, values = part.partition("=")
        if not equals or key.strip() not in KEYS:
            raise SettingsError(
                f"search = {text!r}: want e.g. 'learning_rate=0.01,0.1;clip=1,automatic', of {', '.join(KEYS)}"
            )
        lists[key.strip()] = [_value(key.strip(), word.strip()) for word in values.split(",")]
    found = tuple(dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values()))
    if not 2 <= len(found) <= MOST:
        raise SettingsError(f"search = {text!r}: names {len(found)} candidates; want 2 to {MOST}")
    return found


def _value(key: str, word: str) -> float | str:
    if key == "clip" and word == "automatic":
        return word
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise SettingsError(f"search: {key} = {word}: want a number above 0")
    return value


def planned(agreed: PrivatePlan, count: int, way: str) -> tuple[SearchPlan, Event]:
    """Return the plan of a search of `count` candidates, and its event under the training's relation.

    Raises SettingsError for an unknown way, and for sampling that needs all rows in its batches.
    """
    if way not in WAYS:
        raise SettingsError(f"search_by = {way!r}: want one of {', '.join(WAYS)}")
    if agreed.mechanism != "gaussian":
        raise SettingsError(f"mechanism = {agreed.mechanism!r}: a search accounts for gaussian noise alone")
    if agreed.sampling not in ("poisson", "full"):
        raise SettingsError(f"sampling = {agreed.sampling!r}: a search holds rows out, so want poisson or full")
    each = Trainings(agreed.steps, agreed.rate, agreed.sampling, agreed.group)
    makers: dict[str, Callable[..., SearchPlan]] = {"all": plan_all, "public": plan_public, "random": plan_random}
    more = {"mean": count} if way == "random" else {}
    found = makers[way](agreed.epsilon, agreed.delta, count, each, **more)
    return found, replace(found.event, relations=(agreed.relation,))


def searched(
    run: Run,
    rows: TrainingRows,
    grid: tuple[Candidate, ...],
    way: str,
    make: Callable[[Candidate], Steps],
    watch: Watch | None,
) -> tuple[Finished, Searched, PrivatePlan]:
    """Search, or return what an earlier search in the folder found; the plan comes back with the chosen settings.

    Raises PrivacyError where an earlier search was killed after its charge, DataError for regression and, where the choice
    reads public rows, without test rows.
    """
    if rows.task != "classification":
        raise DataError("search: candidates are scored by the rows they get right; this is a regression")
    if way == "public" and rows.test is None:
        raise DataError("search_by = 'public': reads data.test, and there is none")
    found, event = planned(run.plan, len(grid), way)
    agreed = replace(run.plan, noise_multiplier=found.noise_multiplier)
    with run.opened(event) as (ledger, name):
        before = (run.folder / FOUND).exists()
        if not before:
            if any(entry.what == name for entry in ledger.entries()):
                raise PrivacyError(
                    f"{run.folder}: an earlier search was stopped after it was charged, and a search is all or nothing; "
                    f"--fresh begins anew and spends again"
                )
            _search(run, agreed, found, event, ledger, name, rows, grid, make, watch)
    finished, best = _kept(run, agreed, grid, make, before)
    return finished, Searched(found, event, grid, best), chosen(agreed, best)


def _search(
    run: Run, agreed: PrivatePlan, found: SearchPlan, event: Event, ledger: Ledger, name: str,
    rows: TrainingRows, grid: tuple[Candidate, ...], make: Callable[[Candidate], Steps], watch: Watch | None,
) -> None:  # fmt: skip
    """Charge, train the candidates, choose one, and keep its weights."""
    train, held_out = _split(rows.train, found.kind, SecureSource())
    scored = rows.test if found.kind == "public" else held_out
    assert scored is not None
    tried: list[Finished] = []

    def trained(candidate: Candidate, _: float) -> int:
        mine = replace(run, plan=chosen(agreed, candidate))
        # under random stopping the number of trainings is secret, and whoever watches would count them
        tried.append(mine.once(make(candidate), train, None if found.kind == "random" else watch))
        return len(tried) - 1

    run.checked(make(grid[0]), train)
    ledger.charge(event, name, distance=found.distance)
    with seeded(run.seed):
        result = search(
            found, grid, trained, lambda number: right(tried[number].module, scored, rows.cut), SecureSource()
        )
    assert result.model is not None and result.best is not None
    _keep(run.folder, tried[result.model], result.best)


def chosen(agreed: PrivatePlan, candidate: Candidate) -> PrivatePlan:
    """Return the plan with a candidate's clip."""
    clip = candidate.get("clip")
    return agreed if clip is None else replace(agreed, clip=clip)


def _split(rows: Rows, kind: str, source: Source) -> tuple[Rows, Rows | None]:
    """Return rows to train on and rows to score on; none are held out if the choice is public.

    By a secret coin for each row: were it fixed for each place, a row more or less would move all that come after it.
    """
    if kind == "public":
        return rows, None
    coins = torch.from_numpy(source.bits(len(rows)) < np.uint64(int(HELD_OUT * 2**64)))
    if not 0 < int(coins.sum()) < len(rows):
        raise DataError(f"data.train: {len(rows)} rows are too few to hold some out for a search")
    return _where(rows, ~coins), _where(rows, coins)


def _where(rows: Rows, mask: Tensor) -> Rows:
    return Rows(rows.x[mask], rows.y[mask])


def _keep(folder: Path, finished: Finished, best: int) -> None:
    from safetensors.torch import save

    weights = {name: value.detach().cpu().contiguous() for name, value in finished.module.state_dict().items()}
    (folder / WEIGHTS).write_bytes(save(weights))
    seen = {"rows": finished.seen.rows, "bad": finished.seen.bad, "clipped": finished.seen.clipped}
    written(folder / FOUND, {"best": best, "seen": seen})


def _kept(
    run: Run, agreed: PrivatePlan, grid: tuple[Candidate, ...], make: Callable[[Candidate], Steps], before: bool
) -> tuple[Finished, Candidate]:
    """Return what the search found, and with which candidate; `before`: an earlier call had found it."""
    from safetensors.torch import load

    said = json.loads((run.folder / FOUND).read_text(encoding="utf-8"))
    best = grid[said["best"]]
    module: nn.Module = make(best).module(run.seed)
    module.load_state_dict(load((run.folder / WEIGHTS).read_bytes()))
    finished = Finished(module.eval(), agreed.steps, Seen(**said["seen"]), before, 0 if before else agreed.steps)
    return finished, best
