"""LiRA against closed forms: where phi is normal, it is the Neyman-Pearson test."""

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from veriward.checks.leakage.exposure import estimates, held_out
from veriward.checks.leakage.lira import lira_offline, lira_online, logit, logit_scaled, residuals
from veriward.core.errors import SettingsError
from veriward.core.intervals import clopper_pearson

Array = np.ndarray[Any, Any]
FPR = 0.01
MEMBERS, ROWS = 3000, 13_000
MANY = 256


def world(
    shift: float,
    *,
    shadows: int = MANY,
    rows: int = ROWS,
    members: int = MEMBERS,
    spread: float = 1.0,
    queries: int = 1,
    difficulty: float = 3.0,
    seed: int = 0,
) -> tuple[Array, Array, Array, Array]:
    """Rows of different difficulty; phi is N(row, 1) without a row and N(row + shift, spread**2) with it."""
    rng = np.random.default_rng(seed)
    member = np.arange(rows) < members
    in_ = np.concatenate([rng.random((shadows, rows)) < 0.5, member[None]])
    phi = rng.normal(size=(*in_.shape, queries))
    phi = np.where(in_[..., None], shift + spread * phi, phi) + rng.normal(size=(rows, 1)) * difficulty
    return phi[:-1], in_[:-1], phi[-1], member


def rate(scores: Array, member: Array) -> tuple[float, float]:
    """The interval of the true positive rate at 1 % FPR, which knows that the threshold is estimated."""
    found = estimates(scores[member], scores[~member])[-1]
    assert found.metric == "tpr_at_fpr"
    assert found.at["fpr"] == FPR
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@pytest.mark.parametrize("variance", ["row", "global"])
@pytest.mark.parametrize("attack", [lira_online, lira_offline])
def test_a_gaussian_world_gives_the_neyman_pearson_rate(attack: Any, variance: Any) -> None:
    phi, in_, target, member = world(2.0)
    low, high = rate(attack(phi, in_, target, variance=variance).values, member)
    assert low <= ndtr(2.0 - ndtri(1 - FPR)) <= high
    assert high - low < 0.15


def test_offline_scores_are_p_values() -> None:
    """The threshold of a rate is known beforehand, 1 - Pr[Z > phi] = .99: false and true positives are as they must be."""
    phi, in_, target, member = world(2.0)
    named = lira_offline(phi, in_, target, variance="global").values >= -np.log(FPR)
    for rows, truth in ((~member, FPR), (member, ndtr(2.0 - ndtri(1 - FPR)))):
        low, high = clopper_pearson(int(named[rows].sum()), int(rows.sum()))
        assert low <= truth <= high


@pytest.mark.parametrize("attack", [lira_online, lira_offline])
def test_queries_add_up(attack: Any) -> None:
    """Four independent queries shift their mean by twice as many of its standard deviations."""
    phi, in_, target, member = world(1.0, queries=4, shadows=128)
    low, high = rate(attack(phi, in_, target).values, member)
    assert low <= ndtr(2.0 - ndtri(1 - FPR)) <= high


@pytest.mark.parametrize("attack", [lira_online, lira_offline])
def test_equal_queries_add_nothing(attack: Any) -> None:
    """Correlated queries, of a shared part and of a part of their own, count for what they add and no more."""
    phi, in_, target, member = world(0.0, queries=2, shadows=128)
    mix = np.array([[1.0, 1.0], [0.3, -0.3]])  # variance 1.09, covariance .91
    phi, target = phi @ mix + 2.0 * in_[..., None], target @ mix + 2.0 * member[:, None]
    low, high = rate(attack(phi, in_, target, shape="full").values, member)
    assert low <= ndtr(2.0 / np.sqrt((1.09 + 0.91) / 2) - ndtri(1 - FPR)) <= high


