"""Mutated files against CPython's own unpicklers: what they would name, call or fetch is never called clean."""

import pickle

import pytest

from veriward.adapters.scan.machine import Machine

from .corpus.assembly import Code, call, named, push, stream
from .corpus.campaign import Oracle, Tally, run
from .corpus.routes import ROUTES


def check(tally: Tally) -> None:
    assert tally.violations == []
    # a campaign in which nothing is clean, or nothing is beyond the allowlist, would prove nothing
    assert tally.outcomes["clean"] > 0.02 * tally.inputs
    assert tally.beyond > 0.1 * tally.inputs


def asked(content: bytes, persistent: bool = False) -> list[str]:
    with Oracle() as oracle:
        oracle.ask(content, persistent)
        return oracle.answer()


def test_the_oracles_see_what_there_is_to_see() -> None:
    with Oracle() as oracle:
        for name, route in ROUTES.items():
            oracle.ask(route("os", "mkdir", "x"), False)
            assert oracle.answer(), name


@pytest.mark.parametrize(
    ("code", "event"),
    [
        (call(call("collections:OrderedDict")), "call of what a call returned"),
        (Code(named("collections:OrderedDict") + push({}) + b"b"), "state for a class"),
        (Code(push("id") + b"Q"), "persistent id"),
        (Code(b"\x82\x01"), "extension"),
        (named("os:system"), "os.system"),
        (named("collections:OrderedDict.clear"), "collections.OrderedDict.clear"),
    ],
)
def test_the_oracles_tell_what_they_saw(code: Code, event: str) -> None:
    assert event in asked(stream(code))


def test_the_oracles_are_silent_about_plain_content() -> None:
    assert asked(pickle.dumps({"a": [1, {2}, b"x"]})) == []
    assert asked(stream(Code(push("id") + b"Q")), persistent=True) == []


def test_no_mutation_is_clean_that_an_unpickler_would_run() -> None:
    check(run(seed=0, count=2500))


def test_a_hole_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "_check_frame", lambda machine, action: None)
    assert run(seed=0, count=1500).violations != []


@pytest.mark.slow
def test_no_mutation_of_many_is_clean_that_an_unpickler_would_run() -> None:
    check(run(seed=1, count=30_000))
