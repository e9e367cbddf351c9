"""Attacks on tables keep every rule, find whatever enumeration finds, and reach closed forms."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from veriward.adapters.opened import Opened, open_subject
from veriward.checks.balls import ball_threats
from veriward.checks.evasion.attack import Attack, run_plan
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.cheapest import shrink
from veriward.checks.evasion.constrained import CAPGD, needs_search, table_attacks
from veriward.checks.evasion.moeva import MOEVA, dominators, survivors
from veriward.checks.evasion.plans import EFFORTS, plan
from veriward.checks.evasion.repair import Repair
from veriward.checks.evasion.rows import begin
from veriward.core.data import Table
from veriward.core.streams import Stream
from veriward.core.subject import Subject

ROWS = 60
JOBS = ("job=a", "job=b", "job=c", "job=d")
RULES = {
    "sum": "a + b <= limit",
    "zero": "gain * loss == 0",
    "level": " or ".join(f"(`{name}` == 1 and level == {i + 1})" for i, name in enumerate(JOBS)),
    "retired": "not (`job=d` == 1) or hours <= 10",
}
FREE = {"job": {"change": "any"}, "level": {"change": "any"}, "hours": {"change": "any"}, "limit": {"mutable": False}}


def people(seed: int, n: int) -> Table:
    """Rows that keep the rules."""
    g = np.random.default_rng(seed)
    a, b, job = g.uniform(0, 10, n), g.uniform(0, 10, n), g.integers(0, 4, n)
    gain = np.where(g.random(n) < 0.3, g.uniform(0, 9, n), 0.0)
    columns = {
        "a": a,
        "b": b,
        "limit": np.maximum(a + b, g.uniform(5, 20, n)),
        "gain": gain,
        "loss": np.where((gain == 0) & (g.random(n) < 0.5), g.uniform(0, 9, n), 0.0),
        "level": job + 1,
        "hours": np.where(job == 3, g.integers(0, 11, n), g.integers(20, 60, n)),
        **{name: (job == i).astype(np.int64) for i, name in enumerate(JOBS)},
    }
    return Table(columns)


class Scores(torch.nn.Module):
    """A bent score of people; `scores` gives the same without gradients."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b, _, gain, loss, level, hours = x[:, :7].unbind(1)
        pull = torch.tanh(a - b / 2) + 0.2 * gain - 0.3 * loss + 0.5 * level + 0.02 * hours - x[:, 10]
        return torch.stack([torch.zeros_like(pull), pull - 1.6], 1)


def opened(model: Any, table: Table, y: Any, norm: str = "linf", **more: Any) -> Opened:
    data = {"train": {**table.columns, "y": y}, "test": {**table.columns, "y": y}, "label": "y"}
    settings = {"task": "classification", "model": {"live": model, "output": "logits"}, "input": {"kind": "tabular"}}
    threat = {"evasion": {"norm": norm}}
    return open_subject(Subject.model_validate({**settings, "data": data, "threat": threat, **more}))


def crowd(norm: str = "linf", *, white: bool = True) -> Opened:
    table = people(0, ROWS)
    x = torch.as_tensor(table.matrix())
    y = Scores()(x).argmax(1).numpy()
    model = Scores() if white else lambda frame: Scores()(torch.as_tensor(frame.to_numpy(dtype=np.float64)))
    return opened(model, table, y, norm, features=FREE, rules=RULES)


def attacked(subject: Opened, attacks: tuple[Attack, ...], rows: Any = range(ROWS)) -> Chase:
    norm = subject.subject.threat.evasion.norm[0]
    chase, _, _ = begin(subject, ball_threats(subject, norm)[0], list(rows))
    run_plan(attacks, chase, Stream.of(0, "test"))
    shrink(chase)
    chase.verify()
    return chase


def faults(clean: Mapping[str, float], found: Mapping[str, float], norm: str) -> list[str]:
    """What a found row breaks, said without a word of the rules' own code."""
    wrong = []
    if found["a"] + found["b"] > found["limit"] + 1e-9:
        wrong.append("sum")
    if found["gain"] != 0 and found["loss"] != 0:
        wrong.append("zero")
    jobs = [found[name] for name in JOBS]
    if sorted(jobs) != [0, 0, 0, 1] or jobs.index(1) + 1 != found["level"]:
        wrong.append("level")
    elif jobs[3] == 1 and found["hours"] > 10:
        wrong.append("retired")
    if found["hours"] != int(found["hours"]) or found["limit"] != clean["limit"]:
        wrong.append("types")
    if norm == "linf" and any(abs(found[name] - clean[name]) > 0.5 for name in ("a", "b", "gain", "loss")):
        wrong.append("budget")  # 5 % of a range below 10
    return wrong


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("attack", [CAPGD(20, 2), MOEVA(15, 18)], ids=["capgd", "moeva"])
def test_every_success_is_feasible_by_an_independent_judge(norm: str, attack: Attack) -> None:
    chase = attacked(crowd(norm), (attack,))
    names = [column.name for column in chase.opened.domain.columns]  # type: ignore[attr-defined]
    assert int(chase.done.sum()) >= 3
    for clean, found in zip(chase.clean[chase.done].tolist(), chase.found[chase.done].tolist(), strict=True):
        assert faults(dict(zip(names, clean, strict=True)), dict(zip(names, found, strict=True)), norm) == []


def test_both_attacks_break_the_same_rows_and_rules_protect_some() -> None:
    with_gradients, with_scores = attacked(crowd(), (CAPGD(30, 2),)), attacked(crowd(white=False), (MOEVA.of(600),))
    assert int((with_gradients.done ^ with_scores.done).sum()) <= 1
    free = opened(Scores(), people(0, ROWS), crowd().test.y, features=FREE)
    assert int(attacked(free, (CAPGD(30, 2),)).done.sum()) >= int(with_gradients.done.sum())


