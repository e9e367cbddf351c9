"""reliability/environments: does the same model decide alike in another number format, batch, runtime or on a GPU?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import ROWS, Check, Control, Job
from veriward.checks.registry import register
from veriward.checks.reliability.asking import EVERYDAY, TASKS, blocks, spread
from veriward.checks.sampling import sample
from veriward.core.estimate import Estimate, census, proportion
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

Array = np.ndarray[Any, Any]
BLOCK = 1024  # rows of an item: each makes its own twin of the model
TOLERANCE = 0.01  # of a predicted number, within which two answers agree


@dataclass(frozen=True)
class Twice:
    """Ask about a block of test rows here and in another environment. Items are (environment, rows)."""

    def __call__(self, opened: Opened, item: tuple[str, Sequence[int]]) -> Mapping[str, Any]:
        """Return which rows agree, (n,), the largest difference and the largest answer; or that it does not run there."""
        from veriward.adapters.elsewhere import ask
        from veriward.core.errors import ModelError

        name, rows = item[0], list(item[1])
        x = opened.domain.decode(opened.encoded("test", rows))
        here = ask(opened.model, x).numpy()
        try:
            there = ask(opened.model, x, name).numpy()
        except ModelError as error:
            if getattr(error, "again", False):  # the network failed, not the model
                raise
            return {"ran": False, "same": np.zeros(len(rows), np.int8), "difference": 0.0, "largest": 0.0}
        return {"ran": True, **compare(here, there, numbers=opened.output == "value")}


def compare(here: Array, there: Array, *, numbers: bool) -> dict[str, Any]:
    """Return which rows agree, (n,), the largest difference of any answer, and the largest answer here.

    here, there (n, columns): probabilities, or one predicted number. An answer that is not a number agrees with nothing.

    >>> compare(np.array([[0.6, 0.4]]), np.array([[0.5, 0.5]]), numbers=False)["same"].tolist()
    [1]
    """
    known = np.isfinite(there).all(axis=1)
    away = np.abs(here - there).max(axis=1)
    same = away <= TOLERANCE * np.abs(here[:, 0]) if numbers else here.argmax(axis=1) == there.argmax(axis=1)
    return {
        "same": (same & known).astype(np.int8),
        "difference": float(away[known].max()) if known.any() else 0.0,
        "largest": float(np.abs(here).max()),
    }


@register
class Environments(Check):
    """Other number formats, thread counts, batches and runtimes; a GPU where there is one."""

    name = "reliability/environments"
    version = "1"
    question = "Does the same model decide alike in other number formats, batches, runtimes and devices?"
    needs = ("labels",)
    tasks = TASKS
    reads = ("model", "test", "input")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (EVERYDAY,)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows are asked about in each environment."""
        return {"budget": budget, "rows": ROWS[budget]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a model that decides otherwise elsewhere for half of the rows, and one that does not."""
        from veriward.checks.reliability.planted import environment_controls

        return environment_controls(opened.task, module=hasattr(opened.model.backend, "elsewhere"))

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Ask about the same rows everywhere and count where the answers part."""
        from veriward.adapters.elsewhere import places

        opened = job.opened
        rows = sample(job, "rows", len(opened.test), job.settings["rows"])
        asked = {name: rows[: place.most] for name, place in places(opened.model).items()}
        items = [(name, part) for name, chosen in asked.items() for part in blocks(opened, chosen, BLOCK)]
        results = job.map("environments", Twice(), items)
        found = {
            name: _joined([r for (other, _), r in zip(items, results, strict=True) if other == name]) for name in asked
        }
        ran = {name: result for name, result in found.items() if result["ran"]}
        alike = np.min([_padded(result["same"], len(rows)) for result in ran.values()], axis=0) if ran else None
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(estimate for name, result in ran.items() for estimate in _estimates(opened, name, result)),
            outcomes={} if alike is None else {"alike": spread(opened, rows, alike, -1)},
            rows=len(rows),
            assumptions=tuple(_assumptions(opened)),
            untested=tuple(_untested(opened, found)),
        )


def _joined(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "ran": all(item["ran"] for item in items),
        "same": np.concatenate([item["same"] for item in items]),
        **{name: max(item[name] for item in items) for name in ("difference", "largest")},
    }


def _padded(same: Array, rows: int) -> Array:
    """Return the rows that an environment was not asked about as alike: nothing speaks against them."""
    return np.concatenate([same, np.ones(rows - len(same), np.int8)])


def _estimates(opened: Opened, name: str, result: Mapping[str, Any]) -> Iterator[Estimate]:
    at, n = {"environment": name}, len(result["same"])
    yield proportion("agreement", int(result["same"].sum()), n, at=at)
    if opened.output == "value":
        share = result["difference"] / result["largest"] if result["largest"] else float(result["difference"] > 0)
        yield census("largest_relative_difference", share, n, "share of the largest answer", at=at)
    elif hasattr(opened.model, "scores"):
        yield census("largest_score_difference", result["difference"], n, "probability", at=at)


def _assumptions(opened: Opened) -> Iterator[Note]:
    yield note("reliability.run_environment", device=str(opened.device))
    if opened.output == "value":
        yield note("reliability.tolerance", share=TOLERANCE)


def _untested(opened: Opened, found: Mapping[str, Mapping[str, Any]]) -> Iterator[Note]:
    refused = [name for name, result in found.items() if not result["ran"]]
    if refused:
        yield note("reliability.environments_refused", environments=refused)
    if hasattr(opened.model.backend, "elsewhere"):
        if not {"cuda", "cpu"} & set(found):
            yield note("reliability.no_gpu")
        yield note("reliability.no_quantised")
    else:
        yield note("reliability.fixed_runtime")
