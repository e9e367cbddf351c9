"""Tars and compressed files: what is inside is read, and what readers disagree about is refused."""

import bz2
import gzip
import io
import lzma
import pickle
import random
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from veriward.adapters.scan import ScanResult, scan

EVIL = b"\x80\x02cos\nsystem\n(X\x02\0\0\0idtR."
GOOD = pickle.dumps([1, 2, 3])
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
}


def scanned(tmp_path: Path, content: bytes) -> ScanResult:
    path = tmp_path / "file"
    path.write_bytes(content)
    return scan(path)


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(600.0)}, buffer)
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes], form: int = tarfile.USTAR_FORMAT, **settings: object) -> bytes:
    """A tar as Python writes it; `settings` are fields of the last member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for index, (name, content) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in settings.items() if index == len(members) - 1 else ():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def header(name: bytes, size: bytes | int, kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A header written by hand, with the checksum that it needs."""
    digits = size if isinstance(size, bytes) else b"%011o\0" % size
    head = name.ljust(100, b"\0") + b"0000644\0" * 1 + b"0000000\0" * 2 + digits.ljust(12, b"\0") + b"00000000000\0"
    rest = kind + link.ljust(100, b"\0") + b"ustar\00000" + bytes(247)
    total = sum(head) + sum(rest) + 8 * 32
    return head + b"%06o\0 " % total + rest


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def record(key: str, value: str) -> bytes:
    size = len(key) + len(value) + 3
    size += len(str(size + len(str(size))))
    return f"{size} {key}={value}\n".encode()


END = bytes(1024)


# -- compressed files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKERS)
def test_compressed_checkpoints_are_clean_and_attacks_dangerous(tmp_path: Path, name: str) -> None:
    pack = PACKERS[name]
    result = scanned(tmp_path, pack(checkpoint()))
    assert (result.outcome, result.kind, result.reasons) == ("clean", "compressed", ())
    assert scanned(tmp_path, pack(EVIL)).outcome == "dangerous"
    assert scanned(tmp_path, pack(pack(EVIL))).outcome == "dangerous"
    assert scanned(tmp_path, pack(tarred(("a", EVIL)))).outcome == "dangerous"


@pytest.mark.parametrize("name", PACKERS)
def test_several_streams_are_one_file(tmp_path: Path, name: str) -> None:
    pack, content = PACKERS[name], checkpoint()
    assert scanned(tmp_path, pack(content[:100]) + pack(content[100:])).outcome == "clean"
    assert scanned(tmp_path, pack(EVIL[:9]) + pack(EVIL[9:])).outcome == "dangerous"


@pytest.mark.parametrize("name", PACKERS)
def test_what_follows_or_lacks_in_a_stream_is_told(tmp_path: Path, name: str) -> None:
    packed = PACKERS[name](checkpoint())
    assert scanned(tmp_path, packed + b"rest").outcome == "unknown"
    assert scanned(tmp_path, packed + EVIL).outcome == "dangerous"
    assert scanned(tmp_path, packed[:-3]).outcome == "unknown"
    assert scanned(tmp_path, packed + packed[:20]).outcome == "unknown"


def test_an_attack_before_a_wrong_checksum_is_found(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(EVIL))
    packed[-6] ^= 1
    assert scanned(tmp_path, bytes(packed)).outcome == "dangerous"


@pytest.mark.parametrize("name", PACKERS)
def test_bombs_cost_little(tmp_path: Path, name: str) -> None:
    packed = PACKERS[name](bytes(1 << 26))
    start = time.perf_counter()
    result = scanned(tmp_path, packed)
    assert time.perf_counter() - start < 5
    assert result.outcome == "unknown"
    assert any("bomb" in reason.why for reason in result.reasons)


