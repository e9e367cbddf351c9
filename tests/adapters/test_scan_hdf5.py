"""HDF5 files: numbers are clean; what opens other files, loops, or claims more than it stores is not."""

import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from veriward.adapters.scan import ScanResult, scan

NOWHERE = (1 << 64) - 1
Write = Callable[[h5py.File], object]
NUMBERS = np.random.default_rng(0).random((300, 40))
TYPES = ["f2", "f4", "f8", "i1", "u8", "?", ">f4", "c8", "S5", "g"]


def written(write: Write, path: Path, **how: object) -> Path:
    with h5py.File(path, "w", **how) as file:
        write(file)
    return path


def scanned(write: Write, tmp_path: Path, **how: object) -> ScanResult:
    return scan(written(write, tmp_path / "file.h5", **how))


def many(count: int) -> Write:
    return lambda file: [file.create_dataset(f"d{i}", data=np.arange(3)) for i in range(count)]


def with_attributes(file: h5py.File) -> None:
    for index in range(20):  # more than the first header holds, so that a continuation follows
        file.attrs[f"a{index}"] = index
    for value in ("text", np.bytes_(b"abc"), ["x", "yy"], np.arange(4), True, h5py.Empty("f4"), 1j):
        file.attrs[type(value).__name__] = value


def compact(file: h5py.File) -> None:
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, space, how).write(space, space, np.ones(4, "f4"))


PLAIN: dict[str, Write] = {
    "nothing": lambda file: None,
    "nested groups": lambda file: file.create_dataset("a/b/c", data=NUMBERS),
    "a scalar": lambda file: file.create_dataset("a", data=1.0),
    "no rows": lambda file: file.create_dataset("a", data=np.zeros((0, 3))),
    "nothing at all": lambda file: file.create_dataset("a", data=h5py.Empty("f4")),
    "types": lambda file: [file.create_dataset(kind, data=np.ones(3, dtype=kind)) for kind in TYPES],
    "records": lambda file: file.create_dataset("a", data=np.zeros(3, dtype=[("x", "f4"), ("y", "i2", (2,))])),
    "chunks": lambda file: file.create_dataset("a", data=NUMBERS, chunks=(10, 10), maxshape=(None, None)),
    "filters": lambda file: file.create_dataset("a", data=NUMBERS, compression="gzip", shuffle=True, fletcher32=True),
    "many chunks": lambda file: file.create_dataset("a", data=NUMBERS, compression="gzip", chunks=(3, 7)),
    "many names": many(500),
    "attributes": with_attributes,
    "never written": lambda file: file.create_dataset("a", shape=(1000, 10), dtype="f4"),
    "a compact dataset": compact,
}


@pytest.mark.parametrize("name", PLAIN)
def test_files_of_numbers_are_clean(tmp_path: Path, name: str) -> None:
    result = scanned(PLAIN[name], tmp_path)
    assert (result.outcome, result.kind, result.reasons) == ("clean", "hdf5", ())


def test_newer_headers_and_links_are_clean(tmp_path: Path) -> None:
    for how in ({"libver": "latest"}, {"libver": ("v108", "v108")}, {"track_order": True}):
        assert scanned(many(5), tmp_path, **how).outcome == "clean", how


def loop(file: h5py.File) -> None:
    file.create_group("g")["up"] = file["/"]


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="u1")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "a", shape=(4,))
    file.create_virtual_dataset("a", layout)


def packed_bomb(file: h5py.File) -> None:
    """A chunk of 64 bytes whose stream goes on for 64 MiB."""
    data = file.create_dataset("a", shape=(16,), dtype="f4", chunks=(16,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 26)))


def config(text: str) -> Write:
    return lambda file: file.attrs.__setitem__("model_config", text)


