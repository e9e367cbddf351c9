"""Hyper-parameter search: what all trainings and the choice cost together, and how often random stopping trains."""

import json
import math
import re
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dp_accounting import rdp
from dp_accounting.rdp.rdp_privacy_accountant import _gamma_truncated_negative_binomial
from scipy import stats
from torch import nn

from veriward.core.errors import BudgetExceeded, DataError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.dp import events
from veriward.privacy.dp.accountants import curve
from veriward.privacy.dp.accounting import composed, noise_multiplier
from veriward.privacy.dp.dp_sgd import PrivateTraining
from veriward.privacy.dp.event_json import from_dict
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SecureSource, SimulatedSource
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.sampling import Poisson
from veriward.privacy.dp.search import (
    SearchPlan,
    Trainings,
    _choose,
    _chooser,
    plan_all,
    plan_public,
    plan_random,
    search,
)
from veriward.privacy.dp.stopping import STOPPING_DISTANCE, WORD_BITS, _thresholds, expected, gamma, law, trainings

STREAM = Stream.of(6, "tests/privacy/dp_search")
LAWS = [(10.0, 1.0), (10.0, 0.0), (7.5, 0.5), (30.0, 3.0), (20.0, math.inf), (1.0, 0.0), (1.0, math.inf)]
SHORT = Trainings(steps=50, sampling_rate=0.02)


def source(name: str = "source") -> SimulatedSource:
    return SimulatedSource(STREAM.child(name))


# The number of trainings.


def exact(count: int, mean: float, shape: float) -> list[Decimal]:
    """Return the chances of the first `count` numbers by definition 1 of Papernot & Steinke, in 60 digits."""
    if shape == math.inf:
        chances = [(-Decimal(mean)).exp()]
        ratios = [Decimal(mean) / k for k in range(1, count)]
    else:
        rate, power = Decimal(gamma(mean, shape)), Decimal(shape)
        whole = (1 / rate).ln() if shape == 0 else (rate**-power - 1) / power
        chances = [(1 - rate) / whole] if rate < 1 else [Decimal(1)]
        ratios = [(1 - rate) * (k + power) / (k + 1) for k in range(1, count)]
    for ratio in ratios:
        chances.append(chances[-1] * ratio)
    return chances


@pytest.mark.parametrize(("mean", "shape"), [*LAWS, (300.0, 0.0), (400.0, 1.0)])
def test_words_draw_the_published_laws_within_the_stated_distance(mean: float, shape: float) -> None:
    _, thresholds = _thresholds(mean, shape)
    edges = [0, *(int(word) for word in thresholds), 1 << WORD_BITS]
    with localcontext() as context:
        context.prec = 60
        wanted = exact(len(edges) - 1, mean, shape)
        off = sum(
            abs(Decimal(b - a) / 2**WORD_BITS - chance)
            for a, b, chance in zip(edges[:-1], edges[1:], wanted, strict=True)
        )
        assert float(off + 1 - sum(wanted)) / 2 < STOPPING_DISTANCE  # what lies beyond the last, too


@pytest.mark.parametrize(("mean", "shape"), LAWS)
def test_the_mean_is_what_is_accounted_and_never_more(mean: float, shape: float) -> None:
    least, chances = law(mean, shape)
    found = math.fsum((least + np.arange(len(chances))) * chances)
    assert mean * (1 - 1e-9) < found <= mean * (1 + 1e-13)
    if shape != math.inf:
        assert gamma(mean, shape) >= _gamma_truncated_negative_binomial(shape, mean)


def test_closed_forms_of_the_mean() -> None:
    assert expected(0.25, 1.0) == pytest.approx(4.0)  # geometric
    assert expected(0.5, 0.0) == pytest.approx(1 / math.log(2))  # logarithmic
    assert expected(0.2, 1e-9) == pytest.approx(expected(0.2, 0.0), rel=1e-6)
    assert expected(0.3, 2.0) == pytest.approx(2 * 0.7 / (0.3 * (1 - 0.09)))


@pytest.mark.parametrize(("mean", "shape"), [(3.0, 1.0), (3.0, 0.0), (3.0, 2.0), (3.0, math.inf)])
def test_draws_follow_the_law(mean: float, shape: float) -> None:
    drawn = np.array([trainings(mean, shape, secret) for secret in [source(f"law {shape}")] for _ in range(20_000)])
    least, chances = law(mean, shape)
    top = 12
    wanted = np.append(chances[: top - least], 1 - chances[: top - least].sum())
    counts = np.bincount(np.minimum(drawn, top), minlength=top + 1)[least:]
    assert stats.chisquare(counts, 20_000 * wanted).pvalue > 1e-3


