"""Streams that readers read differently, or never finish: frames that tear opcodes, tuples that repeat themselves."""

import io
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from veriward.adapters.scan import scan_content
from veriward.adapters.scan.tuples import extent, overgrown, packed

from .corpus.assembly import call, push
from .corpus.routes import ROUTES, UNPEEKED, by_an_index_torn_by_a_frame

LARGE = {f"layer.{number}": [number, 0.5, "text" * 9, (1, 2)] for number in range(9000)}


def framed(inside: bytes, behind: bytes) -> bytes:
    return b"\x80\x04\x95" + struct.pack("<Q", len(inside)) + inside + behind


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("pickler", [pickle.Pickler, pickle._Pickler])  # type: ignore[attr-defined]
def test_frames_of_honest_picklers_are_clean(pickler: type[pickle.Pickler], protocol: int) -> None:
    for value in (LARGE, {"a": b"x" * 200_000, "b": "y" * 200_000, "c": bytearray(70_000)}, {}, OrderedDict(a=1)):
        stream = io.BytesIO()
        pickler(stream, protocol).dump(value)
        assert scan_content(stream.getvalue() * 2).outcome == "clean"


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("modern", [True, False])
def test_checkpoints_of_any_protocol_are_clean(protocol: int, modern: bool) -> None:
    buffer = io.BytesIO()
    value = {"state": {"w": torch.ones(3)}, "large": LARGE}
    torch.save(value, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=modern)
    assert scan_content(buffer.getvalue()).outcome == "clean"


@pytest.mark.parametrize("name", UNPEEKED)
def test_torn_frames_are_dangerous(name: str) -> None:
    # nothing but harmless names, for whoever reads the bytes in a row
    assert scan_content(ROUTES[name]("os", "mkdir", "x")).outcome == "dangerous"


def test_cpython_reads_a_torn_frame_in_two_ways(tmp_path: Path) -> None:
    content = by_an_index_torn_by_a_frame("builtins", "len", "four")
    assert pickle.load(io.BytesIO(content)) == 4
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        assert pickle.load(file) == {}


@pytest.mark.parametrize(
    "content",
    [
        framed(b"N.", b""),
        framed(b"K\x01", b"."),
        framed(b"}\x94.", b""),
        framed(b"", b"N."),
    ],
)
def test_whole_frames_are_clean(content: bytes) -> None:
    assert scan_content(content).outcome == "clean"


@pytest.mark.parametrize(
    "content",
    [
        framed(b"K", b"\x01."),
        framed(b"N.N.", b""),
        framed(b"V12", b"3\n."),
        framed(b"\x95" + struct.pack("<Q", 2) + b"N.", b""),
        framed(b"\x95", struct.pack("<Q", 2) + b"N."),
        b"\x95" + struct.pack("<Q", 1) + b"K\x01.",
    ],
)
def test_torn_and_nested_frames_are_not_clean(content: bytes) -> None:
    assert scan_content(content).outcome != "clean"


def doubled(times: int) -> bytes:
    return b"\x80\x04})" + b"2\x86" * times + b"Ns."


class Leaf:
    asked = 0

    def __hash__(self) -> int:
        Leaf.asked += 1
        return 1


def test_tuples_that_would_hang_their_loader_are_not_clean() -> None:
    value: object = Leaf()
    for _ in range(12):
        value = (value, value)
    hash(value)
    assert Leaf.asked == 2**12  # a tuple does not remember its hash
    assert scan_content(doubled(60)).outcome == "unknown"
    assert scan_content(doubled(10)).outcome == "clean"


def test_tuples_that_would_crash_their_loader_are_not_clean() -> None:
    content = b"\x80\x04})" + b"\x85" * 300_000 + b"Ns."
    program = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    assert subprocess.run([sys.executable, "-c", program], input=content, check=False).returncode != 0
    assert scan_content(content).outcome == "unknown"
    assert scan_content(b"\x80\x04})" + b"\x85" * 200 + b"Ns.").outcome == "clean"


def test_honest_tuples_are_clean() -> None:
    pairs = tuple((number, (number, str(number))) for number in range(5000))
    for protocol in (0, 2, 5):
        assert scan_content(pickle.dumps({"pairs": pairs, pairs[:3]: 1}, protocol)).outcome == "clean"


def test_the_extent_of_a_tuple_counts_what_a_hash_visits() -> None:
    pair = packed([packed([1, 2]), packed([1, 2])])
    assert extent(pair) == (7, 2)
    assert extent(packed([pair] * 100)) == (701, 3)  # too long to be kept, and counted all the same
    assert overgrown(packed([pair] * 100), 0) is None
    value = pair
    for _ in range(100):
        value = packed([value, value])
    assert overgrown(value, 1 << 40) is not None


def test_arguments_of_calls_are_still_seen_through_nests() -> None:
    nested = call("collections:OrderedDict", [("a", ((1, 2), (3, (4,))))])
    assert scan_content(b"\x80\x04" + nested + b"0" + push({}) + b".").outcome == "clean"


WINDOW = 1 << 16  # what the reader of opcodes looks through at once


@pytest.mark.parametrize("name", ["by_global", "by_an_index_torn_by_a_frame", "by_names_of_a_far_memo", "by_instance"])
def test_opcodes_across_the_edge_of_the_window_are_read_alike(name: str) -> None:
    attack, honest = ROUTES[name]("os", "mkdir", "x" * 40), pickle.dumps(["a" * 9, 1 << 70, 2.5, b"b" * 9], 0)
    for short in range(0, 140, 3):
        filler = b"B" + struct.pack("<I", WINDOW - short) + bytes(WINDOW - short) + b"0"
        assert scan_content(filler + attack).outcome == "dangerous", short
        assert scan_content(filler + honest).outcome == "clean", short
