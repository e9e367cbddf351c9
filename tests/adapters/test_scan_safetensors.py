"""safetensors: the header has to account for every byte."""

import json
from pathlib import Path

import pytest

from veriward.adapters.scan import ScanResult, scan


def scanned(tmp_path: Path, header: object, data: bytes = bytes(8)) -> ScanResult:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "file"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return scan(path)


def tensor(start: object = 0, stop: object = 8, dtype: str = "F32", shape: object = (2,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_one_tensor_is_clean(tmp_path: Path) -> None:
    assert scanned(tmp_path, {"a": tensor()}).outcome == "clean"
    assert scanned(tmp_path, {"a": tensor(), "__metadata__": {"format": "pt"}}).outcome == "clean"
    assert scanned(tmp_path, {"a": tensor(0, 4, "F32", []), "b": tensor(4, 8, "I16", [1, 2])}).outcome == "clean"


@pytest.mark.parametrize(
    "header",
    [
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": 1}',
        b'{"a": {"dtype": "F32", "dtype": "F64", "shape": [2], "data_offsets": [0, 8]}}',
        {"a": tensor(0, 16, "F32", [4])},
        {"a": tensor(), "b": tensor()},
        {"a": tensor(0, 8), "b": tensor(4, 8, "F32", [1])},
        {"a": tensor(-4, 4)},
        {"a": tensor(8, 0)},
    ],
)
def test_what_leads_a_reader_astray_is_dangerous(tmp_path: Path, header: object) -> None:
    assert scanned(tmp_path, header).outcome == "dangerous"


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"a": tensor(4, 8, "F32", [1])},
        {"a": tensor(0, 4, "F32", [1])},
        {"a": tensor(0, 8, "F32", [3])},
        {"a": tensor(0, 8, "F99", [2])},
        {"a": tensor(0, 8, "F32", [-2])},
        {"a": tensor(0, 8, "F32", "2")},
        {"a": tensor("0", 8)},
        {"a": tensor() | {"more": 1}},
        {"a": tensor(), "__metadata__": {"a": 1}},
        b"[1, 2]",
        b"{" * 5000,
        b'{"a": ',
        b'{"a": \xff}',
    ],
)
def test_other_errors_are_unknown(tmp_path: Path, header: object) -> None:
    assert scanned(tmp_path, header).outcome == "unknown"


def test_a_header_beyond_the_file_is_dangerous(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes((1000).to_bytes(8, "little") + b"{}")
    assert scan(path).outcome == "dangerous"


def test_a_file_that_is_a_pickle_too_is_dangerous(tmp_path: Path) -> None:
    # SHORT_BINSTRING: the length is one of the bytes that safetensors reads as the size of its header
    evil = b"cos\nsystem\n(Vid\ntR."
    note = json.dumps({"__metadata__": {"a": "@" * 300}}).encode()
    at = note.index(b"@")
    size = ord("U") + (at + 8 - 2) * 256
    text = note[:at] + evil + note[at + len(evil) :]
    text += b" " * (size - len(text))
    path = tmp_path / "file"
    path.write_bytes(size.to_bytes(8, "little") + text)
    assert scan(path).outcome == "dangerous"
