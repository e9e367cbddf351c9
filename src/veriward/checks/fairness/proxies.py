"""fairness/proxies: is a protected attribute, or a stand-in for it, among what drives the model?

Two questions, since leaving a column out does not take it out: does the model's answer change with the column itself, and
can the attribute be told from the other inputs, or from the answer alone (Dwork et al., 2012, arXiv:1104.3913, on
"fairness through unawareness"; Feldman et al., 2015, arXiv:1412.3756, on telling it from the rest).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.contract import Check, Control, Job
from veriward.checks.fairness.redraw import Answers, Array, changed, effect, unit_of
from veriward.checks.registry import register
from veriward.checks.sampling import sample
from veriward.core.estimate import Estimate, census, not_estimable
from veriward.core.evidence import Evidence
from veriward.core.note import Note, note
from veriward.core.threat import Threat

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.checks.fairness.stand_ins import Inputs
    from veriward.checks.fairness.telling import Target
    from veriward.core.policy import Budget
    from veriward.core.subject import Subject

ROWS: Mapping[str, int | None] = {"quick": 1_000, "standard": 5_000, "thorough": 50_000}  # to fit, and to test on
BLOCK = 4096


@register
class Proxies(Check):
    """The attribute's own column redrawn, and the attribute told from the other inputs and from the output."""

    name = "fairness/proxies"
    version = "1"
    question = "Does a protected attribute, or something that stands in for it, drive what the model answers?"
    needs = ("labels",)
    tasks = ("classification", "regression")
    reads = ("model", "train", "test", "input", "groups")

    def refuse(self, opened: Opened) -> Note | None:
        """Refuse subjects without groups."""
        return None if opened.subject.data.groups else note("fairness.no_groups")

    def threats(self, opened: Opened) -> tuple[Threat, ...]:
        """Return the one "threat": everyday use; nobody attacks."""
        return (Threat("unequal treatment", "labels"),)

    def settings(self, budget: Budget) -> Mapping[str, Any]:
        """Return how many rows a split may give."""
        return {"budget": budget, "rows": ROWS[budget]}

    def controls(self, opened: Opened) -> tuple[Control, ...]:
        """Return a model that reads the attribute and its copy, and one that reads neither."""
        from veriward.checks.fairness.planted_proxies import proxy_controls

        return proxy_controls(opened.task)

    def run(self, subject: Subject, threat: Threat, *, job: Job) -> Evidence:
        """Ask about rows as they are and with columns redrawn; then tell each attribute from what is left."""
        asking = Asking(job)
        estimates: list[Estimate] = []
        moved = np.zeros(len(asking.held))
        for attribute in subject.data.groups:
            column = asking.column(attribute)
            if column is not None:
                moved = np.maximum(moved, asking.change(column))
            estimates += [asking.driver(attribute), *asking.told(attribute)]
        outcome = np.full(job.opened.test.total, np.nan)
        outcome[job.opened.test.index[asking.held]] = moved
        read = any(asking.column(attribute) is not None for attribute in subject.data.groups)
        return Evidence(
            self.name,
            self.version,
            threat,
            tuple(estimates),
            outcomes={"changed": outcome} if read else {},
            rows=len(asking.fit[1]) + len(asking.held),
            assumptions=(note("fairness.redrawn"), *asking.notes),
            untested=(note("fairness.weak_teller"),),
        )


