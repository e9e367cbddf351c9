"""The engine under the attacks: lanes, rounds, memory that runs out, successes by rounding, independence of company."""

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from veriward.adapters.opened import open_subject
from veriward.checks.balls import ball_threat
from veriward.checks.evasion.ascent import PGD, climb, drawn, falling
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.pieces import Pieces
from veriward.checks.evasion.rows import AttackRows, begin
from veriward.checks.evasion.search import MOST, Round, Search, rounds
from veriward.core.ball import Norm
from veriward.core.streams import Stream

from .measure import measure, subject_of

ROWS, COLUMNS, CLASSES = 120, 12, 5
STREAM = Stream.of(0, "engine")


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(COLUMNS, 24), nn.ReLU(), nn.Linear(24, CLASSES)).eval()


def chase_of(model: nn.Module, eps: float, norm: Norm = "linf", rows: int = ROWS) -> Chase:
    x = np.random.default_rng(0).normal(size=(rows, COLUMNS)).astype(np.float32)
    y = model(torch.from_numpy(x)).argmax(1).numpy()
    y[:2] = (0, 1)
    opened = open_subject(subject_of(model, x, y), device="cpu")
    return begin(opened, ball_threat(norm, "gradients", eps), range(rows))[0]


def test_lanes_climb_as_they_would_alone() -> None:
    chase = chase_of(network(), 0.02)
    where = torch.arange(70)
    z = torch.stack([chase.clean[where], drawn(chase, where, STREAM, 1), drawn(chase, where, STREAM, 2)])
    aim = torch.stack([chase.goal[where].aim(chase.raw(chase.clean[where]), rank) for rank in (1, 2, 1)])
    size = lambda step: falling(step, 8)  # noqa: E731
    together = climb(chase, where, z, aim, 8, size)
    left = ~chase.done[where]
    assert bool(left.any())
    for lane in range(3):
        chase.done[:] = False
        alone = climb(chase, where, z[lane : lane + 1], aim[lane : lane + 1], 8, size)[0]
        assert torch.equal(together[lane][left], alone[left])


@pytest.mark.parametrize("norm", ["linf", "l2", pytest.param("l1", marks=pytest.mark.slow)])
def test_rounds_break_what_restarts_break(norm: Norm) -> None:
    eps = {"linf": 0.12, "l2": 0.3, "l1": 0.6}[norm]
    plain, searched = chase_of(network(), eps, norm, 60), chase_of(network(), eps, norm, 60)
    PGD(20, 2).run(plain, STREAM)
    Search(rounds(20, 2)).run(searched, STREAM)
    assert 0.1 < float(plain.done.double().mean()) < 0.9
    assert not bool((plain.done & ~searched.done).any())


def test_rows_far_from_the_edge_cost_a_probe_and_no_more() -> None:
    chase = chase_of(network(), 1e-4)
    near = chase.start > -1e-2
    chase.done[near] = True
    chase.opened.model.counter.take()
    Search((Round(10), Round(10, MOST, 0.5))).run(chase, STREAM)
    assert chase.opened.model.counter.take().gradients == 10 * int((~near).sum())


def test_the_way_that_is_left_lies_between_the_edge_and_the_row() -> None:
    chase = chase_of(network(), 0.05)
    where = chase.active
    assert torch.equal(chase.gap(where), torch.ones(len(where), dtype=torch.float64))
    PGD(10, 1).run(chase, STREAM)
    assert bool((chase.gap(chase.active) >= 0).all())
    assert bool((chase.gap(chase.active) < 1).all())


def test_an_effort_buys_steps_for_few_rows_last() -> None:
    for steps, restarts in ((20, 2), (40, 4), (100, 10)):
        turns = rounds(steps, restarts)
        assert [turn.near for turn in turns] == sorted((turn.near for turn in turns), reverse=True)
        assert turns[-1].steps == max(turn.steps for turn in turns)


def test_pieces_are_halved_for_good_when_memory_runs_out() -> None:
    asked: list[int] = []

    def call(part: slice) -> list[int]:
        asked.append(part.stop - part.start)
        if asked[-1] > 3:
            raise MemoryError
        return list(range(part.start, part.stop))

    pieces = Pieces(None)
    assert [*chain.from_iterable(pieces.over(10, call))] == list(range(10))
    assert asked[:3] == [10, 5, 2]
    before = len(asked)
    assert [*chain.from_iterable(pieces.over(4, call))] == list(range(4))
    assert max(asked[before:]) <= 3


def test_a_row_too_many_ends_with_an_error() -> None:
    def call(part: slice) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        Pieces(None).over(5, call)