def test_each_side_has_its_own_standard_deviation() -> None:
    """Errors of members that are smaller, but not shifted: named are those below c, Phi(c) = .505."""
    phi, in_, target, member = world(0.0, spread=0.05)
    low, high = rate(lira_online(phi, in_, target).values, member)
    assert low <= 2 * ndtr(ndtri(0.5 + FPR / 2) / 0.05) - 1 <= high


def test_offline_is_one_sided() -> None:
    """A phi far below that of the shadows without the row is the least sign of membership, not a large one."""
    phi, in_, _, _ = world(0.0, shadows=64, rows=3, members=0)
    in_[:] = False
    mean, sd = phi.mean(0), phi.std(0, ddof=1)
    low, middle, high = (lira_offline(phi, in_, mean + z * sd).values[0] for z in (-5.0, 0.0, 40.0))
    assert low == pytest.approx(-np.log(ndtr(5.0)), rel=1e-6)
    assert middle == pytest.approx(np.log(2))
    assert high == pytest.approx(804.6, abs=0.1)  # z**2 / 2 + log(z sqrt(2 pi)): no tie where 1 - p rounds to 1


def test_offline_ignores_shadows_that_saw_the_row() -> None:
    phi, in_, target, _ = world(2.0, shadows=16, rows=50, members=25)
    moved = np.where(in_[..., None], 1e6, phi)
    np.testing.assert_array_equal(lira_offline(phi, in_, target).values, lira_offline(moved, in_, target).values)


@pytest.mark.parametrize("attack", [lira_online, lira_offline])
def test_no_difference_is_found_where_there_is_none(attack: Any) -> None:
    """Of 40 worlds without leakage the interval of the area misses .5 in as many as chance allows (1 in 300: above 6)."""
    missed = 0
    for seed in range(40):
        phi, in_, target, member = world(0.0, shadows=8, rows=400, members=200, seed=seed)
        found = estimates(*attack(phi, in_, target, variance="row").sides(member))[0]
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 0.5 <= found.high
    assert missed <= 6


@pytest.mark.parametrize("variance", ["row", "global"])
@pytest.mark.parametrize("shape", ["spherical", "full"])
def test_orders_and_constants_do_not_matter(variance: Any, shape: Any) -> None:
    phi, in_, target, _ = world(1.0, shadows=32, rows=60, members=30, queries=2)
    settings = {"variance": variance, "shape": shape}
    rng = np.random.default_rng(1)
    shadows, rows = rng.permutation(32), rng.permutation(60)
    each = rng.normal(size=(60, 1)) * 10
    for attack in (lira_online, lira_offline):
        known = attack(phi, in_, target, **settings).values  # type: ignore[operator]
        assert not np.isnan(known).any()
        found = attack(phi[shadows][:, rows], in_[shadows][:, rows], target[rows], **settings).values  # type: ignore[operator]
        np.testing.assert_allclose(found, known[rows], rtol=1e-9)
        # a constant, of all rows or of each its own, and another unit
        np.testing.assert_allclose(attack(phi + 7, in_, target + 7, **settings).values, known, rtol=1e-9)  # type: ignore[operator]
        np.testing.assert_allclose(attack(phi + each, in_, target + each, **settings).values, known, rtol=1e-9)  # type: ignore[operator]
        np.testing.assert_allclose(attack(3 * phi, in_, 3 * target, **settings).values, known, rtol=1e-9)  # type: ignore[operator]


def test_auto_takes_the_rows_own_variance_from_64_shadows_on() -> None:
    phi, in_, target, _ = world(1.0, shadows=64, rows=40, members=20)

    def same(shadows: int, variance: Any) -> bool:
        found, wanted = (lira_online(phi[:shadows], in_[:shadows], target, variance=v) for v in ("auto", variance))
        return bool(np.array_equal(found.values, wanted.values))

    assert same(64, "row")
    assert not same(64, "global")
    assert same(63, "global")
    assert not same(63, "row")


