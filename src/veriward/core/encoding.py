"""What a file that is not UTF-8 is probably written in, so that its owner can convert it."""

import codecs
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

PIECE = 1 << 20
AROUND = 1 << 16  # bytes before and after the first that is not UTF-8
BOMS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
# lead bytes of the characters that texts are made of: punctuation, and the frequent half of the ideographs
FREQUENT = {"gb18030": ((0xA1, 0xA3), (0xB0, 0xD7)), "big5": ((0xA1, 0xA3), (0xA4, 0xC6))}
CONVINCING = 0.9  # share of the characters beyond ASCII that must be frequent ones


def advice(path: Path) -> str | None:
    """Return which encoding a text file that is not UTF-8 probably has, and how to convert it; None for UTF-8."""
    part = _first_broken(path)
    if part is None:
        return None
    encoding = guess(part)
    packed = path.suffix == ".gz"
    source = f"gunzip -c {path.name} | iconv" if packed else "iconv"
    target = f"utf8-{path.name.removesuffix('.gz')}"
    command = f"{source} -f {encoding} -t UTF-8 {'' if packed else path.name + ' '}> {target}"
    return f"it is not UTF-8 but probably {encoding}: {command}"


def guess(part: bytes) -> str:
    """Return the probable encoding of bytes that are not UTF-8, as iconv calls it.

    >>> guess("性别,年龄".encode("gb18030"))
    'GB18030'
    >>> guess("café;1".encode("cp1252"))
    'CP1252'
    """
    for bom, name in BOMS.items():
        if part.startswith(bom):
            return name
    shares = {name: _frequent(part, name) for name in FREQUENT}
    best = max(shares, key=lambda name: shares[name])
    return best.upper() if shares[best] >= CONVINCING else "CP1252"


def _frequent(part: bytes, encoding: str) -> float:
    """Return which share of the characters beyond ASCII are frequent ones, read in this encoding; broken ones are not."""
    seen = good = 0
    for sign in part.decode(encoding, errors="replace"):
        if sign > "\x7f":
            seen += 1
            lead = 0 if sign == "\ufffd" else sign.encode(encoding)[0]
            good += any(low <= lead <= high for low, high in FREQUENT[encoding])
    return good / seen if seen else 0.0


def _first_broken(path: Path) -> bytes | None:
    """Return the bytes around the first one that is not UTF-8, from the start of a line; None if there is none."""
    opener: Callable[..., IO[Any]] = gzip.open if path.suffix == ".gz" else open
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = b""
    try:
        with opener(path, "rb") as file:
            while piece := file.read(PIECE):
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError as error:
                    return _cut(before, piece, error.start)
                before = piece[-AROUND:]
    except (OSError, EOFError):  # damaged: told elsewhere
        return None
    return None


def _cut(before: bytes, piece: bytes, place: int) -> bytes:
    whole, place = before + piece, len(before) + place
    start = max(whole.rfind(b"\n", 0, place) + 1, place - AROUND)  # a line's start never cuts a character in two
    start = start if before or start > AROUND else 0
    return whole[start : place + AROUND]
