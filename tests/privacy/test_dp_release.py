"""Statistics of a column: their sensitivities by brute force over neighbouring data sets, and what is refused."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from veriward.core.errors import BudgetExceeded, DataError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.dp import mechanisms, release, selection
from veriward.privacy.dp.noise import SimulatedSource
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.released import Released

ADD, REPLACE = Relation.ADD_OR_REMOVE, Relation.REPLACE
VALUES = [-9.0, -2.0, 0.25, 3.0, 40.0, math.inf, math.nan]  # inside, outside and missing
LOW, HIGH = -2.0, 3.0
Data = tuple[float, ...]


def source(name: str) -> SimulatedSource:
    return SimulatedSource(Stream.of(17, name))


def pairs(neighbouring: Relation) -> Iterator[tuple[Data, Data]]:
    for rows in range(3):
        for data in itertools.product(VALUES, repeat=rows):
            for value in VALUES:
                if neighbouring == ADD:
                    yield data, (*data, value)
                elif rows:
                    yield data, (value, *data[1:])


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Silence the noise, and collect the scales that were asked for."""
    asked: list[float] = []

    def quiet(scale: float, size: int, source: object) -> NDArray[np.int64]:
        asked.append(scale)
        return np.zeros(size, np.int64)

    monkeypatch.setattr(mechanisms, "discrete_laplace", quiet)
    return asked


def l1(a: Released, b: Released) -> float:
    return float(np.abs(np.asarray(a.value) - np.asarray(b.value)).sum())


EDGES = [-2.0, 0.0, 1.0, 3.0]
STATISTICS: list[tuple[str, Callable[..., Released], dict[str, Any], dict[Relation, float]]] = [
    ("count", release.count, {}, {ADD: 1, REPLACE: 1}),
    ("sum", release.sum, {"low": LOW, "high": HIGH}, {ADD: 3, REPLACE: 5}),
    ("sum of positives", release.sum, {"low": 1.0, "high": HIGH}, {ADD: 3, REPLACE: 3}),
    ("histogram", release.histogram, {"edges": EDGES}, {ADD: 1, REPLACE: 2}),
]


@pytest.mark.parametrize("neighbouring", [ADD, REPLACE])
@pytest.mark.parametrize(("name", "statistic", "options", "closed"), STATISTICS)
def test_sensitivity_by_brute_force(
    name: str,
    statistic: Callable[..., Released],
    options: dict[str, Any],
    closed: dict[Relation, float],
    neighbouring: Relation,
    scales: list[float],
) -> None:
    epsilon = 0.8
    src = source(name)

    def ask(data: Data) -> Released:
        return statistic(data, epsilon=epsilon, neighbouring=neighbouring, source=src, **options)

    moved = max(l1(ask(a), ask(b)) for a, b in pairs(neighbouring))
    assert moved == pytest.approx(closed[neighbouring], rel=1e-4)
    assert len(set(scales)) == 1  # the noise never depends on the data
    whole = name in ("count", "histogram")
    grid = 1.0 if whole else release._Steps.of(options["low"], options["high"], moved, epsilon).grid
    assert moved / grid <= scales[0] * epsilon * (1 + 1e-12)
    assert scales[0] * epsilon * grid == pytest.approx(closed[neighbouring], rel=1e-4)


@pytest.mark.parametrize("neighbouring", [ADD, REPLACE])
def test_sensitivity_of_the_mean_by_brute_force(neighbouring: Relation, scales: list[float]) -> None:
    """What is noised is the sum around the middle: recomputed here by hand."""
    steps = release._Steps.of(LOW, HIGH, HIGH - LOW, 0.8)
    middle = (steps.low + steps.high) // 2

    def total(data: Data) -> int:
        return int(steps.total(np.array(data, float), middle))

    moved = max(abs(total(a) - total(b)) for a, b in pairs(neighbouring))
    assert moved == steps.reach(middle, neighbouring)
    assert moved * steps.grid == pytest.approx(2.5 if neighbouring == ADD else 5.0, rel=1e-4)
    released = release.mean((0.0, 1.0, 9.0, math.nan), low=LOW, high=HIGH, epsilon=1.6, neighbouring=neighbouring)
    assert released.value == pytest.approx(4 / 3 if neighbouring == ADD else (0 + 1 + 3 + 0.5) / 4, abs=1e-4)
    assert len(scales) == (2 if neighbouring == ADD else 1)


