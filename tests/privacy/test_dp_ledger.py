"""The ledger: nothing is drawn before it is charged, nothing is spent beyond the budget, nothing is forgotten."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dp_accounting import dp_event

from veriward.core.errors import BudgetExceeded, LedgerError, SettingsError
from veriward.privacy.dp import events
from veriward.privacy.dp.event_json import FIELDS, from_dict, from_plain, to_dict, to_plain
from veriward.privacy.dp.filter import RESERVE, Filter, largest, orders_for
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.relation import Relation

BUDGET = (2.0, 1e-5)
ONE = events.full_batch(20.0, 1)


def started(code: str, *words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True)


def test_a_charge_is_kept_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    with Ledger(path, BUDGET, data="f00d") as ledger:
        receipt = ledger.charge(ONE, "mean", count=3)
        assert 0 < receipt.epsilon == ledger.spent < ledger.budget[0]
        assert ledger.remaining == pytest.approx(2.0 - ledger.spent)
    with Ledger(path, data="f00d") as again:
        (entry,) = again.entries()
        assert (entry.what, entry.count, entry.event) == ("mean", 3, ONE)
        assert again.spent == receipt.epsilon
        assert again.charge(dp_event.GaussianDpEvent(20.0), "sum").number == 2  # a bare event: the ledger's relation


def test_beyond_the_budget_nothing_is_spent(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        fits = ledger.fits(ONE)
        ledger.charge(ONE, "much", count=fits)
        before = ledger.spent, len(ledger.entries())
        assert ledger.fits(ONE) == 0
        with pytest.raises(BudgetExceeded, match="nothing was spent"):
            ledger.charge(ONE, "one more")
        assert (ledger.spent, len(ledger.entries())) == before
        assert ledger.spent <= ledger.budget[0]


def test_what_fits_is_what_the_divergences_say(tmp_path: Path) -> None:
    """Gaussians have divergence order / (2 sigma**2): the count follows in closed form from the best order's budget."""
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        orders = orders_for(*BUDGET, None, Relation.ADD_OR_REMOVE)
        share = BUDGET[1] * (1 - RESERVE) / len(orders)
        wanted = max(math.floor(largest(BUDGET[0], share, a) / (a / 800)) for a in orders)
        assert ledger.fits(ONE) == wanted > 50


def test_filter_converts_at_its_shares_of_delta() -> None:
    """Each order alone gives (epsilon, its share), and the shares with the reserve add up to delta."""
    one = Filter(3.0, 1e-6, (10.0, 20.0))
    for order, budget in zip(one.orders, one.budgets, strict=True):
        logarithm = (order - 1) * (budget - 3.0 + math.log1p(-1 / order)) - math.log(order)
        assert math.exp(logarithm) == pytest.approx(1e-6 * (1 - RESERVE) / 2)
    assert one.distance_budget * (1 + math.exp(3)) == pytest.approx(1e-6 * RESERVE)
    assert one.allows(one.budgets, 0) is False  # at the very edge rounding decides against spending
    assert one.allows([0.99 * one.budgets[0], math.inf], 0)
    assert not one.allows([1.01 * b for b in one.budgets], 0)


def test_a_plan_lets_more_of_what_it_is_for(tmp_path: Path) -> None:
    step = events.poisson(0.01, 1.0, 1)
    with (
        Ledger(tmp_path / "any.ledger", BUDGET) as some,
        Ledger(tmp_path / "planned.ledger", BUDGET, plan=step) as planned,
    ):
        assert planned.fits(step) > some.fits(step) > 0.6 * planned.fits(step)


def test_trap_adaptive_spending_goes_through_a_filter(tmp_path: Path) -> None:
    """Parameters that follow results: whatever the order and the kinds, some order's sum stays within its budget."""
    kinds = [ONE, events.poisson(0.01, 1.0, 10), events.full_batch(8.0, 1), events.poisson(0.1, 4.0, 5)]
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        for turn in range(1000):
            try:
                ledger.charge(kinds[turn % 4], "turn")
            except BudgetExceeded:
                break
        assert turn > 4
        sums, _ = ledger._sums()
        assert any(s <= b for s, b in zip(sums, ledger._filter.budgets, strict=True))