def test_bombs_take_little_memory(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(1 << 26))
    tracemalloc.start()
    scanned(tmp_path, packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 26


def test_bombs_in_bombs_end(tmp_path: Path) -> None:
    content = EVIL
    for _ in range(9):
        content = gzip.compress(content)
    result = scanned(tmp_path, content)
    assert result.outcome == "unknown"
    assert any("deep" in reason.why for reason in result.reasons)


def test_a_dictionary_of_gigabytes_is_refused(tmp_path: Path) -> None:
    packed = bytearray(lzma.compress(GOOD, lzma.FORMAT_ALONE))
    packed[1:5] = struct.pack("<I", (1 << 32) - 1)
    assert scanned(tmp_path, bytes(packed)).outcome == "unknown"


@pytest.mark.parametrize("lead", [b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c"])
def test_what_the_standard_library_cannot_unpack_is_unknown(tmp_path: Path, lead: bytes) -> None:
    result = scanned(tmp_path, lead + bytes(90))
    assert (result.outcome, result.kind) == ("unknown", "compressed")
    assert "unpack it" in result.reasons[0].why


# -- tars ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_models_are_clean(tmp_path: Path, form: int) -> None:
    members = [("m/model.pt", checkpoint()), ("m/a.pkl", GOOD), ("m/README.md", b"# A model\n"), ("m/LICENSE", b"free")]
    if form != tarfile.USTAR_FORMAT:
        members.append((f"m/{'long' * 40}.txt", b"text"))
        members.append(("m/\u00e9\u00e8.txt", b"text"))
    content = tarred(*members, form=form)
    result = scanned(tmp_path, content)
    assert (result.outcome, result.kind, result.reasons) == ("clean", "tar", ())
    assert scanned(tmp_path, gzip.compress(content)).outcome == "clean"


def test_folders_and_owners_change_nothing(tmp_path: Path) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content = tarred(("a.pkl", GOOD), ("d", b""), form=form, type=tarfile.DIRTYPE, uid=1 << 22, mtime=1.5)
        assert scanned(tmp_path, content).outcome == "clean"


def test_members_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    for name in ("a.pkl", "README.md", "notes.txt", "deep/er/x"):
        result = scanned(tmp_path, tarred(("good.pkl", GOOD), (name, EVIL)))
        assert result.outcome == "dangerous"
        assert f"file/{name} @ " in result.reasons[0].where


def test_text_is_only_text_under_a_name_of_text(tmp_path: Path) -> None:
    for name, content in {
        "model.py": b"import os",
        "run.sh": b"rm -rf /",
        "model": b"text",
        "config.json": b'{"a": 1}',
        "a.txt": b"\x00\x01",
        "b.txt": b"\x1b[2J",
        "c.txt": b"\xff\xfe",
    }.items():
        assert scanned(tmp_path, tarred(("good.pkl", GOOD), (name, content))).outcome == "unknown", name


def test_checkpoints_of_the_first_torch_say_what_they_are(tmp_path: Path) -> None:
    parts = [(name, GOOD) for name in ("sys_info", "pickle", "storages", "tensors")]
    result = scanned(tmp_path, tarred(*parts))
    assert (result.outcome, result.kind) == ("unknown", "torch-tar")
    assert scanned(tmp_path, tarred(*parts[:1], ("pickle", EVIL), *parts[2:])).outcome == "dangerous"


TWO = tarred(("a.pkl", GOOD), ("b.pkl", GOOD))
BODY = padded(GOOD)
A = header(b"a.pkl", len(GOOD)) + BODY
HOSTILE: dict[str, bytes] = {
    "an absolute path": tarred(("/etc/cron.d/x", GOOD)),
    "a path that leads out": tarred(("../../x", GOOD)),
    "a path that leads out in the middle": tarred(("a/../../x", GOOD)),
    "a backslash": tarred(("a\\..\\x", GOOD)),
    "a drive": tarred(("C:x", GOOD)),
    "a link": tarred(("a", b""), type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": tarred(("a", GOOD), ("b", b""), type=tarfile.LNKTYPE, linkname="../x"),
    "a long link": tarred(("a", b""), form=tarfile.GNU_FORMAT, type=tarfile.SYMTYPE, linkname="x" * 200),
    "a long link by PAX": tarred(("a", b""), form=tarfile.PAX_FORMAT, type=tarfile.SYMTYPE, linkname="x" * 200),
    "a device": tarred(("a", b""), type=tarfile.CHRTYPE),
    "a block device": tarred(("a", b""), type=tarfile.BLKTYPE),
    "a pipe": tarred(("a", b""), type=tarfile.FIFOTYPE),
    "a name twice": tarred(("a.pkl", GOOD), ("a.pkl", GOOD)),
    "a name twice in other letters": tarred(("a.pkl", GOOD), ("A.pkl", GOOD)),
    "a folder with content": header(b"d/", 600, b"5") + A + END,
    "an old folder with content": header(b"d/", len(GOOD), b"\0") + BODY + END,
    "a link with content": header(b"d", 600, b"1", b"x") + A + END,
    "two sizes": header(b"p", len(record("size", "0")), b"x") + padded(record("size", "0")) + A + END,
    "two names": header(b"p", len(record("path", "x.pkl")), b"x") + padded(record("path", "x.pkl")) + A + END,
    "a name for all": header(b"p", len(record("path", "x.pkl")), b"g") + padded(record("path", "x.pkl")) + A + END,
    "a long name over a short one": header(b"././@LongLink", 6, b"L") + padded(b"x.pkl\0") + A + END,
    "a negative size": header(b"a", b"\xff" * 12) + END,
    "a size that is no number": header(b"a", b"9x9") + END,
    "members behind the end": A + END + header(b"b", len(EVIL)) + padded(EVIL) + END,
    "an attack behind the end": TWO + EVIL,
    "a name that is a pickle": tarred(("cos\nsystem\n(Vid\ntR.", GOOD)),
    "an attack in a nested tar": tarred(("inner.tar", tarred(("x", EVIL)))),
    "an attack in a nested zip": tarred(("inner.zip", b"")),
    "an attack in a nested gzip": tarred(("inner.gz", gzip.compress(EVIL))),
}
ODD: dict[str, bytes] = {
    "a wrong checksum": A.replace(b"a.pkl", b"b.pkl", 1) + END,
    "a wrong second checksum": A + A.replace(b"a.pkl", b"b.pkl", 1) + END,
    "no end": A,
    "half an end": A + bytes(512),
    "cut off": TWO[:700],
    "a member cut off": header(b"a.pkl", 1 << 20) + BODY,
    "padding that is not empty": header(b"a.pkl", len(GOOD)) + GOOD.ljust(512, b"x") + END,
    "something behind the end": A + END + b"x" * 512,
    "a sparse member": header(b"a.pkl", len(GOOD), b"S") + BODY + END,
    "a kind that nobody knows": header(b"a.pkl", len(GOOD), b"Z") + BODY + END,
    "a short size in base 256": header(b"a.pkl", b"\x80" + len(GOOD).to_bytes(11, "big")) + BODY + END,
    "a size of exabytes": header(b"a.pkl", b"\x80" + (1 << 80).to_bytes(11, "big")) + BODY + END,
    "an unknown PAX field": header(b"p", len(record("GNU.sparse.name", "x")), b"x")
    + padded(record("GNU.sparse.name", "x"))
    + A
    + END,
    "a broken PAX header": header(b"p", 9, b"x") + padded(b"99 a=b\nxx") + A + END,
    "a PAX field twice": header(b"p", 2 * len(record("uid", "1")), b"x") + padded(record("uid", "1") * 2) + A + END,
    "a PAX size that is no number": header(b"p", len(record("size", "-1")), b"x")
    + padded(record("size", "-1"))
    + A
    + END,
    "a PAX header of gigabytes": header(b"p", 1 << 30, b"x") + A + END,
    "no members": END,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_tricks_with_tars_are_dangerous(tmp_path: Path, name: str) -> None:
    content = HOSTILE[name]
    if name == "an attack in a nested zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x", EVIL)
        content = tarred(("inner.zip", buffer.getvalue()))
    assert scanned(tmp_path, content).outcome == "dangerous"


@pytest.mark.parametrize("name", ODD)
def test_tars_that_are_not_understood_are_not_clean(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, ODD[name]).outcome == "unknown"


def test_the_tricks_are_real(tmp_path: Path) -> None:
    """Python's own reader believes what the scan refuses."""
    with tarfile.open(fileobj=io.BytesIO(HOSTILE["two names"])) as archive:
        assert archive.getnames() == ["x.pkl"]
    with tarfile.open(fileobj=io.BytesIO(HOSTILE["a folder with content"])) as archive:
        assert archive.getnames() == ["d", "a.pkl"]  # and a reader that skips 600 bytes finds nothing
    with tarfile.open(fileobj=io.BytesIO(HOSTILE["members behind the end"])) as archive:
        assert archive.getnames() == ["a.pkl"]
    with tarfile.open(fileobj=io.BytesIO(HOSTILE["members behind the end"]), ignore_zeros=True) as archive:
        assert archive.getnames() == ["a.pkl", "b"]


def test_archives_in_archives_are_read_to_a_depth(tmp_path: Path) -> None:
    content = EVIL
    for depth in range(1, 7):
        content = tarred(("inner", content))
        result = scanned(tmp_path, content)
        assert result.outcome == ("dangerous" if depth <= 4 else "unknown")


def test_a_tar_of_many_members_ends(tmp_path: Path) -> None:
    content = b"".join(header(b"%d.txt" % number, 0) for number in range(20_000)) + END
    start = time.perf_counter()
    assert scanned(tmp_path, content).outcome == "clean"
    assert time.perf_counter() - start < 10


# -- zips ------------------------------------------------------------------------------------------------------------


def test_zips_in_zips_are_read_to_a_depth(tmp_path: Path) -> None:
    content = EVIL
    for depth in range(1, 7):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner", content)
        content = buffer.getvalue()
        assert scanned(tmp_path, content).outcome == ("dangerous" if depth <= 4 else "unknown")


def test_gigabytes_of_zeros_cost_little(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1 << 26))
    content = bytearray(buffer.getvalue())
    for sign, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(sign) + offset
        for claimed in (0, 1000, 0xFFFFFFFE):  # and the headers may say anything
            content[at : at + 4] = struct.pack("<I", claimed)
            start = time.perf_counter()
            assert scanned(tmp_path, bytes(content)).outcome == "unknown"
            assert time.perf_counter() - start < 5


def test_a_wrong_checksum_hides_nothing(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("a", EVIL)
        content = buffer.getvalue().replace(struct.pack("<I", zlib.crc32(EVIL)), b"abcd")
        assert scanned(tmp_path, content).outcome == "dangerous"


# -- anything --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_end_with_a_verdict(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    content = tarred(("a.pkl", GOOD), ("x" * 120, EVIL), ("b.npy", np.ones(3).tobytes()), form=tarfile.PAX_FORMAT)
    samples = [content, *(pack(content) for pack in PACKERS.values())]
    for _ in range(300):
        spoilt = bytearray(draw.choice(samples))
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(spoilt) + 1)
            if draw.random() < 0.6:
                spoilt[at : at + 1] = bytes([draw.randrange(256)])
            else:
                spoilt[at : at + draw.randint(0, 600)] = spoilt[max(0, at - draw.randint(0, 600)) : at]
        result = scanned(tmp_path, bytes(spoilt))
        assert result.outcome != "clean"
        assert result.reasons
