"""Zips that are not what they seem, around checkpoints of torch and around loose pickles."""

import io
import struct
import zipfile
from collections.abc import Callable

import torch

from .artefact import Artefact
from .gadgets import mkdir, nested
from .routes import ROUTES

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
Change = Callable[[bytes], bytes]


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return buffer.getvalue()


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def saved(value: object, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def weights() -> dict[str, torch.Tensor]:
    return {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3)}


def attacked(canary: str) -> bytes:
    """The pickle of a real checkpoint that attacks before it hands over the weights."""
    pickle = members_of(saved(weights()))["archive/data.pkl"]
    return pickle[:2] + mkdir(canary) + b"0" + pickle[2:]


def checkpoint(canary: str, **changes: bytes) -> bytes:
    """A checkpoint with an attack, rewritten by zipfile; changes name members within its folder."""
    found = members_of(saved(weights())) | {"archive/data.pkl": attacked(canary)}
    return zipped(found | {f"archive/{name}": value for name, value in changes.items()})


def clean_checkpoint(**changes: bytes) -> bytes:
    found = members_of(saved(weights()))
    return zipped(found | {f"archive/{name}": value for name, value in changes.items()})


def put(content: bytes, sign: bytes, offset: int, new: bytes, name: bytes = b"data.pkl") -> bytes:
    """Overwrite bytes in the header (local or central) of the member whose name ends so."""
    at = -1
    while True:
        at = content.index(sign, at + 1)
        begin = at + (30 if sign == LOCAL else 46)
        size = int.from_bytes(content[begin - (4 if sign == LOCAL else 18) :][:2], "little")
        if content[begin : begin + size].endswith(name):
            return content[: at + offset] + new + content[at + offset + len(new) :]


def end_put(content: bytes, offset: int, new: bytes) -> bytes:
    at = content.rindex(END) + offset
    return content[:at] + new + content[at + len(new) :]


def both(content: bytes, local: int, central: int, new: bytes) -> bytes:
    return put(put(content, LOCAL, local, new), CENTRAL, central, new)


def duplicated(canary: str) -> bytes:
    """data.pkl twice in the directory, harmless and hostile; which one counts depends on the reader."""
    found = members_of(saved(weights()))
    evil = attacked(canary)
    twin = zipped({"archive/data.pkl": found["archive/data.pkl"], "archive/DATA.pkl": evil, **found})
    return twin.replace(b"archive/DATA.pkl", b"archive/data.pkl")


def two_ends(canary: str) -> bytes:
    """A harmless archive behind a hostile one: readers that look at the front and at the back disagree."""
    return checkpoint(canary) + clean_checkpoint()


def zip64_lies(canary: str) -> bytes:
    """The end record says 0xffffffff, and a 64-bit record that nobody placed should say the rest."""
    content = checkpoint(canary)
    at = content.rindex(END)
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 46, 0)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1)
    return content[:at] + record + locator + content[at : at + 12] + b"\xff" * 8 + b"\0\0"


