"""Zips that show one content to a scanner and another one to a loader, and checkpoints with something hidden in them."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from veriward.adapters.scan import ScanResult, scan

EVIL = b"cos\nsystem\n(Vid\ntR."
GOOD = pickle.dumps([1, 2, 3])
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def scanned(tmp_path: Path, content: bytes) -> ScanResult:
    path = tmp_path / "file"
    path.write_bytes(content)
    return scan(path)


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return buffer.getvalue()


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(600.0), "b": torch.ones(3)}, buffer)
    return buffer.getvalue()


def rebuilt(content: bytes, **changed: bytes | None) -> bytes:
    """The same archive with members replaced, added, or (None) left out; keys are paths within its folder."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        root = archive.namelist()[0].split("/")[0]
        members = {name: archive.read(name) for name in archive.namelist()}
    for key, value in changed.items():
        members[f"{root}/{key}"] = value
    return zipped(*((name, value) for name, value in members.items() if value is not None))


def put(content: bytes, sign: bytes, offset: int, new: bytes, last: bool = False) -> bytes:
    """Overwrite bytes of the first (or last) record that starts with `sign`."""
    at = (content.rfind(sign) if last else content.find(sign)) + offset
    return content[:at] + new + content[at + len(new) :]


def test_zips_of_harmless_members_are_clean(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        result = scanned(tmp_path, zipped(("a.pkl", GOOD), ("folder/", b""), ("folder/b.pkl", GOOD), method=method))
        assert (result.outcome, result.kind) == ("clean", "zip")


def test_members_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        result = scanned(tmp_path, zipped(("readme.txt", EVIL), method=method))
        assert (result.outcome, result.reasons[0].where) == ("dangerous", "file/readme.txt @ 0")


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/etc/evil", "C:evil", "a\\..\\evil", "a/..", "tab\tname", "nul\0name"],
)
def test_paths_that_lead_out_are_dangerous(tmp_path: Path, name: str) -> None:
    content = zipped(("x" * len(name), GOOD)).replace(b"x" * len(name), name.encode())
    assert scanned(tmp_path, content).outcome == "dangerous"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_stand_twice_are_dangerous(tmp_path: Path) -> None:
    assert scanned(tmp_path, zipped(("a", GOOD), ("a", GOOD))).outcome == "dangerous"
    assert scanned(tmp_path, zipped(("a", GOOD), ("A", GOOD))).outcome == "dangerous"