def test_distances_have_a_budget_of_their_own(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        ledger.charging("count")(dp_event.DiscreteLaplaceDpEvent(0.01, 1), 2.0**-40)
        with pytest.raises(BudgetExceeded):
            ledger.charge(ONE, "coarse noise", distance=1e-6)
        for wrong in (-1e-9, math.nan, math.inf):
            with pytest.raises(SettingsError, match="distance"):
                ledger.charge(ONE, "x", distance=wrong)


def test_events_of_another_relation_or_unit_are_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        with pytest.raises(SettingsError, match="replace-one"):
            ledger.charge(events.fixed(10, 100, 5.0, 1), "x")
        with pytest.raises(SettingsError, match="one user"):
            ledger.charge(events.full_batch(20.0, 1, unit="user"), "x")
        assert ledger.entries() == []
    with Ledger(tmp_path / "b.ledger", BUDGET, relation="replace-one") as ledger:
        ledger.charge(events.fixed(10, 100, 20.0, 1), "x")


def test_terms_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    Ledger(path, BUDGET, data="f00d").close()
    with pytest.raises(LedgerError, match="other data"):
        Ledger(path, data="beef")
    for changed in ({"budget": (3.0, 1e-5)}, {"relation": "zero-out"}, {"unit": "user"}, {"relation": "any"}):
        with pytest.raises(SettingsError):
            Ledger(path, **changed)  # type: ignore[arg-type]
    for wrong in ((0, 1e-5), (1.0, 0), (math.inf, 1e-5), (1.0, 1.0)):
        with pytest.raises(SettingsError):
            Ledger(tmp_path / "new.ledger", wrong)
    assert not (tmp_path / "new.ledger").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a database at all, and long enough to see", b"SQLite format 3\0" + b"x" * 90]
)
def test_what_is_no_ledger_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"a\.ledger"):
        Ledger(path)


def test_files_that_are_missing_foreign_damaged_or_unwritable_are_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger there"):
        Ledger(tmp_path / "absent")
    with pytest.raises(LedgerError, match="not a file"):
        Ledger(tmp_path, BUDGET)
    with pytest.raises(LedgerError, match="folder and a file that can be written"):
        Ledger(tmp_path / "nowhere" / "a.ledger", BUDGET)
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger(foreign)
    damaged = tmp_path / "damaged"
    with Ledger(damaged, BUDGET) as ledger:
        for _ in range(30):
            ledger.charge(events.full_batch(1000.0, 1), "x" * 200)
    damaged.write_bytes(damaged.read_bytes()[:-4096])
    with pytest.raises(LedgerError, match="restore a copy"):
        Ledger(damaged)