@dataclass(frozen=True)
class Asking:
    """The rows of one run, what the model answers to them, and the questions that follow."""

    job: Job

    @property
    def opened(self) -> Opened:
        """The subject, opened."""
        return self.job.opened

    @cached_property
    def parts(self) -> tuple[tuple[str, Array], Array]:
        """The rows to fit on (a split and row numbers), and the test rows that are held out."""
        most, n = self.job.settings["rows"], len(self.opened.test)
        if self.opened.train is not None:
            fit = sample(self.job, "rows to fit", len(self.opened.train), most)
            return ("train", fit), sample(self.job, "rows held out", n, most)
        order = self.job.stream("halves").generator().permutation(n)
        halves = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
        fit, held = (half[sample(self.job, name, len(half), most)] for name, half in zip("ab", halves, strict=True))
        return ("test", fit), held

    @property
    def fit(self) -> tuple[str, Array]:
        """The rows to fit on."""
        return self.parts[0]

    @property
    def held(self) -> Array:
        """The rows held out."""
        return self.parts[1]

    @property
    def notes(self) -> list[Note]:
        """What the reader must know of the rows and of the attributes."""
        from veriward.checks.fairness.telling import is_many

        columns = self.opened.test.groups.items()
        halves = [note("fairness.halves", attribute=name) for name, values in columns if is_many(values)]
        return [*halves, *([note("fairness.halves_of_test")] if self.opened.train is None else [])]

    def column(self, name: str) -> int | None:
        """Return the place of a named input of the model, None if it reads no column of that name."""
        names = self.inputs.names if self.inputs is not None else ()
        return names.index(name) if name in names else None

    @cached_property
    def inputs(self) -> Inputs | None:
        """The model's inputs as numbers; None where the rows are no table."""
        from veriward.checks.fairness.stand_ins import Inputs
        from veriward.core.table_domain import TableDomain

        domain = self.opened.domain
        if not isinstance(domain, TableDomain):
            return None
        parts = [self.opened.encoded(which, rows).cpu().numpy() for which, rows in (self.fit, ("test", self.held))]
        return Inputs(tuple(column.name for column in domain.columns), *parts)

    def ask(self, stage: str, which: str, rows: Array, column: int = -1) -> dict[str, Array]:
        """Return the model's answers to rows of a split, with one column redrawn."""
        items = [(which, rows[i : i + BLOCK].tolist(), column) for i in range(0, len(rows), BLOCK)]
        results = self.job.map(stage, Answers(self.job.stream("redraw")), items)
        return {name: np.concatenate([r[name] for r in results]) for name in results[0]}

    @cached_property
    def before(self) -> dict[str, Array]:
        """The answers to the rows held out, as they are."""
        return self.ask("answers", "test", self.held)

    def change(self, column: int) -> Array:
        """Return by how much each answer changes when a column is redrawn, (held,)."""
        after = self.ask("redrawn", "test", self.held, column)
        return changed(self.opened, self.before["answer"], after["answer"])

    def driver(self, attribute: str) -> Estimate:
        """Return what the attribute's own column does; a named table without it is a fact, and the effect none."""
        from veriward.core.data import Table

        column, at = self.column(attribute), {"attribute": attribute}
        if column is not None:
            return effect("driver_effect", self.opened, self.before["answer"], self.change(column), at)
        if isinstance(self.opened.test.x, Table):
            return census("driver_effect", 0.0, len(self.held), unit_of(self.opened), at=at)
        return not_estimable("driver_effect", note("fairness.unnamed_inputs"), at=at)

    def told(self, attribute: str) -> list[Estimate]:
        """Return how well the attribute can be told, and which inputs stand in for it."""
        from veriward.checks.fairness.stand_ins import stand_ins

        questions = self._targets(attribute)
        if not questions:
            why, at = note("fairness.one_group"), {"attribute": attribute}
            return [not_estimable(metric, why, at=at, bound="lower") for metric in ("proxy_auc", "output_auc")]
        found = [estimate for target in questions for estimate in self._told(attribute, target)]
        inputs = self.inputs.without(attribute) if self.inputs is not None else None
        if inputs is None or not inputs.names or not questions[0].estimable:
            return found
        return [*found, *stand_ins(attribute, inputs, questions[0], self._effect)]

    def _told(self, attribute: str, target: Target) -> list[Estimate]:
        from veriward.checks.fairness.telling import told

        at: dict[str, Any] = {"attribute": attribute} | ({"group": target.group} if target.group is not None else {})
        seed = int(self.job.stream("trees").key % 2**31)
        from_output = told("output_auc", self._output, self.before["output"], target, at, seed)
        inputs = self.inputs.without(attribute) if self.inputs is not None else None
        if inputs is None or not inputs.names:
            why = note("fairness.no_other_inputs")
            return [not_estimable("proxy_auc", why, at=at, bound="lower", unit="probability"), from_output]
        return [told("proxy_auc", inputs.fit, inputs.held, target, at, seed), from_output]

    @cached_property
    def _output(self) -> Array:
        """What the model tells about the rows to fit on, (fit, outputs)."""
        return self.ask("answers", *self.fit)["output"]

    def _targets(self, attribute: str) -> Sequence[Target]:
        from veriward.checks.fairness.telling import targets

        which, rows = self.fit
        fit, held = self.opened.split(which).groups[attribute][rows], self.opened.test.groups[attribute][self.held]
        return targets(attribute, fit, held, private=attribute in self.opened.subject.data.private)

    def _effect(self, place: int, at: Mapping[str, Any]) -> Estimate:
        """Return what redrawing one input does to the answers."""
        column = self.column(str(at["input"]))
        assert column is not None
        return effect("stand_in_effect", self.opened, self.before["answer"], self.change(column), at)