def test_links_are_dangerous(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert scanned(tmp_path, buffer.getvalue()).outcome == "dangerous"


TWO = zipped(("good.pkl", GOOD), ("more.pkl", GOOD))
DANGEROUS = {
    "another name in the local header": put(TWO, LOCAL, 30, b"evil.pkl"),
    "another name in the directory": put(TWO, CENTRAL, 46, b"evil.pkl"),
    "a member that points at another": put(TWO, CENTRAL, 42, struct.pack("<I", 0), last=True),
    "a member that points nowhere": put(TWO, CENTRAL, 42, struct.pack("<I", 7), last=True),
    "a directory elsewhere": put(TWO, END, 16, struct.pack("<I", 3), last=True),
    "two directories": TWO[:-22] + TWO[TWO.find(CENTRAL) :],
}
UNKNOWN = {
    "a prefix": b"x" * 20 + TWO,
    "a comment": put(TWO, END, 20, b"\x05\0", last=True) + b"hello",
    "trailing bytes": TWO + bytes(30),
    "other sizes": put(TWO, LOCAL, 22, struct.pack("<I", 3)),
    "another method": put(TWO, LOCAL, 8, b"\x08\0"),
    "other flags": put(TWO, LOCAL, 6, b"\x02\0"),
    "an encrypted member": put(put(TWO, LOCAL, 6, b"\x01\0"), CENTRAL, 8, b"\x01\0"),
    "a wrong checksum": put(put(TWO, LOCAL, 14, b"abcd"), CENTRAL, 16, b"abcd"),
    "another number of members": put(TWO, END, 8, b"\x01\0\x01\0", last=True),
    "several disks": put(TWO, END, 4, b"\x01\0", last=True),
    "a method that is not read": zipped(("a", GOOD), method=zipfile.ZIP_BZIP2),
    "no directory": TWO[:-22],
    "cut in the middle": TWO[: len(TWO) // 2],
    "only an end": TWO[-22:],
    "an empty archive": zipped(),
    "a bomb": zipped(("a", bytes(1 << 25)), method=zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_contradictions_of_names_and_places_are_dangerous(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, DANGEROUS[name]).outcome == "dangerous"


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_contradictions_are_unknown(tmp_path: Path, name: str) -> None:
    result = scanned(tmp_path, UNKNOWN[name])
    assert result.outcome == "unknown", result


def test_members_behind_a_prefix_are_read(tmp_path: Path) -> None:
    assert scanned(tmp_path, b"x" * 20 + zipped(("a", EVIL))).outcome == "dangerous"


def test_bytes_between_members_are_unknown(tmp_path: Path) -> None:
    first = zipped(("a.pkl", GOOD))
    at = first.find(CENTRAL)
    moved = put(first[:at] + b"hidden" + first[at:], END, 16, struct.pack("<I", at + 6), last=True)
    assert scanned(tmp_path, moved).outcome == "unknown"


def test_a_wrong_checksum_hides_nothing(tmp_path: Path) -> None:
    content = zipped(("a.pkl", EVIL))
    spoilt = put(put(content, LOCAL, 14, b"abcd"), CENTRAL, 16, b"abcd")
    assert scanned(tmp_path, spoilt).outcome == "dangerous"


def test_a_flag_of_encryption_hides_nothing(tmp_path: Path) -> None:
    content = zipped(("a.pkl", EVIL))
    assert scanned(tmp_path, put(put(content, LOCAL, 6, b"\1\0"), CENTRAL, 8, b"\1\0")).outcome == "dangerous"


def test_a_pickle_before_an_archive_is_found(tmp_path: Path) -> None:
    assert "os.system" in {reason.what for reason in scanned(tmp_path, EVIL + TWO).reasons}


def test_archives_in_archives_are_read_four_deep(tmp_path: Path) -> None:
    content = EVIL
    for depth in range(4):
        content = zipped((f"{depth}", content))
    assert scanned(tmp_path, content).outcome == "dangerous"
    assert scanned(tmp_path, zipped(("more", content))).outcome == "unknown"


def test_a_large_archive_with_zip64_records_is_clean(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("a.pkl", "w", force_zip64=True) as member:
        member.write(GOOD)
    assert scanned(tmp_path, buffer.getvalue()).outcome == "clean"


def test_what_hides_in_a_checkpoint_is_found(tmp_path: Path) -> None:
    content = checkpoint()
    assert scanned(tmp_path, content).outcome == "clean"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        tensors = archive.read(name)
        sizes = {entry.filename.rpartition("/")[2]: entry.file_size for entry in archive.infolist()}
    assert scanned(tmp_path, rebuilt(content)).outcome == "clean"
    raw = EVIL + bytes(sizes["0"] - len(EVIL))
    for changed, outcome in (
        ({"data.pkl": EVIL}, "dangerous"),
        ({"data.pkl": tensors[:-1] + EVIL}, "dangerous"),
        ({"data.pkl": tensors + EVIL}, "dangerous"),
        ({"data.pkl": tensors + b"rubbish"}, "unknown"),
        ({"data/0": raw}, "dangerous"),
        ({"data/0": b"\x7fELF" + raw[4:]}, "dangerous"),
        ({"data/0": bytes(8)}, "unknown"),
        ({"data/0": None}, "unknown"),
        ({"data/99": bytes(8)}, "unknown"),
        ({"extra": EVIL}, "dangerous"),
        ({"version": bytes(1000)}, "unknown"),
        ({"constants.pkl": pickle.dumps(()), "code/model.py": b"def forward(self): pass"}, "unknown"),
    ):
        assert scanned(tmp_path, rebuilt(content, **changed)).outcome == outcome, changed.keys()


def test_torchscript_is_unknown(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(1)}, buffer)
    content = rebuilt(buffer.getvalue(), **{"constants.pkl": pickle.dumps(()), "code/a.py": b"x = 1\n"})
    assert scanned(tmp_path, content).kind == "torchscript"


def test_objects_in_arrays_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([1], dtype=object), allow_pickle=True)
    content = buffer.getvalue()
    assert scanned(tmp_path, content).outcome == "clean"
    header = content[: content.index(b"\n") + 1]
    assert scanned(tmp_path, header + EVIL).outcome == "dangerous"
    assert scanned(tmp_path, zipped(("x.npy", header + EVIL))).outcome == "dangerous"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (9,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f8', 'fortran_order': False}",
        "{'descr': 'evil', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': ['x'], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (1,)}",
        "(" * 5000,
        "1if 2else 3",
    ],
)
def test_broken_arrays_are_unknown(tmp_path: Path, header: str) -> None:
    content = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + bytes(8)
    assert scanned(tmp_path, content).outcome == "unknown"