def test_rows_without_enough_shadows_have_no_score() -> None:
    phi = np.arange(24.0).reshape(6, 4) ** 1.5
    in_ = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    target = np.ones(4)
    for variance, online, offline in (("row", [0, 1, 1, 0], [0, 0, 0, 0]), ("global", [0, 0, 1, 0], [0, 0, 0, 0])):
        for attack, missing in ((lira_online, online), (lira_offline, offline)):
            found = attack(phi, in_, target, variance=variance)  # type: ignore[operator]
            assert np.isnan(found.values).astype(int).tolist() == missing
            assert found.unscored == sum(missing)
    assert lira_offline(phi, ~in_ | True, target).unscored == 4


def test_what_is_no_number_counts_as_no_shadow() -> None:
    phi, in_, target, _ = world(1.0, shadows=20, rows=30, members=15)
    failed = np.concatenate([phi, np.full((2, 30, 1), np.nan)])
    failed[-1] = np.inf
    more = np.concatenate([in_, np.ones((1, 30), dtype=bool), np.zeros((1, 30), dtype=bool)])
    for variance in ("row", "global"):
        known = lira_online(phi, in_, target, variance=variance).values  # type: ignore[arg-type]
        np.testing.assert_array_equal(lira_online(failed, more, target, variance=variance).values, known)  # type: ignore[arg-type]
    target[3] = np.inf
    assert np.flatnonzero(np.isnan(lira_online(phi, in_, target).values)).tolist() == [3]


def test_shadows_that_do_not_differ_give_no_score() -> None:
    """Ten times .1 has a mean that is not quite .1: rounding is no spread."""
    phi, in_ = np.full((20, 2), 0.1), np.repeat([[True], [False]], 10, axis=0) & np.ones((1, 2), dtype=bool)
    phi[:, 1] = np.arange(20) % 3
    assert np.isnan(lira_online(phi, in_, np.array([0.2, 0.2]), variance="row").values).tolist() == [True, False]
    assert lira_online(phi[:, :1], in_[:, :1], np.array([0.2]), variance="global").unscored == 1


def test_a_full_shape_needs_more_shadows_than_queries() -> None:
    phi, in_, target, _ = world(1.0, shadows=6, rows=10, members=5, queries=5)
    assert lira_online(phi, in_, target, variance="row", shape="full").unscored == 10
    assert lira_online(phi, in_, target, variance="global", shape="full").unscored < 10


def test_nothing_of_the_callers_is_changed() -> None:
    phi, in_, target, _ = world(1.0, shadows=20, rows=30, members=15)
    kept = [array.copy() for array in (phi, in_, target)]
    lira_online(phi, in_, target)
    lira_offline(phi, in_, target)
    for array, copy in zip((phi, in_, target), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("phi", "in_", "target"),
    [((4, 3), (4, 3), (2,)), ((4, 3), (3, 4), (3,)), ((4, 3, 2), (4, 3), (3,)), ((4,), (4, 1), (1,))],
)
def test_shapes_that_do_not_fit_are_refused(phi: Any, in_: Any, target: Any) -> None:
    with pytest.raises(SettingsError, match=r"want \(shadows, rows, queries\)"):
        lira_online(np.zeros(phi), np.zeros(in_, dtype=bool), np.zeros(target))


def test_an_inclusion_matrix_of_numbers_is_refused() -> None:
    with pytest.raises(SettingsError, match="of bool"):
        lira_offline(np.zeros((4, 3)), np.zeros((4, 3)), np.zeros(3))  # ~0. would be an error, ~0 would be -1


# -- phi