LAMBDA = '{"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}}'
DANGEROUS: dict[str, Write] = {
    "an external link": lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/x.h5", "/a")),
    "an external link beside data": lambda file: (
        file.create_dataset("b", data=NUMBERS),
        file.create_group("g").__setitem__("a", h5py.ExternalLink("/etc/x.h5", "/a")),
    ),
    "external storage": lambda file: file.create_dataset("a", (4,), "u1", external=[("/etc/passwd", 0, 4)]),
    "a virtual dataset": virtual,
    "a group within itself": loop,
    "a bomb of chunks": lambda file: file.create_dataset("a", (1 << 40,), "f4", chunks=(1 << 16,), compression="gzip"),
    "a bomb of nothing": lambda file: file.create_dataset("a", (1 << 36,), "f4"),
    "a packed bomb": packed_bomb,
    "a pickle in an attribute": lambda file: file.attrs.__setitem__("x", np.bytes_(b"cos\nsystem\n(S'id'\ntR.")),
    "a model of old with code": config(LAMBDA),
    "a model of old with code as bytes": lambda file: file.attrs.__setitem__("model_config", np.bytes_(LAMBDA)),
    "a loss of old with code": lambda file: file.attrs.__setitem__(
        "training_config", '{"loss": {"class_name": "__lambda__", "config": {"value": "4wA="}}}'
    ),
}
UNKNOWN: dict[str, Write] = {
    "a soft link": lambda file: file.__setitem__("a", h5py.SoftLink("/b")),
    "soft links in a circle": lambda file: [file.__setitem__(a, h5py.SoftLink(b)) for a, b in ("ab", "ba")],
    "two names for one dataset": lambda file: file.__setitem__("b", file.create_dataset("a", data=NUMBERS)),
    "one large chunk": lambda file: file.create_dataset("a", (1,), "f4", chunks=(1 << 29,), maxshape=(None,)),
    "a plug-in": lambda file: file.create_dataset("a", data=NUMBERS, compression="lzf"),
    "many zeros": lambda file: file.create_dataset("a", data=np.zeros(1 << 23, "f4"), compression="gzip"),
    "many datasets of nothing": lambda file: [file.create_dataset(f"d{i}", (1 << 20,), "f4") for i in range(9)],
    "references": lambda file: file.create_dataset("a", data=file.create_group("g").ref, dtype=h5py.ref_dtype),
    "rows of free length": lambda file: file.create_dataset("a", (3,), h5py.vlen_dtype("i4")),
    "a type with a name": lambda file: file.__setitem__("a", np.dtype("f4")),
    "PyTables": lambda file: file.attrs.__setitem__("PYTABLES_FORMAT_VERSION", "2.1"),
    "a model that is no JSON": config("{"),
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_attacks_are_dangerous(tmp_path: Path, name: str) -> None:
    result = scanned(DANGEROUS[name], tmp_path)
    assert (result.outcome, result.kind) == ("dangerous", "hdf5")


@pytest.mark.parametrize("name", UNKNOWN)
def test_oddities_are_unknown(tmp_path: Path, name: str) -> None:
    assert scanned(UNKNOWN[name], tmp_path).outcome == "unknown"


def test_external_storage_really_shows_another_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"key!")
    path = written(
        lambda file: file.create_dataset("a", (4,), "u1", external=[(str(tmp_path / "secret"), 0, 4)]),
        tmp_path / "file.h5",
    )
    with h5py.File(path) as file:
        assert bytes(file["a"][:]) == b"key!"
    assert scan(path).outcome == "dangerous"


def test_a_dense_group_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    assert scanned(many(50), tmp_path, libver="latest").outcome == "unknown"


# -- what no library writes -------------------------------------------------------------------------------------------


def patched(tmp_path: Path, write: Write, change: Callable[[bytearray], object]) -> ScanResult:
    content = bytearray(written(write, tmp_path / "file.h5").read_bytes())
    change(content)
    (tmp_path / "file.h5").write_bytes(content)
    return scan(tmp_path / "file.h5")


def put(at: int, *numbers: int) -> Callable[[bytearray], object]:
    return lambda content: content.__setitem__(
        slice(at, at + 8 * len(numbers)), struct.pack(f"<{len(numbers)}Q", *numbers)
    )


DRIVER, END, BASE, ROOT_TABLE = 48, 40, 24, 80


def test_a_driver_that_opens_more_files_is_dangerous(tmp_path: Path) -> None:
    assert patched(tmp_path, many(3), put(DRIVER, 96)).outcome == "dangerous"


def test_a_second_table_of_names_is_dangerous(tmp_path: Path) -> None:
    assert patched(tmp_path, many(3), put(ROOT_TABLE, 96, 96)).outcome == "dangerous"


def test_a_file_that_is_cut_shifted_or_longer_is_unknown(tmp_path: Path) -> None:
    for change in (put(END, 1 << 20), put(END, 1500), put(BASE, 8), lambda content: content.extend(b"more")):
        assert patched(tmp_path, many(3), change).outcome == "unknown"


