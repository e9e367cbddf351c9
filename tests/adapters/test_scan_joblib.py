"""joblib's files: arrays between the opcodes are skipped exactly as joblib skips them, and judged as pickle reads them."""

import contextlib
import io
import os
import pickle
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from veriward.adapters.scan import ScanResult, scan

ARRAY = np.arange(6.0)
HONEST = {
    "array": ARRAY,
    "dict": {"a": ARRAY, "b": [1, 2.5, None, "text"], "c": ARRAY.astype(np.float16)},
    "matrix in columns": np.asfortranarray(np.ones((3, 4))),
    "texts": np.array(["ab", "c"]),
    "bytes": np.array([b"ab"]),
    "booleans": np.array([True, False]),
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "foreign order": np.ones(3, dtype=">f8"),
    "complex": np.ones(2, dtype=complex),
    "one number": np.array(5.0),
    "nothing": np.zeros((0, 3)),
    "objects": np.array(["x", None, 3], dtype=object),
    "objects with arrays": {"a": [np.array([[1, 2], None], dtype=object), ARRAY]},
    "one array often": [ARRAY] * 3,
    "many arrays": [np.full(size, size) for size in range(100)],
    "bytes that are opcodes": np.full((100, 100), ord("N"), dtype=np.uint8),
}


def dumped(value: object, **settings: object) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, **settings)
    return buffer.getvalue()


def scanned(tmp_path: Path, content: bytes) -> ScanResult:
    path = tmp_path / "model.joblib"
    path.write_bytes(content)
    return scan(path)


@pytest.mark.parametrize("name", HONEST)
def test_what_joblib_writes_is_clean(tmp_path: Path, name: str) -> None:
    result = scanned(tmp_path, dumped(HONEST[name]))
    assert (result.outcome, result.kind, result.reasons) == ("clean", "joblib", ())


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "xz", "lzma"])
def test_compressed_files_are_read_as_joblib_reads_them(tmp_path: Path, method: str) -> None:
    honest = np.random.default_rng(0).normal(size=50_000)
    result = scanned(tmp_path, dumped({"a": honest, "b": np.array([None])}, compress=(method, 3)))
    assert (result.outcome, result.kind) == ("clean", "joblib")
    assert scanned(tmp_path, dumped(Evil("id"), compress=(method, 3))).outcome == "dangerous"


def test_mapped_arrays_and_older_protocols_are_read(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "numbers", dtype=np.float64, mode="w+", shape=(4,))
    assert scanned(tmp_path, dumped(mapped)).outcome == "clean"
    for protocol in (2, 3, 4, 5):
        assert scanned(tmp_path, dumped([ARRAY, ARRAY], protocol=protocol)).outcome == "clean", protocol


def test_files_without_padding_are_read(tmp_path: Path) -> None:
    # joblib before 1.2: no alignment in the wrapper, and no padding before the elements
    content = with_wrapper({"alignment": None}, ARRAY.tobytes())
    assert np.array_equal(joblib.load(io.BytesIO(content)), ARRAY)
    assert scanned(tmp_path, content).outcome == "clean"


def test_estimators_are_unknown_and_told_to_use_skops(tmp_path: Path) -> None:
    result = scanned(tmp_path, dumped(LogisticRegression().fit([[0.0], [1.0]], [0, 1])))
    assert (result.outcome, result.kind) == ("unknown", "joblib")
    assert any("skops" in reason.why for reason in result.reasons)


class Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.path,)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


DTYPE = b"cnumpy\ndtype\nX\x02\0\0\0f8\x89\x88\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
WRAPPER = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81"


def state(shape: tuple[int, ...] = (6,), alignment: int | None = 16, dtype: bytes = DTYPE, **more: bytes) -> bytes:
    """The items of a wrapper's state."""
    sides = b"".join(b"J" + struct.pack("<i", side) for side in shape)
    items = {
        "subclass": b"cnumpy\nndarray\n",
        "shape": b"(" + sides + b"t",
        "order": text("C"),
        "dtype": dtype,
        "allow_mmap": b"\x89",
        "numpy_array_alignment_bytes": b"N" if alignment is None else b"K" + bytes([alignment]),
        **more,
    }
    return b"(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def with_wrapper(settings: dict[str, object], elements: bytes, rest: bytes = b".", padding: bool = True) -> bytes:
    """A file of one array, written by hand."""
    head = b"\x80\x02" + WRAPPER + b"}" + state(**settings) + b"b"  # type: ignore[arg-type]
    count = 16 - (len(head) + 1) % 16
    filler = bytes([count]) + b"\xff" * count if settings.get("alignment", 16) and padding else b""
    return head + filler + elements + rest