@pytest.mark.parametrize(
    ("mean", "shape"), [(0.5, 1.0), (501.0, 1.0), (math.nan, 1.0), (2.0, -1.0), (2.0, math.nan), (9.0, 1e6)]
)
def test_laws_that_cannot_be_drawn_are_refused(mean: float, shape: float) -> None:
    with pytest.raises(SettingsError):
        law(mean, shape)


# The plans.


@pytest.mark.parametrize("count", [1, 3, 10])
def test_all_trainings_and_the_choice_fit_the_budget_and_hardly_less_noise_does(count: int) -> None:
    plan = plan_all(2.0, 1e-5, count, SHORT, selection_epsilon=0.3)
    choice = plan.event.dp.events[-1]

    def cost(sigma: float) -> float:
        every = [events.poisson(0.02, sigma, 50)] * count
        chosen = events.Event(choice, (Relation.ADD_OR_REMOVE,), "release")
        return composed([*every, chosen], delta=1e-5)

    assert (choice.noise_parameter, choice.sensitivity) == (0.3, 1)
    assert cost(plan.noise_multiplier) <= 2.0 * (1 + 1e-4)
    assert cost(0.999 * plan.noise_multiplier) > 2.0
    assert 1.999 < plan.epsilon <= 2.0


def test_a_public_choice_costs_the_trainings_alone() -> None:
    one = noise_multiplier(epsilon=2.0, delta=1e-5, steps=50, sampling_rate=0.02)
    three = noise_multiplier(epsilon=2.0, delta=1e-5, steps=150, sampling_rate=0.02)
    assert plan_public(2.0, 1e-5, 1, SHORT).noise_multiplier == pytest.approx(one, rel=1e-5)
    assert plan_public(2.0, 1e-5, 3, SHORT).noise_multiplier == pytest.approx(three, rel=1e-5)


@pytest.mark.parametrize("shape", [0.0, 1.0, math.inf])
def test_random_stopping_fits_the_budget_by_the_theorem(shape: float) -> None:
    """Against dp_accounting, fed with the parts of the plan."""
    plan = plan_random(2.0, 1e-5, 30, SHORT, mean=10, shape=shape, score_noise=20.0)
    from dp_accounting import ComposedDpEvent, GaussianDpEvent
    from dp_accounting.dp_event import RepeatAndSelectDpEvent

    def cost(sigma: float) -> float:
        once = ComposedDpEvent([events.poisson(0.02, sigma, 50).dp, GaussianDpEvent(20.0)])
        return float(rdp.RdpAccountant().compose(RepeatAndSelectDpEvent(once, 10.0, shape)).get_epsilon(1e-5))

    assert cost(plan.noise_multiplier) <= 2.0
    assert cost(0.999 * plan.noise_multiplier) > 2.0
    assert 1.999 < plan.epsilon <= 2.0


def test_random_stopping_is_cheaper_than_all_for_many_candidates() -> None:
    every = plan_all(2.0, 1e-5, 40, SHORT)
    stopped = plan_random(2.0, 1e-5, 40, SHORT, mean=40)
    few = plan_all(2.0, 1e-5, 2, SHORT), plan_random(2.0, 1e-5, 2, SHORT, mean=2)
    assert stopped.noise_multiplier < every.noise_multiplier
    assert few[0].noise_multiplier < few[1].noise_multiplier


def test_a_group_moves_scores_by_its_size() -> None:
    grouped = Trainings(steps=5, sampling_rate=0.02, group=3)
    assert plan_all(2.0, 1e-5, 5, grouped).event.unit == "3 rows together"
    shuffled = Trainings(steps=20, sampling_rate=0.1, sampling="shuffled", group=3)
    plan = plan_random(2.0, 1e-5, 5, shuffled, mean=2, score_noise=60.0)
    assert plan.event.dp.event.events[1].event.noise_multiplier == 20.0
    assert _chooser(plan_all(2.0, 1e-5, 5, shuffled)).sensitivity == 3


@pytest.mark.parametrize("sampling", ["poisson", pytest.param("fixed", marks=pytest.mark.slow), "shuffled", "full"])
def test_plans_hold_under_the_relation_of_their_sampler(sampling: str) -> None:
    setting = Trainings(steps=20, sampling_rate=1.0 if sampling == "full" else 0.05, sampling=sampling)
    for plan in (plan_all(2.0, 1e-5, 3, setting), plan_random(2.0, 1e-5, 3, setting, mean=3)):
        assert plan.event.relations == setting.event(1.0).relations
        assert plan.epsilon <= 2.0