def test_phi_is_the_log_odds_of_the_own_class() -> None:
    rng = np.random.default_rng(2)
    logits, y = rng.normal(size=(3, 50, 4)) * 3, rng.integers(4, size=50)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = p[:, np.arange(50), y]
    for scores in (logits, logits + 100, np.log(p)):
        np.testing.assert_allclose(logit_scaled(scores, y), np.log(own / (1 - own)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(logit(own), np.log(own / (1 - own)), rtol=1e-9, atol=1e-9)


def test_phi_is_exact_where_confidence_rounds_to_one() -> None:
    scores = np.array([[60.0, 0.0], [0.0, 60.0], [90.0, 90.0]], dtype=np.float32)
    np.testing.assert_allclose(logit_scaled(scores, np.array([0, 0, 1])), [60.0, -60.0, 0.0])


@pytest.mark.parametrize("classes", [2, 5])
def test_phi_of_certainty_is_finite(classes: int) -> None:
    scores = np.full((2, classes), -np.inf)
    scores[:, 0] = 0.0
    sure, wrong = logit_scaled(scores, np.array([0, 1]))
    assert sure == pytest.approx(-np.log(1e-45 * (classes - 1)))
    assert wrong == pytest.approx(np.log(1e-45))
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


def test_phi_of_an_infinite_logit_is_no_number() -> None:
    assert np.isnan(logit_scaled(np.array([[np.inf, 0.0]]), np.array([0]))).all()


def test_scores_and_classes_that_do_not_fit_are_refused() -> None:
    for shape, y in (((3,), [0, 0, 0]), ((3, 1), [0, 0, 0]), ((3, 2), [0, 0])):
        with pytest.raises(SettingsError, match="two classes or more"):
            logit_scaled(np.zeros(shape), np.array(y))
    for y in ([0, 2], [-1, 0]):
        with pytest.raises(SettingsError, match="no class; want 0 to 1"):
            logit_scaled(np.zeros((2, 2)), np.array(y))


def test_smaller_errors_of_members_are_found() -> None:
    """Signed errors, and absolute ones, of a regressor that errs a tenth as much on members."""
    error, in_, target, member = world(0.0, spread=0.1, shadows=64, rows=2000, members=1000, difficulty=0.0)
    y = np.random.default_rng(3).normal(size=2000)
    predictions, told = error[..., 0] + y, target[..., 0] + y
    for signed in (True, False):
        phi, own = residuals(predictions, y, signed=signed), residuals(told, y, signed=signed)
        found = estimates(*lira_online(phi, in_, own).sides(member))[0]
        assert found.low is not None
        assert found.low > 0.9


# -- rates with a threshold from other rows


def test_held_out_rates_cover_the_truth() -> None:
    """Of 200 worlds, TPR and FPR of the threshold that was set lie outside their intervals no more often than 5 %."""
    missed = np.zeros(2)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        members, others = rng.normal(size=500) + 2, rng.normal(size=2000)
        first = np.arange(2000) < 1000
        threshold = np.sort(others[first])[::-1][10]
        truth = ndtr(-threshold), ndtr(2 - threshold)
        for i, (found, true) in enumerate(zip(held_out(members, others, first, FPR), truth, strict=True)):
            assert found.low is not None
            assert found.high is not None
            missed[i] += not found.low <= true <= found.high
    assert (missed <= 18).all()  # chance allows more in 1 of 100


def test_held_out_rates_need_ten_expected_false_alarms() -> None:
    first = np.arange(999) < 500
    for found in held_out(np.zeros(50), np.arange(999.0), first, FPR):
        assert found.value is None
        assert found.why is not None
        assert found.why.code == "leakage.too_few_non_members"
    for members, part in (
        (0, np.arange(1000) < 500),
        (50, np.ones(1000, dtype=bool)),
        (50, np.zeros(1000, dtype=bool)),
    ):
        for found in held_out(np.zeros(members), np.arange(1000.0), part, FPR):
            assert found.why is not None
            assert found.why.code == "estimate.no_rows"


def test_ties_with_the_threshold_are_not_named() -> None:
    fpr, tpr = held_out(np.ones(20), np.ones(2000), np.arange(2000) % 2 == 0, FPR)
    assert (fpr.value, tpr.value) == (0.0, 0.0)
