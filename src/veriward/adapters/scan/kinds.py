"""What a file is, by its bytes. Its name and its ending are claims of whoever sent it, so nobody looks at them."""

import codecs
import re

from .arrays import MAGIC as NPY
from .compressed import OLD_JOBLIB
from .protobuf_kinds import protobuf_kind
from .safetensors import looks_like_safetensors
from .source import Source
from .zips import END, LOCAL, has_directory

_PROBE = 1 << 16

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (LOCAL, "zip"),
    (END, "zip"),
    (NPY, "npy"),
    (b"\x7fELF", "executable"),
    (b"MZ", "executable"),
    (b"\xfe\xed\xfa\xce", "executable"),
    (b"\xfe\xed\xfa\xcf", "executable"),
    (b"\xce\xfa\xed\xfe", "executable"),
    (b"\xcf\xfa\xed\xfe", "executable"),
    (b"\xca\xfe\xba\xbe", "executable"),
    (b"#!", "executable"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"GGUF", "gguf"),
    (b"\x1f\x8b", "compressed"),
    (b"BZh", "compressed"),
    (b"\xfd7zXZ\0", "compressed"),
    (b"\x28\xb5\x2f\xfd", "compressed"),
    (b"\x04\x22\x4d\x18", "compressed"),
    (b"7z\xbc\xaf\x27\x1c", "compressed"),
    (b"{L\0", "xgboost"),
    (b"binf", "xgboost"),
    (b"tree\nversion=", "lightgbm"),
    (b"PAR1", "parquet"),
    (b"SQLite format 3\0", "sqlite"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
)
_XGBOOST = re.compile(rb'\s*\{\s*("version"\s*:\s*\[[\d,\s]{1,64}\]\s*,\s*)?"learner"\s*:')
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x5d\0\0[\x00-\xff]{2}", re.DOTALL)  # or lzma, before xz
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def sniffed(source: Source) -> str:
    r"""The kind that the first bytes claim; "text" or "unknown" where none does.

    >>> sniffed(Source.of(b"\x80\x02N.")), sniffed(Source.of(b"hello")), sniffed(Source.of(b""))
    ('pickle', 'text', 'empty')
    """
    lead = source.read(0, 16)
    if not lead:
        return "empty"
    for signature, kind in _SIGNATURES:
        if lead.startswith(signature):
            return kind
    if looks_like_safetensors(source):
        return "safetensors"
    if starts_like_pickle(source):
        return "pickle"
    if source.read(257, 5) == b"ustar":
        return "tar"
    if lead[4:8] == b"TFL3":
        return "tflite"
    return _sniffed_weakly(source, lead)


def starts_like_pickle(source: Source) -> bool:
    r"""Whether the first two bytes are a PROTO opcode of a protocol that exists.

    >>> starts_like_pickle(Source.of(b"\x80\x04"))
    True
    """
    lead = source.read(0, 2)
    return len(lead) == 2 and lead[0] == 0x80 and lead[1] <= 5


def _sniffed_weakly(source: Source, lead: bytes) -> str:
    if has_directory(source):
        return "zip"  # with something before its first member, which the reader of zips will tell
    if _is_text(source):
        if _XGBOOST.match(source.read(0, 256)):
            return "xgboost"
        return "json" if lead.lstrip()[:1] in (b"{", b"[") else "text"
    if _ZLIB.match(lead) or lead.startswith(OLD_JOBLIB):
        return "compressed"
    return protobuf_kind(source) or "unknown"


def _is_text(source: Source) -> bool:
    try:
        # incremental: the probe may cut a character in two
        text = codecs.getincrementaldecoder("utf-8")().decode(source.read(0, _PROBE))
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(text) is None
