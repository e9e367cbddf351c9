"""What a second hostile reader found: files that were called clean and showed another content to the real readers."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

from veriward.adapters.scan.scanner import scan, scan_content
from veriward.adapters.scan.skops import skops_types


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(4, np.float32))
    return buffer.getvalue()


def member(name: bytes, data: bytes, kind: bytes = b"0", magic: bytes = b"ustar\x0000", prefix: bytes = b"") -> bytes:
    header = bytearray(512)
    for at, text in ((0, name), (100, b"0000644\0"), (124, b"%011o\0" % len(data)), (136, b"%011o\0" % 0)):
        header[at : at + len(text)] = text
    for at, text in ((108, b"0000000\0" * 2), (148, b" " * 8), (156, kind), (257, magic), (345, prefix)):
        header[at : at + len(text)] = text
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


def pax(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    size = next(size for size in range(999) if size == len(b"%d" % size) + len(rest))
    return member(b"pax", b"%d" % size + rest, kind=b"x")


OUT = "../../evil"
TARS = {
    "a prefix in a header of GNU": member(b"a.npy", array(), magic=b"ustar  \0", prefix=OUT.encode()),
    "a prefix in an old header": member(b"b.npy", array()) + member(b"a.npy", array(), magic=b"", prefix=OUT.encode()),
    "two PAX names": pax("path", OUT + "a" * 100) + pax("path", "a.npy") + member(b"a.npy", array()),
    "two GNU names": member(b"L", OUT.encode() + b"\0", b"L") + member(b"L", b"a\0", b"L") + member(b"a", array()),
}


@pytest.mark.parametrize("trick", TARS)
def test_a_tar_whose_names_python_reads_otherwise_is_dangerous(trick: str) -> None:
    content = TARS[trick] + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert any(name.startswith(OUT) for name in tar.getnames())  # what extraction would write
    assert scan_content(content).outcome == "dangerous"


def test_of_two_pax_sizes_python_takes_the_first_and_finds_a_hidden_member() -> None:
    hidden = np.frombuffer(member(b"hidden", b"x"), np.uint8)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, hidden, version=(1, 0))
    data = buffer.getvalue().replace(b"\n", b" " * 384 + b"\n", 1)
    data = data[:8] + (512 - 10).to_bytes(2, "little") + data[10:]
    content = pax("size", "512") + pax("size", str(len(data))) + member(b"a.npy", data) + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert tar.getnames() == ["a.npy", "hidden"]
    assert scan_content(content).outcome == "dangerous"


def test_two_spellings_of_one_path_stand_twice() -> None:
    content = member(b"./a.npy", array()) + member(b"a.npy", array()) + bytes(1024)
    assert scan_content(content).outcome == "dangerous"


def edited_skops(model: object, edit: Callable[[list[Any]], None]) -> bytes:
    """The skops file of a list, with other nodes and without the members that they leave unused."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as old, zipfile.ZipFile(buffer, "w") as new:
        schema = json.loads(old.read("schema.json"))
        edit([node["content"]["content"] for node in schema["content"]])
        text = json.dumps(schema)
        for name in old.namelist():
            if name == "schema.json" or name in text:
                new.writestr(name, text if name == "schema.json" else old.read(name))
    return buffer.getvalue()


def test_a_tree_lent_by_a_wider_estimator_is_not_clean() -> None:
    columns = np.random.default_rng(0).random((60, 40), np.float32)
    wide = DecisionTreeRegressor(max_depth=3, random_state=0).fit(columns, columns[:, 39])
    narrow = DecisionTreeRegressor(max_depth=3, random_state=0).fit(columns[:, :2], columns[:, 1])

    def lend(nodes: list[Any]) -> None:
        nodes[1]["tree_"] = {"__loader__": "CachedNode", "__id__": nodes[0]["tree_"]["__id__"]}

    content = edited_skops([wide, narrow], lend)
    loaded = skops.io.loads(content, trusted=list(skops_types(content)))[1]
    assert (loaded.n_features_in_, loaded.tree_.n_features) == (2, 40)  # predict reads 38 columns behind its input
    assert scan_content(content).outcome == "unknown"
    assert scan_content(edited_skops([wide, narrow], lambda nodes: None)).outcome == "clean"