class Small(nn.Module):
    """A network on a machine with room for few rows."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes), or run out of memory."""
        if len(x) > self.most:
            raise torch.OutOfMemoryError("no room")
        return self.inner(x)


def test_out_of_memory_halves_the_batch_and_changes_no_verdict() -> None:
    search = Search((Round(8), Round(8, 3)))
    chase, small = chase_of(network(), 0.1, rows=50), chase_of(network(), 0.1, rows=50)
    search.run(chase, STREAM)
    found = chase.done.clone()
    small.opened.network.add_module("0", Small(small.opened.network[0], 20))  # type: ignore[union-attr,index]
    search.run(small, STREAM)
    assert torch.equal(small.done, found)
    assert 1 <= small.opened.model.backend.tile <= 20


def test_a_search_in_coarse_numbers_counts_only_successes_of_the_model_itself() -> None:
    exact, coarse = chase_of(network(), 0.1), chase_of(network(), 0.1)
    section = coarse.opened.subject.threat.evasion.model_copy(update={"search": "bfloat16"})
    threats = coarse.opened.subject.threat.model_copy(update={"evasion": section})
    coarse.opened = replace(coarse.opened, subject=coarse.opened.subject.model_copy(update={"threat": threats}))
    where = exact.active
    own, _, slope = exact.rise(exact.clean, where)
    told, _, near = coarse.rise(coarse.clean, where)
    assert not torch.equal(slope, near)
    assert slope.dtype == near.dtype
    assert (slope - near).norm() <= 0.05 * slope.norm()
    assert torch.equal(told.fooled, own.fooled)
    for chase in (exact, coarse):
        Search((Round(8), Round(8, 3))).run(chase, STREAM)
    asked = coarse.goal[where].answer(coarse.raw(coarse.found))
    assert torch.equal(asked.fooled, coarse.done), "what counts is what the model decides in its own numbers"
    assert (exact.done != coarse.done).float().mean() <= 0.02


class Rounded(nn.Module):
    """Two scores, of which the second is rounded to multiples of 2**-17 where numbers are float32."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1))
        self.edge = edge

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 2)."""
        value = (x.flatten(1) @ self.weight + 64.0) - 64.0
        return torch.cat([torch.full_like(value, self.edge), value], 1)


def test_a_success_that_float64_contradicts_does_not_count_and_raises_no_alarm() -> None:
    x = np.zeros((30, 1, 1, 1), np.float32)
    y = np.zeros(30, int)
    x[0], y[0] = 1.0, 1  # the other class occurs
    settings = {"kind": "image", "bounds": (-9, 9)}
    for edge, broken in ((0.5 + 6e-6, 0), (0.5 + 4e-6, 29)):
        opened = open_subject(subject_of(Rounded(edge), x, y, input=settings), device="cpu")
        threat = ball_threat("linf", "gradients", 0.5 + 5e-6)
        result = AttackRows(threat, STREAM, (PGD(20, 1),))(opened, (range(30), 0))
        assert (result["by"][1:] >= 0).sum() == broken
        assert (result["contradicted"] > 0) == (broken == 0)
        assert result["rejected"] == 0
        assert not result["random"]


def test_blocks_of_rows_change_nothing() -> None:
    chase = chase_of(network(), 0.08)
    work = AttackRows(chase.threat, STREAM, (Search((Round(8), Round(8, 3, 0.7), Round(12, 2, 0.4, 1))),))
    whole = work(chase.opened, (range(ROWS), 0))
    parts = [work(chase.opened, (part, 0)) for part in (range(50), range(50, ROWS))]
    for name in ("correct", "by", "spent"):
        assert np.concatenate([part[name] for part in parts]).tobytes() == whole[name].tobytes()


@pytest.mark.slow
def test_seeds_and_sizes_of_batches_leave_verdicts_alone() -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    model = _fitted(torch.from_numpy(x[:1200]), torch.from_numpy(y[:1200]))
    subject = subject_of(model, x[1200:1600], y[1200:1600], input={"bounds": (0, 1)})
    settings: dict[str, Any] = {"rows": None, "steps": 40, "restarts": 4, "queries": 50}
    threat = ball_threat("linf", "gradients", 0.08)
    found = [
        measure("evasion/linf", subject, threat=threat, seed=seed, **settings).outcomes["broken"] for seed in range(5)
    ]
    assert 0.2 < found[0].mean() < 0.9
    assert (np.stack(found) != found[0]).any(0).mean() <= 0.005
    for size in (1, 32, 500):
        again = measure("evasion/linf", subject, threat=threat, batch_size=size, **settings).outcomes
        assert np.array_equal(again["broken"], found[0])


def _fitted(x: Tensor, y: Tensor) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    return model.eval()