def test_outcomes_of_a_row_do_not_depend_on_its_company() -> None:
    subject = crowd()
    whole = attacked(subject, (CAPGD(10, 2), MOEVA(5, 9)))
    rows = {int(row): i for i, row in enumerate(whole.rows)}
    some = attacked(subject, (CAPGD(10, 2), MOEVA(5, 9)), range(3, 20, 2))
    for i, row in enumerate(some.rows.tolist()):
        assert torch.equal(some.found[i], whole.found[rows[row]])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_categories_under_rules_are_searched_like_by_enumeration(norm: str) -> None:
    """Random scores for each of 60 combinations: nothing but trying finds the right one."""
    words = {"p": ["k", "l", "m"], "q": ["s", "t", "u", "v"], "r": ["1", "2", "3", "4", "5"]}
    every = list(itertools.product(*words.values()))
    score = dict(zip(every, np.random.default_rng(1).normal(-1, 1, len(every)), strict=True))

    def kept(row: tuple[str, ...]) -> bool:
        return (row[0] != "k" or row[1] in ("s", "t")) and not (row[1] == "v" and row[2] == "5")

    rows = [row for row in every if kept(row)]
    table = Table({name: np.array([row[i] for row in rows], dtype=object) for i, name in enumerate(words)})

    def model(frame: Any) -> Any:
        values = np.array([score[tuple(row)] for row in frame.to_numpy().tolist()])
        return np.stack([np.zeros(len(values)), values], 1)

    y = np.array([int(score[row] > 0) for row in rows])
    rules = {"first": "not (p == 'k') or q in ('s', 't')", "second": "not (q == 'v' and r == '5')"}
    features = {name: {"change": "any"} for name in words}
    chase = attacked(opened(model, table, y, norm, features=features, rules=rules), (MOEVA.of(600),), range(len(rows)))
    most = 3 if norm == "linf" else 1  # categories that may change at once
    for i, row in enumerate(rows):
        near = [other for other in rows if sum(a != b for a, b in zip(row, other, strict=True)) <= most]
        assert bool(chase.done[i]) is any((score[other] > 0) != (score[row] > 0) for other in near), row


@pytest.mark.parametrize("form", ["twin == 2 * a", "a == twin / 2", "not (a >= -100) or twin - 2 * a == 0"])
def test_an_equality_moves_both_columns_as_the_closed_form_says(form: str) -> None:
    """With twin = 2 a and |da| <= 1, the score 3 a - 2 twin = -a moves by 1, not by 3 + 2 * 2."""
    g = np.random.default_rng(0)
    a = g.uniform(-4, 4, 80)
    table = Table({"a": a, "twin": 2 * a, "c": g.normal(size=80)})
    layer = torch.nn.Linear(3, 2, bias=False).double()
    layer.weight.data = torch.tensor([[0.0, 0.0, 0.0], [3.0, -2.0, 0.0]], dtype=torch.float64)
    features = {"a": {"change": "1"}, "twin": {"change": "any"}, "c": {"mutable": False}}
    subject = opened(layer, table, (a < 0).astype(int), features=features, rules={"twin": form})
    low, high = a.min(), a.max()  # the ranges of the training rows hold, too
    for attack in (CAPGD(40, 2), MOEVA.of(1000)):
        chase = attacked(subject, (attack,), range(80))
        reach = np.where(a > 0, a - np.maximum(a - 1, low), np.minimum(a + 1, high) - a)
        sure = np.abs(np.abs(a) - reach) > 0.02
        assert np.array_equal(chase.done.numpy()[sure], (np.abs(a) < reach)[sure]), attack.name


def test_a_repair_keeps_rows_that_need_none_and_mends_the_rest() -> None:
    subject = crowd()
    threat = ball_threats(subject, "linf")[0]
    clean = subject.encoded("test")
    domain: Any = subject.domain
    ball, repair = domain.ball(clean, threat), Repair(domain)
    assert torch.equal(repair(clean, ball), clean)
    noise = Stream.of(0, "noise").uniform(torch.arange(ROWS), clean.shape[1:]).double()
    wild = domain.settle(ball.low + noise * (ball.high - ball.low), ball)
    assert domain.keeps_rules(wild).double().mean() < 0.2
    mended = repair(wild, ball)
    assert domain.allowed(mended, clean, threat).all()
    assert (mended != clean).any(1).double().mean() > 0.9, "going home is no repair"


def test_survivors_are_the_fair_the_fooling_and_those_that_nothing_dominates() -> None:
    worth = torch.tensor([[[1.0, 0.5, 0.0], [3.0, 0.9, 0.4], [0.5, 0.1, 0.0], [0.4, 0.9, 0.5], [0.9, 0.6, 0.0]]])
    assert dominators(worth).tolist() == [[0, 0, 0, 4, 1]]
    assert sorted(survivors(worth, 3)[0].tolist()) == [0, 1, 2]


def test_plans_search_where_rules_or_categories_are_and_climb_elsewhere() -> None:
    subject, effort = crowd(), EFFORTS["quick"]
    white, black = ([a.name for a in plan(one, "linf", effort)] for one in (subject, crowd(white=False)))
    assert (white[0], white[-2:]) == ("capgd", ["moeva", "square"])
    assert "capgd" not in black
    assert black[-2:] == ["moeva", "square"]
    assert [attack.name for attack in table_attacks(subject, 10, 1, 100)] == ["capgd", "moeva"]
    plain = opened(torch.nn.Linear(1, 2), Table({"a": np.array([0.5, 1.5, 2.5])}), [0, 1, 0])
    assert not needs_search(plain)