NEIGHBOURS = """
import sys, numpy, skops.io
from veriward.adapters.scan.skops import skops_types
content = open(sys.argv[1], "rb").read()
model = skops.io.loads(content, trusted=list(skops_types(content)))
print("loaded", flush=True)
model.predict(numpy.zeros((2, 3)))
print("predicted")
"""


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
@pytest.mark.parametrize("part", [1, 2], ids=["index", "ranges"])
def test_a_tree_of_neighbours_that_leads_out_of_its_samples_is_not_clean(
    algorithm: str, part: int, tmp_path: Path
) -> None:
    samples = np.random.default_rng(0).random((200, 3))
    content = skops.io.dumps(KNeighborsRegressor(3, algorithm=algorithm).fit(samples, samples[:, 0]))
    assert scan_content(content).outcome == "clean"
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w") as new:
        schema = json.loads(old.read("schema.json"))
        file = schema["content"]["content"]["_tree"]["content"]["content"][part]["file"]
        array = np.load(io.BytesIO(old.read(file)))
        (array["idx_end"] if array.dtype.names else array)[:] = 10**9
        buffer = io.BytesIO()
        np.save(buffer, array)
        for name in old.namelist():
            new.writestr(name, buffer.getvalue() if name == file else old.read(name))
    done = subprocess.run([sys.executable, "-c", NEIGHBOURS, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout == "loaded\n", done.stderr  # prediction reads foreign memory and is killed
    assert scan_content(path.read_bytes()).outcome == "unknown"


@pytest.mark.parametrize("name", ["_dual_coef_", "_intercept_", "support_vectors_", "support_"])
def test_a_machine_whose_arrays_are_shorter_than_libsvm_reads_is_not_clean(name: str) -> None:
    samples = np.random.default_rng(0).random((50, 3))
    model = SVC().fit(samples, samples[:, 0] > 0.5)
    assert scan_content(skops.io.dumps(model)).outcome == "clean"
    whole = getattr(model, name)
    setattr(model, name, (whole[:, :1] if name == "_dual_coef_" else whole[:0]).copy())
    assert scan_content(skops.io.dumps(model)).outcome == "unknown"


CONFINED = """
import os, threading, time
waiting = threading.Event()
threading.Thread(target=waiting.wait, daemon=True).start()
from veriward.adapters.convert.confine import confine
confine(more_memory_bytes=1 << 28, cpu_seconds=20, file_bytes=1 << 20)
for task in os.listdir("/proc/self/task"):
    with open(f"/proc/self/task/{task}/status") as file:
        print(*[line.split()[1] for line in file if line.startswith("Seccomp:")])
try:
    os.open("made", os.O_WRONLY | os.O_CREAT)
except PermissionError:
    print("refused")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="seccomp is Linux's")
def test_the_walls_stand_around_all_threads_and_around_os_open(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CONFINED], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split() == ["2", "2", "refused"], done.stderr
    assert not list(tmp_path.iterdir())


def test_sparse_matrices_in_skops_are_unknown(tmp_path: Path) -> None:
    """scipy follows the indices of a loaded matrix without a look: one out of range reads foreign memory."""
    matrix = sparse.csr_matrix(np.eye(3))
    skops.io.dump({"w": matrix}, tmp_path / "m.skops")
    assert scan(tmp_path / "m.skops").outcome == "unknown"
    model = LogisticRegression().fit(np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2)
    skops.io.dump(model, tmp_path / "m.skops")
    assert scan(tmp_path / "m.skops").outcome == "clean"
    skops.io.dump(model.sparsify(), tmp_path / "m.skops")
    assert scan(tmp_path / "m.skops").outcome == "unknown"
