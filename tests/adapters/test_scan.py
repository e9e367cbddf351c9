"""The scanner on files as they come: harmless ones are clean, others are refused with a reason, nothing is imported."""

import collections
import datetime
import decimal
import fractions
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from veriward.adapters.scan import Reason, ScanResult, scan
from veriward.core.errors import ArtefactError


def scanned(tmp_path: Path, content: bytes, name: str = "file") -> ScanResult:
    path = tmp_path / name
    path.write_bytes(content)
    return scan(path)


def saved(value: object, **how: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **how)
    return buffer.getvalue()


def net() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU(), torch.nn.Linear(3, 2))


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = net()
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.randn(8, 4)).sum().backward()
    optimiser.step()
    return model, optimiser


def checkpoint() -> dict[str, object]:
    model, optimiser = trained()
    return {
        "model": model.state_dict(),
        "optimizer": optimiser.state_dict(),
        "epoch": 3,
        "lr": 1e-3,
        "rng": torch.get_rng_state(),
        "dtype": torch.float32,
        "shape": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "numbers": np.arange(6.0).reshape(2, 3),
        "best": np.float64(0.5),
        "when": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    }


BASE = torch.arange(12.0).reshape(3, 4)
TENSORS = {
    "state": lambda: net().state_dict(),
    "checkpoint": checkpoint,
    "half": lambda: net().half().state_dict(),
    "bfloat16": lambda: net().bfloat16().state_dict(),
    "double": lambda: net().double().state_dict(),
    "integers": lambda: {str(kind): torch.zeros(3, dtype=kind) for kind in (torch.uint8, torch.int64, torch.bool)},
    "complex": lambda: [torch.zeros(2, dtype=torch.complex64)],
    "wide unsigned": lambda: [torch.zeros(2, dtype=torch.uint16), torch.zeros(2, dtype=torch.uint64)],
    "float8": lambda: [torch.zeros(4).to(torch.float8_e4m3fn)],
    "views": lambda: [BASE[1:], BASE.T, BASE[:0]],
    "parameter": lambda: torch.nn.Parameter(torch.ones(2)),
    "scalar": lambda: torch.tensor(1.5),
    "tuple": lambda: (torch.ones(1), {"a": [torch.zeros(2)]}),
}


@pytest.mark.parametrize("name", TENSORS)
def test_what_torch_saves_is_clean(tmp_path: Path, name: str) -> None:
    result = scanned(tmp_path, saved(TENSORS[name]()))
    assert (result.outcome, result.kind, result.reasons) == ("clean", "torch-zip", ())


@pytest.mark.parametrize("name", [name for name in TENSORS if name != "wide unsigned"])
def test_what_torch_saved_before_zips_is_clean(tmp_path: Path, name: str) -> None:
    result = scanned(tmp_path, saved(TENSORS[name](), _use_new_zipfile_serialization=False))
    assert (result.outcome, result.kind, result.reasons) == ("clean", "torch-legacy", ())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_a_checkpoint_is_clean(tmp_path: Path, protocol: int) -> None:
    assert scanned(tmp_path, saved(checkpoint(), pickle_protocol=protocol)).outcome == "clean"


