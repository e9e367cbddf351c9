"""Files that run no foreign code, and still hang, fill or crash the process of whoever loads them, are not clean."""

import io
import json
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from veriward.adapters.scan import scan_content
from veriward.adapters.scan.script_source import BadScript, parse_script

_PROTO = b"\x80\x04"
_PRIME = (1 << 61) - 1  # integers are hashed modulo this
_OBJECT_DTYPE = b"cnumpy\ndtype\nX\x02\0\0\0O8\x89\x88\x87R(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
_SECONDS, _BYTES = 2, 4 << 30


def _global(path: str) -> bytes:
    module, _, name = path.rpartition(".")
    return b"c%b\n%b\n" % (module.encode(), name.encode())


def _long(value: int) -> bytes:
    digits = value.to_bytes(value.bit_length() // 8 + 1, "little")
    return b"\x8b" + struct.pack("<i", len(digits)) + digits


def _chain(path: str, step: bytes, levels: int) -> bytes:
    """Something of `path` that holds one that holds one, and so on; memo 0 is the class, memo 1 the last one."""
    return _PROTO + _global(path) + b"q\0Nq\x01" + step * levels + b"."


def _object_array(shape: int) -> bytes:
    made = _global("numpy._core.multiarray._reconstruct") + _global("numpy.ndarray") + b"K\0\x85C\x01b\x87R"
    return _PROTO + made + b"(K\x01" + _long(shape) + b"\x85" + _OBJECT_DTYPE + b"\x89]tb."


def _nested_arrays(levels: int) -> bytes:
    memo = _global("numpy._core.multiarray._reconstruct") + b"q\0" + _global("numpy.ndarray") + b"q\x01K\0\x85q\x02"
    memo += b"C\x01bq\x03" + _OBJECT_DTYPE + b"q\x04K\x01\x85q\x06Nq\x05"
    return _PROTO + memo + b"h\0(h\x01h\x02h\x03tR(K\x01h\x06h\x04\x89]h\x05atbq\x05" * levels + b"."


def _one_number() -> torch.storage.TypedStorage:
    return torch.storage.TypedStorage(
        wrap_storage=torch.zeros(1).untyped_storage(), dtype=torch.float32, _internal=True
    )


def _grown_view() -> bytes:
    buffer = io.BytesIO()
    torch.save(_one_number(), buffer, _use_new_zipfile_serialization=False)
    stored = buffer.getvalue()
    storage = _global("torch.storage._load_from_bytes") + b"B" + struct.pack("<I", len(stored)) + stored + b"\x85R"
    view = b"(" + storage + b"K\0" + _long(1 << 40) + b"\x85K\x01\x85\x89}tR."
    return _PROTO + _global("torch._utils._rebuild_tensor_v2") + view


BOMBS = {
    "a tuple of tuples that tuple() forgets": _PROTO
    + _global("builtins.tuple")
    + b"q\0)q\x01"
    + b"h\0h\x01h\x01\x86\x85Rq\x01" * 60
    + b"}h\x01Ns.",
    "an array of objects that are not there": _object_array(1 << 40),
    "one long list, copied again and again": _PROTO
    + _global("builtins.list")
    + b"q\0]q\x01("
    + b"N" * 400_000
    + b"e0]("
    + b"h\0h\x01\x85R" * 4000
    + b"e.",
    "one long number as a key": _PROTO + _long(1 << 8_000_000) + b"q\0}(" + b"h\0N" * 100_000 + b"u.",
    "one long tuple as a key": _PROTO + b"(" + b"N" * 60_000 + b"tq\0}(" + b"h\0N" * 100_000 + b"u.",
    "a decimal of a long number": _PROTO + _global("decimal.Decimal") + _long(1 << 30_000_000) + b"\x85R.",
    "keys of one hash": _PROTO + b"}(" + b"".join(_long(_PRIME * k) + b"N" for k in range(1, 60_000)) + b"u.",
    "deques in deques": _chain("collections.deque", b"h\0]h\x01a\x85Rq\x01", 300_000),
    "arrays in arrays": _nested_arrays(100_000),
    "a view that grows its storage": _grown_view(),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS.keys())
def test_pickles_that_hang_fill_or_crash_their_loader_are_not_clean(content: bytes) -> None:
    assert scan_content(content).outcome != "clean"


@pytest.mark.slow
@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS.keys())
def test_these_pickles_do_hang_fill_or_crash_their_loader(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(content)
    code = f"""
import pickle, resource, numpy, torch
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {_BYTES}, used + {_BYTES}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime
resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + {_SECONDS} + 1,) * 2)
pickle.load(open({str(path)!r}, "rb"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode != 0


HONEST = {
    "a grid by its indices": {(i, j): i * j for i in range(-300, 300) for j in range(-5, 5)},
    "hashes of 64 bits": {pow(7, i, (1 << 64) - 59): i for i in range(3000)},
    "sets of tuples": [{(i, str(i)) for i in range(50)} for _ in range(200)],
    "frozen sets": {frozenset((i, i + 1)): i for i in range(5000)},
    "an array of texts": np.array(["a", None, ("b", 1)] * 100, dtype=object),
    "bytearrays": [bytearray(b"x" * 5000) for _ in range(100)],
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("value", HONEST.values(), ids=HONEST.keys())
def test_honest_keys_sets_and_copies_are_clean(value: object, protocol: int) -> None:
    assert scan_content(pickle.dumps(value, protocol)).outcome == "clean"


def _hidden_in_an_array(path: Path) -> bytes:
    """What joblib skips as an array of bytes, pickle.load runs: it makes a file by a function that no list knows."""

    def text(content: str) -> bytes:
        return b"X" + struct.pack("<I", len(content)) + content.encode()

    call = b"0" + _global("numpy.lib.format.open_memmap")
    elements = call + b"(" + text(str(path)) + text("w+") + text("<f8") + b"(K\x03ttR."
    dtype = _global("numpy.dtype") + text("u1") + b"\x89\x88\x87R(K\x03" + text("|")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    fields = text("subclass") + _global("numpy.ndarray") + text("shape") + _long(len(elements)) + b"\x85"
    fields += text("order") + text("C") + text("dtype") + dtype + text("allow_mmap") + b"\x88"
    return (
        b"\x80\x03" + _global("joblib.numpy_pickle.NumpyArrayWrapper") + b")\x81}(" + fields + b"ub" + elements + b"."
    )


def test_an_array_of_joblib_may_not_hold_names_that_pickle_would_import(tmp_path: Path) -> None:
    canary = tmp_path / "canary.npy"
    content = _hidden_in_an_array(canary)
    assert scan_content(content).outcome != "clean"
    assert not canary.exists()
    pickle.loads(content)
    assert canary.exists()


def test_arrays_of_joblib_have_no_meaning_in_an_npy(tmp_path: Path) -> None:
    canary = tmp_path / "canary.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    content = header.getvalue() + _hidden_in_an_array(canary)
    assert scan_content(content).outcome != "clean"


@pytest.mark.slow
def test_a_sum_of_thousands_of_digits_is_not_parsed_for_ever() -> None:
    sums = [f"{i}" + "+1" * 1900 for i in range(1300)]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("m/archive_format", "pt2")
        out.writestr("m/models/model.json", json.dumps({"expr_str": sums}))
    begun = time.process_time()
    assert scan_content(archive.getvalue()).outcome != "clean"
    assert time.process_time() - begun < 120  # for ever would be hours; five seconds on ours


def test_paths_of_hundreds_of_steps_are_no_torchscript() -> None:
    parse_script(b"a = x" + b".b" * 40 + b"\n")
    with pytest.raises(BadScript, match="steps"):
        parse_script(b"a = x" + b".b" * 400 + b"\n")