@pytest.mark.parametrize(
    "plan", [plan_all(2.0, 1e-5, 3, SHORT), plan_random(2.0, 1e-5, 3, SHORT, mean=3, shape=math.inf)]
)
def test_plans_are_plain_data(plan: SearchPlan) -> None:
    plain = json.loads(json.dumps(plan.plain(), allow_nan=False))
    assert from_dict(plain["event"]).dp == plan.event.dp
    assert plain["kind"] == plan.kind


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: plan_all(0.0, 1e-5, 3, SHORT),
        lambda: plan_all(1.0, 0.0, 3, SHORT),
        lambda: plan_all(1.0, 1e-5, 0, SHORT),
        lambda: plan_all(1.0, 1e-5, 3, SHORT, selection_epsilon=1.0),
        lambda: plan_all(1.0, 1e-5, 3, SHORT, selection_epsilon=0.0),
        lambda: plan_random(1.0, 1e-12, 3, SHORT, mean=3),  # the law's distance alone costs more
        lambda: plan_random(1.0, 1e-5, 3, SHORT, mean=0.5),
        lambda: plan_random(1.0, 1e-5, 3, SHORT, mean=3, shape=-1.0),
        lambda: plan_random(1.0, 1e-5, 3, SHORT, mean=3, score_noise=0.0),
        lambda: plan_random(1.0, 1e-5, 3, SHORT, mean=3, score_noise=1.0),  # the scores alone cost more
    ],
)
def test_settings_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises(SettingsError):
        wrong()


# The search.


def plan_of(kind: str, count: int = 3) -> SearchPlan:
    few = Trainings(steps=1)
    if kind == "random":
        return plan_random(3.0, 1e-5, count, few, mean=5.0)
    return plan_all(3.0, 1e-5, count, few) if kind == "all" else plan_public(3.0, 1e-5, count, few)


@pytest.mark.parametrize("kind", ["all", "random", "public"])
def test_the_best_candidate_is_found_and_trained_with_the_plan_s_noise(kind: str) -> None:
    noises: list[float] = []

    def train(candidate: str, sigma: float) -> str:
        noises.append(sigma)
        return candidate.upper()

    found = search(plan_of(kind), ["a", "b", "c"], train, lambda model: 5000 * (model == "B"), source("best 2"))
    assert ("B" in [["A", "B", "C"][i] for i in found.holder.candidates]) == (found.model == "B")
    assert set(noises) == {plan_of(kind).noise_multiplier}
    assert len(noises) == len(found.holder.scores)
    if kind != "random":
        assert (found.best, found.holder.candidates) == (1, (0, 1, 2))


def test_the_choice_among_all_is_permute_and_flip() -> None:
    """Of two, the worse by 4 rows wins with chance exp(-.3 * 4 / 2) / 2 (McKenna & Sheldon, 2020)."""
    plan = plan_all(3.0, 1e-5, 2, Trainings(steps=1), selection_epsilon=0.3)
    secret = source("flip")
    worse = sum(search(plan, [0, 1], lambda c, s: c, lambda m: 10 - 4 * m, secret).best == 1 for _ in range(4000))
    assert stats.binomtest(worse, 4000, math.exp(-0.6) / 2).pvalue > 1e-3


def test_random_scores_have_the_noise_that_was_accounted() -> None:
    """Two trainings of a known order: the worse by s rows wins with chance Phi(-s / (sqrt(2) sigma))."""
    plan = plan_random(3.0, 1e-5, 2, Trainings(steps=1), mean=2, score_noise=10.0)
    secret = source("score")
    worse = sum(_choose(plan, [50.0, 40.0], secret) == 1 for _ in range(4000))
    assert stats.binomtest(worse, 4000, float(stats.norm.sf(1 / math.sqrt(2)))).pvalue > 1e-3


def test_how_often_was_trained_stays_with_the_data_holder() -> None:
    found = search(plan_of("random"), [0, 1, 2], lambda c, s: c, lambda m: 7, SecureSource())
    assert set(found.plain()) == {"plan", "best", "source"}
    assert repr(found).startswith("Found(best=")
    assert repr(found.holder) == "Tried(for the data holder only)"
    simulated = search(plan_of("all"), [0, 1, 2], lambda c, s: c, lambda m: 7, source())
    assert repr(simulated).startswith("NotPrivate(simulation)(")