def attack(canary: Path) -> bytes:
    """Opcodes that make a folder."""
    return b"cos\nmkdir\n(" + text(str(canary)) + b"tR"


def test_files_written_by_hand_are_what_joblib_writes(tmp_path: Path) -> None:
    content = with_wrapper({}, ARRAY.tobytes())
    assert np.array_equal(joblib.load(io.BytesIO(content)), ARRAY)
    assert scanned(tmp_path, content).outcome == "clean"


def hostile(canary: Path) -> dict[str, bytes]:
    """Files that make the folder when joblib loads them."""
    evil = attack(canary)
    numbers = ARRAY.tobytes()
    inner = pickle.dumps(np.array([None], dtype=object), protocol=2)
    long_frame = b"\x80\x04\x95" + struct.pack("<Q", len(inner) + 7) + inner[2:] + b"0N......."
    objects = DTYPE.replace(b"f8", b"O8").replace(b"X\x01\0\0\0<", b"X\x01\0\0\0|").replace(b"K\0tb", b"K?tb")
    framed = WRAPPER + b"}" + state() + b"b"
    return {
        "behind an array": with_wrapper({}, numbers, b"0" + evil + b"."),
        "before an array": b"\x80\x02" + evil + b"0" + with_wrapper({}, numbers, padding=False)[2:],
        "in the state of a wrapper": with_wrapper({"more": evil}, numbers),
        "in an array of objects": with_wrapper({"dtype": objects, "alignment": None}, b"\x80\x02" + evil + b"."),
        "behind an array of objects": with_wrapper({"dtype": objects, "alignment": None}, inner, b"0" + evil + b"."),
        "after long padding": with_wrapper({}, bytes([200]) + b"N" * 200 + numbers, b"0" + evil + b".", padding=False),
        "after no padding": with_wrapper({}, b"\0" + numbers, b"0" + evil + b".", padding=False),
        "after a smaller array": with_wrapper({"shape": (1,)}, numbers[:8], b"0" + evil + b"." + numbers),
        "in a frame that joblib leaves": (
            b"\x80\x04\x95"
            + struct.pack("<Q", len(framed) + len(evil) + 1)
            + framed
            + evil
            + b"."
            + bytes([16 - (12 + len(framed) + len(evil) + 1) % 16 or 16]).ljust(17, b"\xff")
            + numbers
            + bytes(32)
        ),
        "behind the frame of an inner pickle": with_wrapper(
            {"dtype": objects, "alignment": None}, long_frame, b"0" + evil + b"."
        ),
        "a wrapper built twice": b"\x80\x02"
        + WRAPPER
        + b"q\1}"
        + state(alignment=None)
        + b"b"
        + numbers
        + b"0h\1}("
        + text("shape")
        + b"(K\1t"
        + b"u"
        + b"b"
        + numbers[:8]
        + b"0"
        + evil
        + b".",
    }


NAMES = list(hostile(Path("/")))


