"""One text per value, one hash per text."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriward.core.canonical import canonical, derive_key, digest, plain

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab|é", max_size=4)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3)
)


def test_the_order_of_keys_and_the_kind_of_sequence_do_not_show() -> None:
    assert canonical({"b": (1, 2), "a": None}) == canonical({"a": None, "b": [1, 2]}) == '{"a":null,"b":[1,2]}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": number})


@given(VALUES, VALUES)
def test_equal_texts_mean_equal_values(a: object, b: object) -> None:
    import json

    assert json.loads(canonical(a)) == a
    if canonical(a) != canonical(b):
        assert digest(a) != digest(b)


@given(st.lists(st.text("ab", max_size=3), max_size=4), st.lists(st.text("ab", max_size=3), max_size=4))
def test_no_two_lists_collide(a: list[str], b: list[str]) -> None:
    assert (digest(*a) == digest(*b)) == (a == b)


def test_the_digest_is_stable() -> None:
    """Keys in dossiers of older versions must stay what they were."""
    import hashlib

    assert digest(b"abc") == hashlib.sha256(b"b" + (3).to_bytes(8, "big") + b"abc").hexdigest()
    assert digest("abc") == hashlib.sha256(b"j" + (5).to_bytes(8, "big") + b'"abc"').hexdigest()


def test_keys_are_signed_64_bit_numbers() -> None:
    keys = [derive_key(seed, "name") for seed in range(200)]
    assert len(set(keys)) == 200
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert min(keys) < 0 < max(keys)


def test_plain_data() -> None:
    assert plain({"a": (np.float64(0.5), np.int32(3)), 2: {"b"}}) == {"a": [0.5, 3], "2": ["b"]}