def test_entries_cannot_be_changed_by_a_slip(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        ledger.charge(ONE, "x")
    connection = sqlite3.connect(tmp_path / "a.ledger")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("DELETE FROM entry")
    connection.close()


def test_a_ledger_that_another_process_holds_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    with Ledger(path, BUDGET, wait_seconds=0.1) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another process is writing to it"):
            ledger.charge(ONE, "x")
        other.execute("ROLLBACK")
        other.close()
        assert ledger.charge(ONE, "x").number == 1


SPEND = """
import sys
from veriward.core.errors import BudgetExceeded
from veriward.privacy.dp import events
from veriward.privacy.dp.ledger import Ledger
with Ledger(sys.argv[1], wait_seconds=60) as ledger:
    done = 0
    try:
        while True:
            ledger.charge(events.full_batch(6.0, 1), "x")
            done += 1
    except BudgetExceeded:
        print(done)
"""


@pytest.mark.slow  # two interpreters with scipy
def test_two_processes_never_overspend_together(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    with Ledger(path, BUDGET) as ledger:
        fits = ledger.fits(events.full_batch(6.0, 1))
    both = [started(SPEND, path) for _ in range(2)]
    counts = [int(process.communicate(timeout=120)[0]) for process in both]
    assert sum(counts) == fits > 3
    with Ledger(path) as ledger:
        assert len(ledger.entries()) == fits
        assert ledger.spent <= BUDGET[0]


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        small = events.full_batch(200.0, 1)
        threads = [threading.Thread(target=lambda: [ledger.charge(small, "x") for _ in range(10)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [entry.number for entry in ledger.entries()] == list(range(1, 41))


TRAIN = """
import sys, time
from veriward.privacy.dp import events
from veriward.privacy.dp.ledger import Ledger
meter = Ledger(sys.argv[1]).open(events.full_batch(300.0, 1), "training", interval=int(sys.argv[2]))
for step in range(100000):
    meter.step()
    print(step + 1, flush=True)  # the noise of this step is drawn here
    time.sleep(0.002)
"""


@pytest.mark.slow  # the same
def test_trap_a_killed_training_has_paid_for_every_step(tmp_path: Path) -> None:
    path, interval = tmp_path / "a.ledger", 7
    Ledger(path, BUDGET).close()
    for _ in range(2):  # killed, resumed, killed again
        with Ledger(path) as ledger:
            before = sum(entry.count for entry in ledger.entries())
        with started(TRAIN, path, interval) as training:
            assert training.stdout is not None
            while int(training.stdout.readline()) < 25:
                pass
            os.kill(training.pid, signal.SIGKILL)
            executed = max([25, *map(int, training.stdout.read().split())])
        with Ledger(path) as ledger:
            charged = sum(entry.count for entry in ledger.entries()) - before
        assert executed <= charged <= executed + interval


def test_blocks_shrink_at_the_end_of_the_budget(tmp_path: Path) -> None:
    step = events.full_batch(10.0, 1)
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        fits = ledger.fits(step)
        meter = ledger.open(step, "training", interval=10**6)
        for _ in range(fits):
            meter.step()
        assert meter.charged == meter.taken == fits
        with pytest.raises(BudgetExceeded):
            meter.step()
        assert meter.taken == fits


def test_a_charge_is_quick(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.ledger", BUDGET) as ledger:
        ledger.charge(events.full_batch(1e4, 1), "first")
        start = time.process_time()
        for _ in range(50):
            ledger.charge(events.full_batch(1e4, 1), "x")
        assert time.process_time() - start < 5


# -- events as data


EVENTS = [
    events.poisson(0.1, 2.0, 5),
    events.poisson(0.1, 2.0, 5, group=3),
    events.fixed(10, 100, 2.0, 5),
    events.shuffled(3, 2.0),
    events.full_batch(2.0, 5, unit="user"),
    events.random_stopping(events.poisson(0.1, 2.0, 5), mean=10, shape=math.inf),
    events.search([events.poisson(0.1, 2.0, 5)] * 2, events.full_batch(3.0, 2)),
]


@pytest.mark.parametrize("event", EVENTS)
def test_events_survive_json(event: events.Event) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(event), allow_nan=False))) == event


def test_every_kind_has_its_fields() -> None:
    for kind, fields in FIELDS.items():
        made = getattr(dp_event, f"{kind}DpEvent")
        assert tuple(field.name for field in made.__attrs_attrs__) == fields


def deep(levels: int) -> dict[str, object]:
    return {"kind": "SelfComposed", "count": 1, "event": deep(levels - 1)} if levels else {"kind": "NoOp"}


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        [],
        "Gaussian",
        {"kind": "os.system"},
        {"kind": ["Gaussian"]},
        {"kind": "Gaussian"},
        {"kind": "Gaussian", "noise_multiplier": 1.0, "module_name": "os"},
        {"kind": "Gaussian", "noise_multiplier": "1"},
        {"kind": "Gaussian", "noise_multiplier": True},
        {"kind": "Gaussian", "noise_multiplier": -1.0},
        {"kind": "Gaussian", "noise_multiplier": math.nan},
        {"kind": "SelfComposed", "count": 1.5, "event": {"kind": "NoOp"}},
        {"kind": "Composed", "events": {"kind": "NoOp"}},
        deep(10_000 if sys.getrecursionlimit() > 20_000 else 900),
    ],
)
def test_hostile_events_are_refused(hostile: object) -> None:
    with pytest.raises(SettingsError, match="event"):
        from_plain(hostile)
    with pytest.raises(SettingsError, match="event"):
        from_dict({"dp": hostile, "relations": ["zero-out"], "sampling": "x", "unit": "row"})


def test_unknown_kinds_are_not_written() -> None:
    with pytest.raises(SettingsError, match="UnsupportedDpEvent"):
        to_plain(dp_event.UnsupportedDpEvent())
    with pytest.raises(SettingsError, match="neighbouring"):
        from_dict({"dp": {"kind": "NoOp"}, "relations": ["any"], "sampling": "x", "unit": "row"})
