"""A number has an interval, an n and a unit, or a reason."""

import math

import pytest

from veriward.core.estimate import Estimate, census, gap, not_estimable, proportion
from veriward.core.intervals import clopper_pearson
from veriward.core.note import note


def test_a_share_carries_its_exact_interval() -> None:
    found = proportion("accuracy", 90, 100, at={"eps": 0.1}, bound="upper")
    assert (found.value, found.n, found.bound, dict(found.at)) == (0.9, 100, "upper", {"eps": 0.1})
    assert (found.low, found.high) == clopper_pearson(90, 100)


def test_nothing_of_something_has_a_width() -> None:
    found = proportion("accuracy", 0, 300)
    assert (found.low, found.value) == (0.0, 0.0)
    assert found.high == pytest.approx(0.0122, abs=5e-5)


def test_no_rows_are_not_estimable_rather_than_zero() -> None:
    found = proportion("accuracy", 0, 0)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.why is not None


def test_one_group_has_no_gap() -> None:
    assert gap("difference", [[[3, 10]]]).value is None
    assert gap("difference", [[[3, 10], [0, 0]]]).value is None
    assert gap("difference", [[[3, 10], [5, 10]]]).value == pytest.approx(0.2)


def test_a_census_has_no_interval_around_it() -> None:
    found = census("files", 3, 3, "files")
    assert (found.low, found.value, found.high, found.method) == (3, 3, 3, "census")


def test_a_missing_value_needs_its_reason() -> None:
    with pytest.raises(ValueError, match="why"):
        Estimate("m", None, None, None, 0, "", "none")
    assert not_estimable("m", note("x")).why == note("x")


@pytest.mark.parametrize("ends", [(None, 1.0), (0.0, None), (math.nan, 1.0), (0.0, math.inf), (0.6, 1.0), (0.0, 0.4)])
def test_a_value_needs_finite_ends_around_it(ends: tuple[float | None, float | None]) -> None:
    with pytest.raises(ValueError, match="m: "):
        Estimate("m", 0.5, ends[0], ends[1], 1, "", "")


@pytest.mark.parametrize("found", [proportion("m", 1, 3, at={"fpr": 0.01}), not_estimable("m", note("x", n=3))])
def test_there_and_back(found: Estimate) -> None:
    assert Estimate.from_dict(found.to_dict()) == found