def linked(_: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("model/weights")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("model/weights/authorized_keys", "ssh-rsa")
    return buffer.getvalue()


def nest(content: bytes, depth: int) -> bytes:
    return content if depth == 0 else nest(zipped({f"{depth}.zip": content}), depth - 1)


def second_name(canary: str) -> bytes:
    """A Unicode path extra field, by which some readers prefer another name."""
    content = zipped({"readme.txt": nested(canary)})
    extra = struct.pack("<HHBI", 0x7075, 5 + 8, 1, 0) + b"data.pkl"
    at = content.index(CENTRAL)
    entry_end = at + 46 + len("readme.txt")
    grown = content[:entry_end] + extra + content[entry_end:]
    grown = grown[: at + 30] + struct.pack("<H", len(extra)) + grown[at + 32 :]
    size = int.from_bytes(content[content.rindex(END) + 12 :][:4], "little") + len(extra)
    return end_put(grown, 12, struct.pack("<I", size))


def _torch(name: str, make: Callable[[str], bytes], loader: str | None = None, source: str = "") -> Artefact:
    return Artefact(f"torch {name}", "torch", make, ending=".pt", loader=loader, source=source)


def _zip(name: str, make: Callable[[str], bytes], ending: str = ".zip") -> Artefact:
    return Artefact(f"zip {name}", "zip", make, ending=ending)


def _bomb(_: str) -> bytes:
    return zipped({"a.pkl": bytes(1 << 25)}, zipfile.ZIP_DEFLATED)


def _legacy(canary: str) -> bytes:
    content = saved(weights(), zipped=False)
    at = (
        content.index(b"\x80\x02ccollections")
        if b"\x80\x02ccollections" in content
        else content.index(b"\x80\x02}", 30)
    )
    return content[: at + 2] + mkdir(canary) + b"0" + content[at + 2 :]


def _source(canary: str) -> bytes:
    return f"import os\nos.mkdir({canary!r})\n".encode()


def _torn(canary: str) -> bytes:
    return clean_checkpoint(**{"data.pkl": ROUTES["by_an_index_torn_by_a_frame"]("os", "mkdir", canary)})


def _behind(canary: str) -> bytes:
    pickle = members_of(saved(weights()))["archive/data.pkl"]
    return clean_checkpoint(**{"data.pkl": pickle[:-1] + mkdir(canary) + b"0."})


HOSTILE_ZIPS: tuple[Artefact, ...] = (
    _torch("checkpoint with an attack", checkpoint, "torch"),
    _torch("packed data.pkl", lambda c: zipped(members_of(checkpoint(c)), zipfile.ZIP_DEFLATED), "torch"),
    _torch(
        "another name in the local header",
        lambda c: put(checkpoint(c), LOCAL, 30, b"archive/data.txt"),
        "torch",
        "CVE-2025-1944",
    ),
    _torch("flag of encryption, local", lambda c: put(checkpoint(c), LOCAL, 6, b"\1\0"), "torch", "CVE-2025-1945"),
    _torch("flag of encryption, directory", lambda c: put(checkpoint(c), CENTRAL, 8, b"\1\0"), None, "CVE-2025-1945"),
    _torch("flag of encryption, both", lambda c: both(checkpoint(c), 6, 8, b"\1\0"), None, "CVE-2025-1945"),
    _torch("flag of patched data", lambda c: both(checkpoint(c), 6, 8, b"\x20\0"), None, "CVE-2025-1945"),
    _torch("wrong checksum", lambda c: both(checkpoint(c), 14, 16, b"abcd"), "torch", "CVE-2025-10156"),
    _torch(
        "wrong checksum in the directory", lambda c: put(checkpoint(c), CENTRAL, 16, b"abcd"), None, "CVE-2025-10156"
    ),
    _torch("other version to extract", lambda c: both(checkpoint(c), 4, 6, b"\xff\0"), "torch"),
    _torch("data.pkl twice", duplicated),
    _torch("data.pkl in two cases", lambda c: checkpoint(c, **{"DATA.PKL": b"N."})),
    _torch("prefix", lambda c: b"x" * 64 + checkpoint(c)),
    _torch("two archives", two_ends),
    _torch("64-bit lies", zip64_lies),
    _torch("several disks", lambda c: end_put(checkpoint(c), 4, b"\1\0")),
    _torch("wrong count of members", lambda c: end_put(checkpoint(c), 8, b"\1\0\1\0")),
    _torch("attack in a storage", lambda c: clean_checkpoint(**{"data/0": nested(c).ljust(48, b"\0")})),
    _torch("attack in a further member", lambda c: clean_checkpoint(notes=nested(c))),
    _torch("program as a storage", lambda c: clean_checkpoint(**{"data/0": b"\x7fELF".ljust(48, b"\0")})),
    _torch("short storage", lambda c: clean_checkpoint(**{"data/0": bytes(4)})),
    _torch("source code as a member", lambda c: clean_checkpoint(**{"code/a.py": b"import os\n"})),
    _torch("attack behind the weights", _behind),
    _torch("pickle before the archive", lambda c: nested(c) + clean_checkpoint(), "pickle", "pickle and zip in one"),
    _torch(
        "memo index torn by a frame",
        _torn,
        "torch",
    ),
    _torch("under a .p ending", nested, "torch", "CVE-2025-1889"),
    _torch("of the old layout", _legacy, "torch"),
    _torch("of the old layout, first pickle", lambda c: nested(c) + saved(weights(), zipped=False), "torch"),
    _torch("7z", lambda c: b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24) + nested(c), None, "nullifAI"),
    _zip("of a pickle", lambda c: zipped({"model.pkl": nested(c)})),
    _zip("of a pickle named readme", lambda c: zipped({"readme.txt": nested(c)}, zipfile.ZIP_DEFLATED)),
    _zip("three deep", lambda c: nest(nested(c), 3)),
    _zip("nine deep", lambda c: nest(nested(c), 9)),
    _zip("packed by bzip2", lambda c: zipped({"model.pkl": nested(c)}, zipfile.ZIP_BZIP2)),
    _zip("packed by lzma", lambda c: zipped({"model.pkl": nested(c)}, zipfile.ZIP_LZMA)),
    _zip("that leads out", lambda c: zipped({"../../evil.py": b"import os"})),
    _zip("that leads to the root", lambda c: zipped({"/etc/cron.d/evil": b"* * * * *"})),
    _zip("with backslashes", lambda c: zipped({"a|..|..|evil": b"x"}).replace(b"a|..|..|evil", b"a\\..\\..\\evil")),
    _zip("with a link", linked),
    _zip("bomb", _bomb),
    _zip("with a second name", second_name),
    _zip("without a directory", lambda c: zipped({"model.pkl": nested(c)})[:-22]),
    Artefact("zip with a module", "zip", lambda c: zipped({"payload.py": _source(c)}), ending=".zip", loader="import"),
)