def test_poisson_may_train_nothing() -> None:
    plan = plan_random(3.0, 1e-5, 2, Trainings(steps=1), mean=1, shape=math.inf)
    secret = source("none")
    found = [search(plan, [0, 1], lambda c, s: c, lambda m: 1, secret) for _ in range(200)]
    nothing = [each for each in found if each.best is None]
    assert stats.binomtest(len(nothing), 200, math.exp(-1)).pvalue > 1e-3
    assert all(each.model is None and not each.holder.candidates for each in nothing)


@pytest.mark.parametrize("kind", ["all", "random", "public"])
def test_the_whole_search_is_charged_before_the_first_training(kind: str, tmp_path: Path) -> None:
    plan = plan_of(kind)

    def train(candidate: int, sigma: float) -> int:
        assert [entry.event.dp for entry in ledger.entries()] == [plan.event.dp]
        return candidate

    with Ledger(tmp_path / "l", (8.0, 1e-5), plan=plan.event) as ledger:
        search(plan, [0, 1, 2], train, lambda m: 3, source("charged"), ledger=ledger)
        assert len(ledger.entries()) == 1


def test_what_does_not_fit_is_not_trained(tmp_path: Path) -> None:
    def train(candidate: int, sigma: float) -> int:
        raise AssertionError

    with Ledger(tmp_path / "l", (0.5, 1e-5)) as ledger, pytest.raises(BudgetExceeded):
        search(plan_of("all"), [0, 1, 2], train, lambda m: 3, source(), ledger=ledger)


def test_a_ledger_of_few_orders_charges_random_stopping_like_one_of_many() -> None:
    """The theorem's second order is free: three orders of a ledger were too few to choose it from."""
    event = plan_of("random").event
    alone = [float(curve(event, Relation.ADD_OR_REMOVE, (order,))[0]) for order in (4.0, 8.0)]
    assert alone == pytest.approx(list(curve(event, Relation.ADD_OR_REMOVE, (4.0, 8.0))), rel=1e-12)
    from veriward.privacy.dp.accountants import ORDERS

    known = dict(zip(ORDERS, curve(event, Relation.ADD_OR_REMOVE, ORDERS), strict=True))
    assert alone == pytest.approx([known[4.0], known[8.0]], rel=1e-9)


@pytest.mark.parametrize("score", [0.93, -1.0, math.nan, math.inf])
def test_a_private_score_is_a_count(score: float) -> None:
    for kind in ("all", "random"):
        with pytest.raises(DataError, match="score"):
            search(plan_of(kind), [0, 1, 2], lambda c, s: c, lambda m: score, source())


def test_another_number_of_candidates_is_refused() -> None:
    with pytest.raises(SettingsError, match="candidates: 2 came; want 3"):
        search(plan_of("all"), [0, 1], lambda c, s: c, lambda m: 1, source())


def test_learning_rates_are_searched_within_one_budget() -> None:
    """A rate of 0 learns nothing: the search finds the other, and costs what was asked."""
    rows = torch.arange(2000)
    x = STREAM.child("x").normal(rows, (4,))
    y = (x @ torch.tensor([2.0, -1.0, 0.5, 0.0]) > 0).float()
    setting = Trainings(steps=40, sampling_rate=0.05)
    plan = plan_all(3.0, 1e-5, 2, setting)
    secret = source("rates")

    def train(rate: float, sigma: float) -> nn.Module:
        net = nn.Linear(4, 1)
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
        PrivateTraining(
            net, lambda out, y: nn.functional.binary_cross_entropy_with_logits(out[:, 0], y, reduction="none"),
            x[:1500], y[:1500], sampler=Poisson(setting.sampling_rate), divisor=75, clip=1.0, noise_multiplier=sigma,
            optimiser=torch.optim.SGD(net.parameters(), lr=rate), source=secret,
        ).run(setting.steps)  # fmt: skip
        return net

    def right(net: nn.Module) -> int:
        return int(((net(x[1500:])[:, 0] > 0) == (y[1500:] > 0)).sum())

    found = search(plan, [0.0, 1.0], train, right, secret)
    assert found.best == 1
    assert found.holder.scores[1] > 440 > found.holder.scores[0]
    assert 2.999 < plan.epsilon <= 3.0


def test_the_examples_of_the_guide_run() -> None:
    guide = (Path(__file__).parents[2] / "docs/dp-search.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        exec(block, names)
    assert names["found"].model["rate"] == 0.1
    assert names["plan"].epsilon <= 3.0
