"""Arrays travel beside the JSON and come back as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriward.core.canonical import canonical
from veriward.core.packing import pack, references, unpack

DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")


def there_and_back(value: object) -> object:
    blobs: dict[str, bytes] = {}
    packed = pack(value, blobs)
    canonical(packed)
    assert references(packed) == set(blobs)
    return unpack(packed, blobs.__getitem__)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3, 4)])
def test_arrays_keep_dtype_shape_and_numbers(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    back = there_and_back({"a": array})["a"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)


def test_layout_and_byte_order_do_not_matter() -> None:
    array = np.arange(12.0).reshape(3, 4)
    for variant in (array.T, array[::-1], array[:, ::2], np.asfortranarray(array), array.astype(">f8")):
        assert np.array_equal(there_and_back([variant])[0], variant)


def test_numbers_that_are_none_survive() -> None:
    array = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    assert there_and_back([array])[0].tobytes() == array.tobytes()


def test_equal_arrays_are_kept_once() -> None:
    blobs: dict[str, bytes] = {}
    pack({"a": np.arange(3), "b": [np.arange(3)], "c": b"raw", "d": b"raw"}, blobs)
    assert len(blobs) == 2


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
        lambda i: st.lists(i) | st.dictionaries(st.text(max_size=3), i),
    )
)
def test_plain_data_stay_as_they_are(value: object) -> None:
    assert there_and_back(value) == value


def test_numpy_scalars_become_numbers_and_tuples_lists() -> None:
    assert there_and_back({"a": np.int8(3), "b": (1, np.float32(0.5))}) == {"a": 3, "b": [1, 0.5]}