@pytest.mark.parametrize("name", NAMES)
def test_attacks_through_joblib_are_real_and_dangerous(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    content = hostile(canary)[name]
    result = scanned(tmp_path, content)
    assert result.outcome == ("unknown" if name == "a wrapper built twice" else "dangerous")
    assert not canary.exists()
    with contextlib.suppress(ValueError, EOFError, pickle.UnpicklingError, AttributeError, TypeError):
        joblib.load(io.BytesIO(content))  # what comes behind the attack may be nonsense
    assert canary.exists()


def test_elements_that_pickle_would_run_are_real_and_dangerous(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = attack(canary) + b"."
    elements = evil.ljust(-len(evil) % 8 + len(evil), b"\0")
    content = with_wrapper({"alignment": None, "shape": (len(elements) // 8,)}, elements)
    assert joblib.load(io.BytesIO(content)).nbytes == len(elements)
    assert not canary.exists()  # joblib takes the attack for numbers
    assert scanned(tmp_path, content).outcome == "dangerous"
    pickle.loads(content)
    assert canary.exists()


@pytest.mark.parametrize("elements", [b"0N......", b"R" * 8, b"\x95" * 8, b"cab\ncd\n.", b"b0)R...."])
def test_numbers_that_look_like_opcodes_by_chance_are_clean(tmp_path: Path, elements: bytes) -> None:
    content = with_wrapper({"alignment": None, "shape": (1,)}, elements)
    assert scanned(tmp_path, content).outcome == "clean"


ODD: dict[str, bytes] = {
    "more elements than there are": with_wrapper({"shape": (99,)}, ARRAY.tobytes()),
    "a product that overflows": with_wrapper({"shape": (2**31 - 1,) * 3}, ARRAY.tobytes()),
    "a negative shape": with_wrapper({"shape": (-1,)}, ARRAY.tobytes()),
    "fewer elements": with_wrapper({"shape": (5,)}, ARRAY.tobytes()),
    "padding that hides bytes": with_wrapper({}, b"\x0212" + ARRAY.tobytes(), padding=False),
    "another order": with_wrapper({"order": text("X")}, ARRAY.tobytes()),
    "another subclass": with_wrapper({"subclass": b"cnumpy\nmatrix\n"}, ARRAY.tobytes()),
    "an unknown field": with_wrapper({"other": b"N"}, ARRAY.tobytes()),
    "an odd alignment": with_wrapper({"numpy_array_alignment_bytes": text("a")}, ARRAY.tobytes()),
    "elements of no size": with_wrapper({"dtype": DTYPE.replace(b"f8", b"S0")}, ARRAY.tobytes()),
    "no dtype": with_wrapper({"dtype": b"N"}, ARRAY.tobytes()),
    "cut off": with_wrapper({}, ARRAY.tobytes())[:-20],
    "a state that was filled before": b"\x80\x02}("
    + text("numpy_array_alignment_bytes")
    + b"K\x10uq\0000"
    + WRAPPER
    + b"h\0"
    + state()
    + b"b"
    + ARRAY.tobytes()
    + b".",
    "a state of a dict call": b"\x80\x02" + WRAPPER + b"cbuiltins\ndict\n)R" + state() + b"b" + ARRAY.tobytes() + b".",
    "an old wrapper": b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}("
    + text("filename")
    + text("../evil.npy")
    + text("subclass")
    + b"cnumpy\nndarray\nub.",
    "an old compressed file": b"ZF" + hex(30).ljust(19).encode() + zlib.compress(pickle.dumps([1])),
}


@pytest.mark.parametrize("name", ODD)
def test_what_joblib_does_not_write_is_not_clean(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, ODD[name]).outcome != "clean"


def test_an_old_compressed_attack_is_dangerous(tmp_path: Path) -> None:
    evil = zlib.compress(b"\x80\x02" + attack(tmp_path / "canary") + b".")
    assert scanned(tmp_path, b"ZF" + hex(30).ljust(19).encode() + evil).outcome == "dangerous"


@pytest.mark.parametrize("seed", range(3))
def test_mutated_files_end_with_a_verdict_and_run_nothing(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    contents = [dumped(HONEST[name]) for name in ("dict", "objects with arrays", "texts")]
    contents.append(dumped(HONEST["dict"], compress=3))
    for _ in range(400):
        spoilt = bytearray(draw.choice(contents))
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(spoilt) + 1)
            if draw.random() < 0.6:
                spoilt[at : at + 1] = bytes([draw.randrange(256)])
            else:
                spoilt[at : at + draw.randint(0, 9)] = spoilt[max(0, at - 9) : at]
        result = scanned(tmp_path, bytes(spoilt))
        assert result.outcome == "clean" or result.reasons


def test_no_truncation_is_clean(tmp_path: Path) -> None:
    content = dumped(HONEST["dict"])
    for size in range(1, len(content)):
        assert scanned(tmp_path, content[:size]).outcome != "clean", size