PLAIN = {
    "dict": {"a": 1, "b": [1.5, None, True, "text", b"bytes"], "c": {"d": (1, 2, 3, 4)}},
    "ordered": collections.OrderedDict(a=1, b=2),
    "list": list(range(3000)),
    "long texts": ["x" * 5000, "line\nline", "\u4e2d\u6587", b"y" * 5000],
    "numbers": [2**70, -(2**70), 1 << 20, -1, 0, 255, 65536, 1e300, float("inf"), complex(1, 2)],
    "sets": [{1, 2}, frozenset({3}), set(), frozenset()],
    "buffers": [b"", b"abc", bytearray(b""), bytearray(b"abc\xff")],
    "slices": [slice(1, 2), range(3), ...],
    "collections": [
        collections.Counter("abca"),
        collections.defaultdict(list, a=[1]),
        collections.deque([1], maxlen=3),
    ],
    "dates": [datetime.date(2024, 1, 2), datetime.timedelta(1), datetime.time(1), datetime.UTC],
    "exact": [decimal.Decimal("1.5"), fractions.Fraction(1, 3)],
    "floats": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "integers": np.arange(5, dtype=">i4"),
    "booleans": np.array([True, False]),
    "texts": np.array(["a", "bcd"]),
    "byte texts": np.array([b"a", b"bcd"]),
    "times": np.array(["2024-01-02"], dtype="datetime64[ns]"),
    "objects": np.array([{"a": 1}, None, "text"], dtype=object),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "scalars": [np.float32(1), np.int64(2), np.bool_(True), np.str_("x")],
    "types": [np.float64, np.dtype("f4"), int, str],
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_pickles_of_all_protocols_are_clean(tmp_path: Path, name: str, protocol: int) -> None:
    result = scanned(tmp_path, pickle.dumps(PLAIN[name], protocol=protocol))
    assert (result.outcome, result.kind, result.reasons) == ("clean", "pickle", ())


def test_arrays_are_clean(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    np.save(
        tmp_path / "b.npy", np.array([("a", 1.0)], dtype=[("name", "U4"), ("value", "f8"), ("pair", "i4", (2,))][:2])
    )
    np.save(tmp_path / "c.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "d.npz", x=np.ones(3), y=np.zeros((2, 2), dtype=np.int8))
    np.savez_compressed(tmp_path / "e.npz", x=np.ones(3000))
    found = [(scan(path).outcome, scan(path).kind) for path in sorted(tmp_path.iterdir())]
    assert found == [("clean", "npy")] * 3 + [("clean", "npz")] * 2


def test_safetensors_are_clean(tmp_path: Path) -> None:
    tensors = {
        "a": torch.ones(2, 3),
        "b": torch.zeros(4, dtype=torch.bfloat16),
        "c": torch.zeros(0),
        "d": torch.tensor(1),
    }
    result = scanned(tmp_path, safetensors.torch.save(tensors, metadata={"format": "pt"}))
    assert (result.outcome, result.kind) == ("clean", "safetensors")


def test_a_file_is_typed_by_its_content(tmp_path: Path) -> None:
    content = saved(net().state_dict())
    assert scanned(tmp_path, content, "model.txt").kind == "torch-zip"
    assert scanned(tmp_path, b"hello", "model.safetensors").kind == "text"
    assert scanned(tmp_path, b"hello", "model.pt").outcome == "unknown"


OTHER_KINDS = {
    "empty": b"",
    "text": b"just some words\n",
    "json": json.dumps({"a": 1}).encode(),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "xgboost": b'{"learner":{"attributes":{}}}',
    "lightgbm": b"tree\nversion=v4\nnum_class=1\n",
    "onnx": b"\x08\x08\x12\x07pytorch\x3a\x00" + bytes(50),
    "tensorflow": b"\x0a\x0a\x0a\x01x\x12\x05Const",
    "compressed": b"\x1f\x8b\x08\0" + bytes(50),
    "gguf": b"GGUF\x03\0\0\0" + bytes(50),
    "unknown": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_what_is_not_read_is_unknown(tmp_path: Path, kind: str) -> None:
    result = scanned(tmp_path, OTHER_KINDS[kind])
    assert (result.outcome, result.kind) == ("unknown", kind)
    assert result.reasons[0].why


def test_programs_are_dangerous(tmp_path: Path) -> None:
    for lead in (b"\x7fELF\x02\x01", b"MZ\x90\0", b"#!/bin/sh\n"):
        assert scanned(tmp_path, lead + bytes(50)).outcome == "dangerous"


def test_a_result_says_where_and_which_bytes(tmp_path: Path) -> None:
    result = scanned(tmp_path, b"\x80\x02N0cos\nsystem\n.", "model.bin")
    reason = Reason(
        "dangerous", "model.bin @ 4", "os.system", "names code that can run commands, open files or import anything"
    )
    assert result.reasons == (reason,)
    assert result.sha256 == hashlib.sha256(b"\x80\x02N0cos\nsystem\n.").hexdigest()
    with pytest.raises(AttributeError):
        result.outcome = "clean"  # type: ignore[misc]


def test_findings_cannot_forge_the_report(tmp_path: Path) -> None:
    result = scanned(tmp_path, b"cx\x1b[2K\r\nclean\n.", "evil\nname")
    assert all(text.isprintable() for reason in result.reasons for text in (reason.where, reason.what, reason.why))


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "missing", "cannot be opened"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "pipe or socket"),
        (Path("/dev/zero"), "device"),
        (Path("a\0b"), "cannot be opened"),
    ):
        with pytest.raises(ArtefactError, match=said):
            scan(path)


def test_a_file_that_changes_meanwhile_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([1]))
    from veriward.adapters.scan import source

    real = source.Source.sha256

    def slow(self: source.Source) -> str:
        path.write_bytes(pickle.dumps([1, 2]))
        return real(self)

    monkeypatch.setattr(source.Source, "sha256", slow)
    result = scan(path)
    assert (result.outcome, result.reasons[0].what) == ("unknown", "the file")


def test_the_scanner_imports_nothing_that_could_run_or_change_the_verdict(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(checkpoint()))
    code = (
        "import sys; from veriward.adapters.scan import scan; result = scan(sys.argv[1]); "
        "heavy = {'torch', 'numpy', 'sklearn', 'skops', 'scipy', 'pandas', 'pickle', 'zipfile'} & set(sys.modules); "
        "assert (result.outcome, heavy) == ('clean', set()), (result, heavy)"
    )
    where = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=where)


@pytest.mark.parametrize("lead", [b"\x8f]\x93", b"]]\x93", b"})R.", b"K\x01)R.", b"]\x93.", b"N.", b"\x83ob."])
def test_numbers_that_look_like_a_pickle_by_chance_are_clean(tmp_path: Path, lead: bytes) -> None:
    """One array in ten thousand calls something that it does not name; of a model's tensors one in thirty models."""
    numbers = torch.frombuffer(bytearray(lead + bytes(64 - len(lead))), dtype=torch.uint8)
    assert scanned(tmp_path, saved({"w": numbers})).outcome == "clean"
    gadget = torch.frombuffer(bytearray(b"cos\nsystem\n(S'true'\ntR.".ljust(64)), dtype=torch.uint8)
    assert scanned(tmp_path, saved({"w": gadget})).outcome == "dangerous"
