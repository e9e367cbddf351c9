"""Attacks by labels alone: near the exact distance with enough questions, through tables, and from end to end."""

from typing import Any

import numpy as np
import pytest
import torch

import veriward
from veriward.adapters.opened import open_subject
from veriward.checks.balls import ball_threat
from veriward.checks.evasion.boundary import Boundary
from veriward.checks.evasion.rays import HALVINGS, RayS, blocks
from veriward.checks.evasion.rows import begin
from veriward.checks.evasion.starts import Pool, Room, starts
from veriward.core.streams import Stream

from .measure import subject_of
from .test_members import chased, world


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_labels_alone_reach_the_exact_distance_within_ten_per_cent(norm: str) -> None:
    opened, need = world(norm, access="labels")
    eps = float(np.median(need))
    broken, need = chased(Boundary(1500, walks=1), opened, norm, eps, rows=50).done.numpy(), need[:50]
    assert (broken <= (need < eps * (1 + 1e-6))).all()
    assert broken[need < eps / 1.1].mean() >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("kind", ["array", "table"])
def test_several_classes_take_walks_from_several_sides(norm: str, kind: str) -> None:
    opened, need = world(norm, 5, kind=kind, access="labels")
    eps = float(np.median(need))
    broken = chased(Boundary(5000), opened, norm, eps).done.numpy()
    assert (broken <= (need < eps * (1 + 1e-6))).all()
    assert broken[need < eps / 1.1].mean() >= 0.97


def test_queries_are_kept_to() -> None:
    opened, _ = world("l2", access="labels")
    opened.model.counter.take()
    chased(Boundary(400, walks=1), opened, "l2", 1e-6)
    assert opened.model.counter.take().queries <= 440 * len(opened.test)


def test_starts_are_rows_of_the_users_that_are_decided_otherwise() -> None:
    opened, need = world("l2", 4, access="labels")
    chase, _, _ = begin(opened, ball_threat("l2", "labels", float(need.min()) / 2), list(range(60)))
    stream, room = Stream.of(0, "starts"), Room.of(chase)
    pool = Pool.of(chase, 50, stream)
    avoid = torch.full((len(chase.clean), 1), -1)
    begun = starts(chase, room, pool, avoid, stream)
    assert len(begun.where) == len(chase.clean)
    assert chase.ask(begun.z, begun.where).fooled.all()
    assert all(any(torch.equal(z, row) for row in pool.rows) for z in begun.z)
    avoid[begun.where, 0] = begun.labels
    other = starts(chase, room, pool, avoid, stream)
    assert (opened.model.labels(other.z) != opened.model.labels(begun.z)[torch.isin(begun.where, other.where)]).all()


def mixed() -> tuple[Any, Any, Any, dict[str, Any]]:
    """A table of whole numbers, a number and a category, and a rule on it, asked for labels alone."""
    import pandas as pd

    generator = np.random.default_rng(0)
    n = 160
    kinds = np.array(["a", "b", "c"])
    x = pd.DataFrame(
        {
            "count": generator.integers(0, 40, n),
            "amount": generator.normal(0, 10, n),
            "kind": kinds[generator.integers(0, 3, n)],
            "fixed": generator.integers(0, 40, n),
        }
    )

    def model(rows: Any) -> np.ndarray:
        bonus = np.where(rows["kind"].to_numpy() == "c", 4.0, 0.0)
        score = rows["count"].to_numpy() + rows["amount"].to_numpy() + bonus - 0.2 * rows["fixed"].to_numpy()
        return (score > 16).astype(int)

    features = {
        "count": {"kind": "integer", "change": "4"},
        "amount": {"change": "4"},
        "kind": {"change": "any"},
        "fixed": {"mutable": False},
    }
    return model, x, model(x), features


def test_whole_numbers_and_categories_are_walked_through() -> None:
    model, x, y, features = mixed()
    data = {"test": {"x": x, "y": y}}
    opened = open_subject(
        veriward.Subject(model={"live": model, "output": "labels"}, data=data, features=features), device="cpu"
    )
    chase = chased(Boundary(300), opened, "linf", 1.0, rows=160)
    bonus, count, amount = np.where(x["kind"] == "c", 4.0, 0.0), x["count"].to_numpy(), x["amount"].to_numpy()
    score = count + amount + bonus - 0.2 * x["fixed"].to_numpy() - 16
    upwards = np.minimum(count + 4, count.max()) - count + np.minimum(amount + 4, amount.max()) - amount + 4 - bonus
    downwards = count - np.maximum(count - 4, count.min()) + amount - np.maximum(amount - 4, amount.min()) + bonus
    reachable = np.where(score > 0, score <= downwards, score + upwards > 0)
    broken = chase.done.numpy()
    assert not (broken & ~reachable).any()
    assert broken.sum() >= 0.95 * reachable.sum()
    found, clean = chase.found[chase.done], chase.clean[chase.done]
    assert torch.equal(found[:, 3], clean[:, 3])
    assert torch.equal(found[:, 0], found[:, 0].round())


def test_labels_alone_from_end_to_end(tmp_path: Any) -> None:
    """A callable that tells classes alone is assessed, by a random search and by the boundary."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(120, 8))
    weight = generator.normal(size=8)
    need = np.abs(x @ weight) / np.abs(weight).sum()
    eps = float(np.median(need))

    def model(rows: Any) -> np.ndarray:
        return (np.asarray(rows) @ weight > 0).astype(int)

    subject = subject_of(
        model,
        x,
        model(x),
        output="labels",
        input={"kind": "tabular", "bounds": (-9, 9)},
        threat={"evasion": {"eps": eps}},
    )
    with veriward.assess(subject, checks=["evasion/linf"], out=tmp_path / "x.ward", budget="quick") as dossier:
        finding = dossier["evasion/linf"]
        assert finding.error is None, finding.error
        assert finding.evidence.threat.access == "labels"
        assert "evasion.no_decision_or_transfer" not in {item.code for item in finding.evidence.untested}
        broken = finding.outcomes["broken"] == 1
    assert (broken <= (need < eps * (1 + 1e-6))).all()
    assert broken[need < eps / 1.1].mean() >= 0.9


def test_rays_reach_the_exact_distance_by_labels_alone() -> None:
    opened, need = world("linf", access="labels")
    eps = float(np.median(need))
    broken, need = chased(RayS(1000), opened, "linf", eps, rows=50).done.numpy(), need[:50]
    assert (broken <= (need < eps * (1 + 1e-6))).all()
    assert broken[need < eps / 1.1].all()


def test_rays_keep_to_their_questions() -> None:
    opened, _ = world("linf", access="labels")
    opened.model.counter.take()
    chased(RayS(200), opened, "linf", 1e-6)
    most = 200 + HALVINGS + 2  # a search that has begun ends; the clean rows are asked, too
    assert opened.model.counter.take().queries <= most * len(opened.test)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_blocks_of_a_pass_cover_every_number_at_every_length(size: int) -> None:
    found = blocks(size)
    covered = np.zeros(size, int)
    lengths = {size: 0}
    while True:
        part = next(found)
        covered[part] += 1
        lengths[part.stop - part.start] = 1
        if part == slice(size - 1, size):
            break
    assert (covered == covered[0]).all()
    assert 1 in lengths