def test_a_type_of_addresses_is_dangerous(tmp_path: Path) -> None:
    """h5py would make objects of numbers in the file: whoever reads them follows an address of the author's choice."""
    dates = np.array(["2020-01-01"], dtype="M8[s]").astype(h5py.opaque_dtype(np.dtype("M8[s]")))

    def change(content: bytearray) -> None:
        at = content.index(b"NUMPY:<M8[s]")
        content[at : at + 12] = b"NUMPY:|O\0\0\0\0"

    assert patched(tmp_path, lambda file: file.create_dataset("a", data=dates), change).outcome == "dangerous"


def test_trees_that_loop_end(tmp_path: Path) -> None:
    def change(content: bytearray) -> None:
        at = content.index(b"TREE\0")
        content[at + 5 : at + 8] = b"\x01\x01\x00"  # one level higher, with one child: itself
        content[at + 32 : at + 40] = struct.pack("<Q", at)

    assert patched(tmp_path, many(3), change).outcome == "unknown"


def test_siblings_that_no_parent_names_are_unknown(tmp_path: Path) -> None:
    change: Callable[[bytearray], object] = lambda content: put(content.index(b"TREE\0") + 16, 96)(content)  # noqa: E731
    assert patched(tmp_path, many(3), change).outcome == "unknown"


def test_headers_that_loop_end(tmp_path: Path) -> None:
    def change(content: bytearray) -> None:
        at = content.index(b"\x10\0\x10\0")
        content[at + 8 : at + 24] = struct.pack("<2Q", at, 24)

    begun = time.process_time()
    assert patched(tmp_path, with_attributes, change).outcome == "unknown"
    assert time.process_time() - begun < 1


def test_one_text_that_stands_for_thousands_is_unknown(tmp_path: Path) -> None:
    texts = ["x" * 60_000] + ["y"] * 2000

    def change(content: bytearray) -> None:
        at = content.index(struct.pack("<I", 60_000), content.index(b"texts"))
        content[at : at + 16 * 2001] = bytes(content[at : at + 16]) * 2001

    result = patched(tmp_path, lambda file: file.attrs.__setitem__("texts", texts), change)
    assert result.outcome == "unknown"
    assert "again and again" in result.reasons[0].why


def test_chunks_that_share_their_bytes_are_dangerous(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        data = file.create_dataset("a", shape=(64, 256), dtype="f8", chunks=(1, 256), compression="gzip")
        data[:] = NUMBERS.ravel()[:256] * np.arange(64)[:, None]

    def change(content: bytearray) -> None:
        at, step = content.index(b"TREE\x01") + 24, 8 + 3 * 8 + 8
        for index in range(64):  # every chunk claims nearly the whole file
            content[at + index * step : at + index * step + 4] = struct.pack("<I", len(content) // 2)
            content[at + (index + 1) * step - 8 : at + (index + 1) * step] = struct.pack("<Q", 96)

    assert patched(tmp_path, write, change).outcome == "dangerous"


def samples(tmp_path: Path) -> list[bytes]:
    writers = [PLAIN[name] for name in ("nested groups", "types", "filters", "records", "attributes", "many chunks")]
    small = [written(write, tmp_path / "sample.h5").read_bytes() for write in [many(3), *writers]]
    return [*small, written(many(3), tmp_path / "sample.h5", libver="latest").read_bytes()]


@pytest.mark.parametrize("seed", range(4))
def test_the_scan_of_any_bytes_ends(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    for content in samples(tmp_path):
        head = min(len(content), 4000)
        for _ in range(60):
            spoilt = bytearray(content)
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(8, head)
                match draw.randrange(4):
                    case 0:
                        spoilt[at] = draw.randrange(256)
                    case 1:
                        spoilt[at : at + 8] = struct.pack("<Q", draw.choice([draw.randrange(head), NOWHERE, 1 << 62]))
                    case 2:
                        spoilt[at : at + 4] = spoilt[8 + at // 2 : 12 + at // 2]
                    case 3:
                        spoilt[at:] = spoilt[at + draw.randint(1, 8) :]
            (tmp_path / "file").write_bytes(spoilt)
            begun = time.process_time()
            result = scan(tmp_path / "file")
            assert time.process_time() - begun < 1
            assert result.outcome == "clean" or result.reasons


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = written(many(3), tmp_path / "file.h5").read_bytes()
    for size in range(0, len(content), 13):
        (tmp_path / "cut").write_bytes(content[:size])
        assert scan(tmp_path / "cut").outcome != "clean"