@pytest.mark.parametrize("neighbouring", [ADD, REPLACE])
@pytest.mark.parametrize("q", [0.0, 0.3, 0.5, 1.0])
def test_epsilon_of_the_quantile_by_brute_force(
    q: float, neighbouring: Relation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exact law over all candidates, for every pair of neighbours."""
    taken: list[NDArray[np.float64]] = []
    monkeypatch.setattr(release, "QUANTILE_BITS", 3)

    def take(weights: NDArray[np.float64], source: object) -> int:
        taken.append(weights)
        return 0

    monkeypatch.setattr(selection, "choose", take)
    epsilon, src = 0.9, source("quantile")
    grid = 4.0 * 2.0**-3
    first, last = math.ceil(LOW / grid), math.floor(HIGH / grid)

    def law(data: Data) -> NDArray[np.float64]:
        release.quantile(data, q=q, low=LOW, high=HIGH, epsilon=epsilon, neighbouring=neighbouring, source=src)
        clean = np.array([x for x in data if not math.isnan(x)])
        rows = np.clip(np.rint(np.clip(clean, LOW, HIGH) / grid), first, last)
        below = np.array([(rows < r).sum() for r in range(first, last + 1)])
        levels, counts = np.unique(below, return_counts=True)
        assert len(levels) == len(taken[-1])
        weight = dict(zip(levels.tolist(), (taken[-1] / counts).tolist(), strict=True))
        pmf = np.array([weight[b] for b in below.tolist()])
        return np.asarray(pmf / pmf.sum())

    worst = max(float(np.abs(np.log(law(a) / law(b))).max()) for a, b in pairs(neighbouring))
    assert 0.2 * epsilon < worst <= epsilon


def test_the_quantile_is_near_the_true_one_and_within_bounds() -> None:
    data = Stream.of(0, "data").generator().normal(size=10_000)
    for q in (0.1, 0.5, 0.9):
        found = release.quantile(data, q=q, low=-4, high=4, epsilon=1.0, source=source(f"near {q}")).value
        assert found == pytest.approx(np.quantile(data, q), abs=0.02)
    for q in (0.0, 1.0):
        assert -4 <= release.quantile([], q=q, low=-4, high=4, epsilon=1.0, source=source("none")).value <= 4


def test_a_column_of_one_value_does_not_defeat_the_quantile() -> None:
    found = release.quantile([1.0] * 100_000, q=0.5, low=0, high=4, epsilon=1.0, source=source("one")).value
    assert 0 <= found <= 4


def test_outputs_lie_on_a_grid_that_the_data_do_not_choose() -> None:
    grid = release._Steps.of(0, 5, 5, 1.0).grid
    for data in ([1 / 3] * 7, [0.1, 0.7, 1e9], []):
        value = release.sum(data, low=0, high=5, epsilon=1.0).value
        assert value / grid == int(value / grid)


def test_sums_do_not_depend_on_the_order_of_rows() -> None:
    """Float addition does, and a reordered sum can move by more than the sensitivity (Casacuberta et al., 2022)."""
    data = Stream.of(0, "order").generator().uniform(-1, 1, 5001) * 2.0 ** (np.arange(5001) % 3)

    def ask(rows: NDArray[np.float64]) -> Any:
        return release.sum(rows, low=-3, high=3, epsilon=1.0, source=source("order")).value

    assert ask(data) == ask(data[::-1]) == ask(np.sort(data))


def test_clamped_and_missing_rows_are_told_to_the_holder_alone() -> None:
    told = release.outside([1.0, -3.0, 9.0, math.nan, math.inf], low=0, high=5)
    assert (told.below, told.above, told.missing) == (1, 2, 1)
    released = release.sum([1.0, -3.0, 9.0], low=0, high=5, epsilon=1.0)
    assert set(vars(released)) == {"value", "epsilon", "delta", "unit", "neighbouring", "source"}


def test_the_ledger_is_charged_before_noise_is_drawn_and_may_refuse() -> None:
    class Untouched:
        name = "simulation"

        def bits(self, count: int) -> None:
            raise AssertionError("noise was drawn")

    def refuse(event: object, distance: float) -> None:
        raise BudgetExceeded("spent")

    box: dict[str, Any] = {"source": Untouched(), "charge": refuse, "epsilon": 1.0}
    calls: list[Callable[[], Released]] = [
        lambda: release.laplace(1.0, sensitivity=1.0, **box),
        lambda: release.gaussian(1.0, sensitivity=1.0, delta=1e-6, **box),
        lambda: release.count([1.0], **box),
        lambda: release.sum([1.0], low=0, high=1, **box),
        lambda: release.mean([1.0], low=0, high=1, **box),
        lambda: release.histogram([1.0], edges=[0, 1], **box),
        lambda: release.quantile([1.0], q=0.5, low=0, high=1, **box),
    ]
    for call in calls:
        with pytest.raises(BudgetExceeded):
            call()


def test_nothing_is_charged_for_data_that_cannot_be_read() -> None:
    def never(event: object, distance: float) -> None:
        raise AssertionError("charged")

    box: dict[str, Any] = {"charge": never, "epsilon": 1.0}
    bad: Any = ["a"]
    calls: list[Callable[[], Released]] = [
        lambda: release.laplace(math.nan, sensitivity=1.0, **box),
        lambda: release.laplace(bad, sensitivity=1.0, **box),
        lambda: release.gaussian([1.0, math.nan], sensitivity=1.0, delta=1e-6, **box),
        lambda: release.count([[1.0]], **box),
        lambda: release.sum(bad, low=0, high=1, **box),
        lambda: release.mean(bad, low=0, high=1, **box),
        lambda: release.histogram(bad, edges=[0, 1], **box),
        lambda: release.quantile(bad, q=0.5, low=0, high=1, **box),
    ]
    for call in calls:
        with pytest.raises(DataError):
            call()


def test_a_declared_relation_is_stated() -> None:
    released = release.laplace(1.0, sensitivity=1.0, epsilon=1.0, neighbouring=REPLACE)
    assert (released.unit, released.neighbouring) == ("row", REPLACE)


def test_a_mean_charges_both_of_its_parts() -> None:
    events: list[Any] = []
    release.mean([1.0], low=0, high=2, epsilon=1.0, charge=lambda event, distance: events.append((event, distance)))
    (event, distance) = events[0]
    assert math.fsum(e.noise_parameter * e.sensitivity for e in event.dp.events) == pytest.approx(1.0)
    assert distance == 2 * 2.0**-43


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (5, 0, "want low below high"),
        (1, 1, "want low below high"),
        (-math.inf, 0, "want finite"),
        (0, math.nan, "want finite"),
        (1e15, 1e15 + 1, "too near"),
    ],
)
def test_bounds_that_cannot_be_used_are_refused(low: float, high: float, said: str) -> None:
    for statistic in (release.sum, release.mean):
        with pytest.raises(SettingsError, match=said):
            statistic([1.0], low=low, high=high, epsilon=1.0)
    with pytest.raises(SettingsError, match=said):
        release.quantile([1.0], q=0.5, low=low, high=high, epsilon=1.0)
    with pytest.raises(SettingsError, match=said):
        release.outside([1.0], low=low, high=high)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_epsilon_is_checked_by_every_statistic(epsilon: float) -> None:
    calls: list[Callable[[], Released]] = [
        lambda: release.laplace(1.0, sensitivity=1.0, epsilon=epsilon),
        lambda: release.count([1.0], epsilon=epsilon),
        lambda: release.sum([1.0], low=0, high=1, epsilon=epsilon),
        lambda: release.mean([1.0], low=0, high=1, epsilon=epsilon),
        lambda: release.histogram([1.0], edges=[0, 1], epsilon=epsilon),
        lambda: release.quantile([1.0], q=0.5, low=0, high=1, epsilon=epsilon),
    ]
    for call in calls:
        with pytest.raises(SettingsError, match=f"epsilon = {epsilon};"):
            call()


def test_columns_that_cannot_be_read_are_refused() -> None:
    for values in (["a"], [[1.0]], 3.0, [object()]):
        with pytest.raises(DataError, match="values"):
            release.sum(values, low=0, high=1, epsilon=1.0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one column"):
        release.count([[1.0]], epsilon=1.0)
    with pytest.raises(SettingsError, match="edges"):
        release.histogram([1.0], edges=[1, 0], epsilon=1.0)
    with pytest.raises(SettingsError, match="q = 2"):
        release.quantile([1.0], q=2, low=0, high=1, epsilon=1.0)
    with pytest.raises(DataError, match="no rows"):
        release.mean([], low=0, high=1, epsilon=1.0, neighbouring=REPLACE)


def test_empty_columns_are_released_like_any_other() -> None:
    assert isinstance(release.count([], epsilon=1.0).value, int)
    assert 0 <= release.mean([], low=0, high=1, epsilon=1.0).value <= 1
    assert release.histogram([], edges=[0, 1, 2], epsilon=1.0).value.shape == (2,)


def test_texts_are_counted() -> None:
    assert abs(release.count(["a", "b"], epsilon=20.0, source=source("texts")).value - 2) <= 1
