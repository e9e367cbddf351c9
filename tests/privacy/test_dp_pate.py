"""PATE: what answers cost, for all votes and for those at hand, and a student that learns."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon
from numpy.typing import NDArray
from scipy import integrate, stats

from veriward.core.errors import BudgetExceeded, DataError, ModelError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.dp.accountants import curve
from veriward.privacy.dp.accounting import epsilon
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SecureSource, SimulatedSource
from veriward.privacy.dp.pate import Answers, Fit, ask, count_votes, distil, parts, teach
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.votes import Aggregator, ConfidentGNMax, GNMax, LNMax, gaussian_bound, pure_bound

STREAM = Stream.of(5, "tests/privacy/dp_pate")
ORDERS = np.array([1.5, 2.0, 3.0, 8.0, 20.0, 64.0])
AGREED, SPLIT = np.array([[100, 0, 0]] * 50), np.array([[34, 33, 33]] * 50)


def source(name: str = "source") -> SimulatedSource:
    return SimulatedSource(STREAM.child(name))


def rdp(answers: Answers) -> NDArray[np.float64]:
    return curve(answers.event, Relation.ADD_OR_REMOVE, tuple(ORDERS))


# What all votes cost.


def test_gnmax_costs_order_over_variance_per_answer() -> None:
    """Proposition 8: (lambda, lambda / sigma^2)."""
    assert rdp(ask(SPLIT, GNMax(9.0), source())) == pytest.approx(50 * ORDERS / 81)


def test_confident_gnmax_costs_its_threshold_per_query_and_its_label_per_answer() -> None:
    answers = ask(SPLIT, ConfidentGNMax(200, 150, 40), source(), most=20)
    assert rdp(answers) == pytest.approx(50 * ORDERS / (2 * 150**2) + 20 * ORDERS / 40**2)


def test_lnmax_is_pure() -> None:
    answers = ask(SPLIT, LNMax(20.0), source())
    assert (rdp(answers) <= 50 * np.minimum(2 / 20, ORDERS * (2 / 20) ** 2 / 2)).all()
    assert answers.epsilon(1e-9) <= 50 * 2 / 20


def test_epsilon_is_that_of_one_gaussian() -> None:
    found = ask(SPLIT, GNMax(12.0), source()).epsilon(1e-5)
    wanted = epsilon(noise_multiplier=12 / math.sqrt(2), steps=50, sampling="full", delta=1e-5)
    assert wanted <= found == pytest.approx(wanted, rel=1e-3)


def test_the_noise_s_distance_is_part_of_delta() -> None:
    with pytest.raises(SettingsError, match="the noise's distance from its law may cost"):
        ask(SPLIT, GNMax(1.0), source()).epsilon(1e-9)


@pytest.mark.parametrize("aggregator", [GNMax(40.0), ConfidentGNMax(60.0, 40.0, 40.0), LNMax(40.0)])
def test_the_claim_does_not_depend_on_votes(aggregator: Aggregator) -> None:
    agreed, split = ask(AGREED, aggregator, source(), most=30), ask(SPLIT, aggregator, source(), most=30)
    assert agreed.event == split.event
    assert agreed.distance == split.distance > 0


def test_unit_and_relations() -> None:
    event = ask(AGREED, GNMax(40.0), source(), unit="user").event
    assert event.unit == "user"
    assert set(event.relations) == set(Relation)


# What the votes at hand cost.


@pytest.mark.parametrize("aggregator", [GNMax(10.0), ConfidentGNMax(50.0, 12.0, 10.0), LNMax(10.0)])
def test_agreement_is_cheap_and_disagreement_is_not(aggregator: Aggregator) -> None:
    agreed, split = (ask(votes, aggregator, source()) for votes in (AGREED, SPLIT))
    assert agreed.holder.epsilon(1e-5) < 0.3 * agreed.epsilon(1e-5)
    assert (split.holder.aggregator.dependent(SPLIT, split.labels, ORDERS) <= rdp(split) * (1 + 1e-9)).all()
    always = aggregator.dependent(SPLIT, np.zeros(50, np.int64), ORDERS)
    assert aggregator.dependent(AGREED, np.zeros(50, np.int64), ORDERS)[1] < 0.1 * always[1]


def test_near_ties_cost_the_bound_for_all_votes() -> None:
    found = GNMax(10.0).dependent(SPLIT, np.zeros(50, np.int64), ORDERS)
    assert found == pytest.approx(50 * ORDERS / 100)


def outcome(counts: tuple[int, ...], density: Callable[[float], float], cumulative: Callable[[float], float]) -> Any:
    """Return the exact chance of each class to have the largest noisy count."""
    reach = 12 * 10.0 + max(counts)

    def wins(k: int) -> float:
        def value(x: float) -> float:
            others = math.prod(cumulative(x - n) for i, n in enumerate(counts) if i != k)
            return density(x - counts[k]) * others

        return float(integrate.quad(value, -reach, reach, limit=400, points=counts)[0])

    return np.array([wins(k) for k in range(len(counts))])


def divergence(p: Any, q: Any, order: float) -> float:
    return math.log(float((p**order * q ** (1 - order)).sum())) / (order - 1)


def neighbours(counts: tuple[int, ...]) -> list[tuple[int, ...]]:
    moved = []
    for source_class in range(len(counts)):
        for target in range(len(counts)):
            if source_class != target and counts[source_class]:
                new = list(counts)
                new[source_class] -= 1
                new[target] += 1
                moved.append(tuple(new))
    return moved


@pytest.mark.parametrize("counts", [(30, 0, 0), (40, 6, 4), (60, 20, 0), (20, 18, 2)])
@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_no_neighbour_is_further_than_the_bound_says(counts: tuple[int, ...], kind: str) -> None:
    """Against the exact divergence of the chosen class from every neighbour, both ways."""
    law = stats.norm(scale=5.0) if kind == "gaussian" else stats.laplace(scale=5.0)
    aggregator = GNMax(5.0) if kind == "gaussian" else LNMax(5.0)
    orders = np.array([1.5, 2.0, 4.0, 8.0])
    bound = aggregator.dependent(np.array([counts]), np.zeros(1, np.int64), orders)
    here = outcome(counts, law.pdf, law.cdf)
    for other in neighbours(counts):
        there = outcome(other, law.pdf, law.cdf)
        for order, most in zip(orders, bound, strict=True):
            assert divergence(here, there, order) <= most + 1e-9


def test_the_bounds_never_exceed_those_for_all_votes() -> None:
    for log_other in (-1e3, -100.0, -20.0, -5.0, -1.0, -0.1, 0.0):
        assert (gaussian_bound(log_other, 7.0, ORDERS) <= ORDERS / 49 * (1 + 1e-12)).all()
        assert (pure_bound(log_other, 0.2, ORDERS) <= np.minimum(ORDERS * 0.02, 0.2) * (1 + 1e-12)).all()
        assert (gaussian_bound(log_other, 7.0, ORDERS) >= 0).all()


def test_the_bound_falls_as_teachers_agree() -> None:
    costs = [gaussian_bound(log_other, 40.0, np.array([10.0]))[0] for log_other in (-1.0, -10.0, -30.0, -60.0)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 1e-8


def test_the_published_epsilon_lies_between_that_of_agreement_and_that_of_all_votes() -> None:
    """Papernot et al., 2018, table 1, MNIST: 250 teachers, 286 answers at sigma 40 and threshold 200 / 150: 1.97 at 1e-5.

    Their votes are not published; teachers who agree as well as 235 to 15 cost less, all votes more.
    """
    votes = np.zeros((640, 10), np.int64)
    votes[:, 0], votes[:, 1] = 235, 15
    aggregator = ConfidentGNMax(200.0, 150.0, 40.0)
    labels, orders = np.where(np.arange(640) < 286, 0, -1), np.arange(2.0, 100.0)
    agreed = aggregator.dependent(votes, labels, orders)
    every = 640 * orders / (2 * 150**2) + 286 * orders / 40**2
    low, high = (float(compute_epsilon(orders, spent, 1e-5)[0]) for spent in (agreed, every))
    assert low < 1.97 < high


# The draw.


def test_answers_are_those_of_gaussian_noise() -> None:
    votes = np.tile([[12, 10, 3]], (20_000, 1))
    labels = ask(votes, GNMax(4.0), source("law")).labels
    law = stats.norm(scale=4.0)
    wanted = outcome((12, 10, 3), law.pdf, law.cdf)
    assert stats.chisquare(np.bincount(labels, minlength=3), 20_000 * wanted / wanted.sum()).pvalue > 1e-3


def test_answers_are_those_of_laplace_noise() -> None:
    votes = np.tile([[12, 10, 3]], (20_000, 1))
    labels = ask(votes, LNMax(4.0), source("law")).labels
    law = stats.laplace(scale=4.0)
    wanted = outcome((12, 10, 3), law.pdf, law.cdf)
    assert stats.chisquare(np.bincount(labels, minlength=3), 20_000 * wanted / wanted.sum()).pvalue > 1e-3


def test_the_threshold_has_noise_of_its_own() -> None:
    votes = np.tile([[70, 30]], (20_000, 1))
    answered = int(ask(votes, ConfidentGNMax(80.0, 10.0, 1.0), source("threshold")).answered.sum())
    assert stats.binomtest(answered, 20_000, float(stats.norm.sf(1.0))).pvalue > 1e-3


def test_at_most_so_many_are_answered() -> None:
    assert ask(AGREED, GNMax(1.0), source(), most=7).answered.sum() == 7
    assert ask(AGREED, ConfidentGNMax(10.0, 1.0, 1.0), source(), most=7).answered.sum() == 7
    assert ask(AGREED, LNMax(1.0), source(), most=7).answered.sum() == 7
    assert ask(AGREED[:0], ConfidentGNMax(10.0, 1.0, 1.0), source()).labels.shape == (0,)


# The ledger.


def test_answers_are_charged_before_they_are_drawn(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l", (2.0, 1e-5)) as ledger:
        ask(AGREED, ConfidentGNMax(50.0, 100.0, 40.0), source(), most=9, ledger=ledger)
        asked, answered = ledger.entries()
        assert (asked.event.dp.count, answered.event.dp.count) == (50, 9)
        assert all(entry.distance > 0 for entry in (asked, answered))


def test_what_does_not_fit_is_not_drawn(tmp_path: Path) -> None:
    class Refusing(SimulatedSource):
        def bits(self, count: int) -> Any:
            raise AssertionError("drawn before it was charged")

    with Ledger(tmp_path / "l", (0.1, 1e-5)) as ledger:
        for aggregator in (GNMax(5.0), LNMax(5.0), ConfidentGNMax(10.0, 5.0, 5.0)):
            with pytest.raises(BudgetExceeded):
                ask(AGREED, aggregator, Refusing(STREAM), ledger=ledger)
        assert not ledger.entries()


# Teachers.


def test_rows_of_one_person_have_one_teacher() -> None:
    ids = np.arange(300) % 40
    part = parts(300, 16, source(), ids)
    assert all(len(set(part[ids == person])) == 1 for person in range(40))


def test_each_unit_is_placed_by_itself_and_uniformly() -> None:
    part = parts(16_000, 16, source("parts"))
    assert stats.chisquare(np.bincount(part, minlength=16)).pvalue > 1e-3
    more = parts(16_001, 16, source("parts"))
    assert (part == more[:-1]).all()  # a row more moves no other


def test_a_row_moves_one_vote() -> None:
    """Teachers are fitted on neighbouring data; every other teacher answers as before."""
    rng = np.random.Generator(np.random.PCG64(2))
    x, y, public = rng.normal(size=(90, 2)), rng.integers(0, 3, 90), rng.normal(size=(40, 2))

    def votes(rows: int) -> NDArray[np.int64]:
        part = parts(rows, 12, source("row"))
        return count_votes(teach(nearest, x[:rows], y[:rows], part, 12, 0), public, 3)

    changes = np.abs(votes(90) - votes(89))
    assert changes.sum(1).max() <= 2
    assert changes.max() <= 1


def nearest(x: Any, y: Any, seed: int) -> Callable[[Any], Any]:
    centres = np.array([x[y == k].mean(0) if (y == k).any() else np.full(x.shape[1], 1e9) for k in range(10)])
    return lambda rows: np.linalg.norm(rows[:, None] - centres, axis=2).argmin(1)


def test_parts_without_a_choice_have_a_constant_answer() -> None:
    def fails(x: Any, y: Any, seed: int) -> Any:
        raise AssertionError

    one, none = teach(fails, np.zeros((2, 1)), np.array([4, 4]), np.array([0, 0]), 2, 0)
    assert np.asarray(one(np.zeros((3, 1)))).tolist() == [4, 4, 4]
    assert np.asarray(none(np.zeros((3, 1)))).tolist() == [0, 0, 0]


def test_teachers_have_seeds_of_their_own() -> None:
    seeds: list[int] = []

    def fit(x: Any, y: Any, seed: int) -> Any:
        seeds.append(seed)
        return lambda rows: np.zeros(len(rows))

    teach(fit, np.zeros((60, 1)), np.arange(60) % 2, np.arange(60) // 20, 3, 7)
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("answers", [[0, 3], [0, -1], [0.5, 1], [0], [[0, 1]], ["a", "b"]])
def test_answers_that_are_no_classes_are_refused(answers: Any) -> None:
    with pytest.raises(ModelError, match="teacher 0: answered"):
        count_votes([lambda rows: answers], np.zeros((2, 1)), 3)


def fitted(**other: Any) -> Any:
    settings: dict[str, Any] = {"teachers": 4, "classes": 2, "aggregator": GNMax(1.0), "source": source()}
    x, y = other.pop("x", np.zeros((8, 1))), other.pop("y", np.arange(8) % 2)
    return distil(nearest, x, y, np.zeros((5, 1)), **(settings | other))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"teachers": 1}, SettingsError),
        ({"classes": 1}, SettingsError),
        ({"y": np.arange(8)}, DataError),
        ({"y": np.arange(7) % 2}, DataError),
        ({"ids": np.arange(7)}, DataError),
        ({"most": 0}, SettingsError),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        fitted(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: GNMax(0.0),
        lambda: GNMax(2.0**20),
        lambda: LNMax(-1.0),
        lambda: LNMax(2.0**30),
        lambda: ConfidentGNMax(0.0, 1.0, 1.0),
        lambda: ConfidentGNMax(1.0, math.inf, 1.0),
    ],
)
def test_noise_out_of_range_is_refused(wrong: Callable[[], Aggregator]) -> None:
    with pytest.raises(SettingsError):
        wrong()


def test_without_answers_there_is_no_student() -> None:
    done = fitted(aggregator=ConfidentGNMax(1e4, 1.0, 1.0))
    assert done.student is None
    assert not done.answers.answered.any()


def test_what_is_printed_tells_no_votes() -> None:
    answers = ask(AGREED, GNMax(40.0), SecureSource())
    assert repr(answers) == "Answers(50 of 50 answered, unit=row)"
    assert repr(answers.holder) == "Votes(for the data holder only, 50 queries)"
    assert repr(ask(AGREED, GNMax(40.0), source())).startswith("NotPrivate(simulation)(")


# End to end.


@pytest.mark.slow
def test_a_student_of_digits() -> None:
    """100 teachers of 12 digits each, 100 answers, epsilon 3.6 at 1e-4: the student knows three digits of four."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    pixels, y = load_digits(return_X_y=True)
    x = pixels / 16
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(x))
    private, public, test = order[:1200], order[1200:1500], order[1500:]

    fit: Fit = lambda x, y, seed: LogisticRegression(max_iter=300).fit(x, y).predict  # noqa: E731
    scores = []
    for seed in range(3):
        done = distil(
            fit, x[private], y[private], x[public],
            teachers=100, classes=10, aggregator=GNMax(15.0), source=source(f"digits {seed}"), seed=seed, most=100,
        )  # fmt: skip
        assert done.student is not None
        scores.append(float((np.asarray(done.student(x[test])) == y[test]).mean()))
    assert done.answers.epsilon(1e-4) < 3.6
    assert np.mean(scores) > 0.7


@pytest.mark.slow
def test_the_examples_of_the_guide_run() -> None:
    guide = (Path(__file__).parents[2] / "docs/dp-pate.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        exec(block, names)
    assert round(names["done"].answers.epsilon(delta=1e-4), 2) == 3.55
    assert len(names["done"].student(names["x"][1500:])) == 297
