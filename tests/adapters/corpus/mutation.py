"""Mutations of pickles and archives, drawn from a seed: some know opcodes, some know nothing."""

import pickletools
import random
import struct

from .assembly import call, line, named, push, short

# Pieces whose insertion changes what a stream means.
PIECES: tuple[bytes, ...] = (
    *(b"%c" % code for code in b"()].}0122NRobtaesudl\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x98Q"),
    *(b"%c%c" % (code, index) for code in b"hq" for index in (0, 1, 2, 3)),
    b"r\x01\0\0\0",
    b"j\x01\0\0\0",
    b"p1\n",
    b"g1\n",
    b"K\x05",
    b"I01\n",
    b"I0x1\n",
    b"L1L\n",
    b"F1\n",
    b"\x80\x02",
    b"\x80\x05",
    b"\x95" + bytes(8),
    b"\x82\x01",
    b"\x97",
    short("os"),
    short("system"),
    short("collections"),
    short("OrderedDict"),
    short("__setstate__"),
    b"V" + line("posix"),
    b"S'system'\n",
    b"cos\nsystem\n",
    b"c__builtin__\nset\n",
    b"ccopy_reg\n_reconstructor\n",
    b"(Vid\nios\nsystem\n",
    named("collections:OrderedDict"),
    named("numpy:dtype"),
    named("torch._utils:_rebuild_tensor_v2"),
    named("builtins:list"),
    named("mymodel:Net"),
    call("collections:OrderedDict"),
    call("builtins:set", [1]),
    push({"a": 1}),
)


def boundaries(content: bytes) -> list[int]:
    """Where opcodes begin, as far as pickletools can tell."""
    found: list[int] = []
    try:
        for _, _, at in pickletools.genops(content):
            if at is not None:
                found.append(at)
    except Exception:
        pass
    return found or [0]


def mutated(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One to four changes; `other` is a pickle to splice with."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        content = draw.choice(_WAYS)(content, other, draw)
    return content


def _place(content: bytes, draw: random.Random) -> tuple[int, int]:
    """The start of an opcode and of a later one."""
    starts = boundaries(content)
    first = draw.randrange(len(starts))
    last = min(first + draw.choice((1, 1, 1, 2, 3, 8)), len(starts))
    return starts[first], starts[last] if last < len(starts) else len(content)


def _flip(content: bytes, _: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) or 1)
    return content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]


def _cut(content: bytes, _: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) or 1)]


def _insert(content: bytes, _: bytes, draw: random.Random) -> bytes:
    at, _end = _place(content, draw)
    return content[:at] + b"".join(draw.choices(PIECES, k=draw.choice((1, 1, 2, 4)))) + content[at:]


def _delete(content: bytes, _: bytes, draw: random.Random) -> bytes:
    at, end = _place(content, draw)
    return content[:at] + content[end:]


def _repeat(content: bytes, _: bytes, draw: random.Random) -> bytes:
    at, end = _place(content, draw)
    return content[:end] + content[at:end] + content[end:]


def _splice(content: bytes, other: bytes, draw: random.Random) -> bytes:
    at, end = _place(other, draw)
    begin, _end = _place(content, draw)
    return content[:begin] + other[at:end] + content[begin:]


def _join(content: bytes, other: bytes, draw: random.Random) -> bytes:
    begin, _end = _place(content, draw)
    at, _end = _place(other, draw)
    return content[:begin] + other[at:]


def _follow(content: bytes, other: bytes, _: random.Random) -> bytes:
    return content + other


def _number(content: bytes, _: bytes, draw: random.Random) -> bytes:
    """Change an argument: the byte behind an opcode, or a length of four bytes."""
    at, _end = _place(content, draw)
    if draw.random() < 0.5:
        return content[: at + 1] + bytes([draw.choice((0, 1, 2, 255, draw.randrange(256)))]) + content[at + 2 :]
    value = draw.choice((0, 1, 255, 65536, 1 << 31, (1 << 32) - 1))
    return content[: at + 1] + struct.pack("<I", value) + content[at + 5 :]


def _frame(content: bytes, _: bytes, draw: random.Random) -> bytes:
    """A frame that begins before an opcode and ends anywhere."""
    at, _end = _place(content, draw)
    return content[:at] + b"\x95" + struct.pack("<Q", draw.randint(0, min(40, len(content) - at))) + content[at:]


_WAYS = (_frame, _flip, _cut, _insert, _insert, _delete, _repeat, _splice, _join, _follow, _number)


def mutated_zip(content: bytes, draw: random.Random) -> bytes:
    """Change bytes of headers: those near the signatures of local headers, the directory and its end."""
    spoilt = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        signs = [at for sign in (b"PK\3\4", b"PK\1\2", b"PK\5\6") for at in _all(bytes(spoilt), sign)]
        at = (draw.choice(signs) if signs else 0) + draw.randrange(46)
        match draw.randrange(6):
            case 0:
                del spoilt[at : at + draw.randint(1, 4)]
            case 1:
                spoilt[at:at] = draw.randbytes(draw.randint(1, 4))
            case 2:
                spoilt[at : at + 4] = struct.pack("<I", draw.choice((0, 1, 22, 30, 0xFFFFFFFF, len(spoilt))))
            case _:
                if at < len(spoilt):
                    spoilt[at] = draw.choice((0, 1, 8, 0xFF, draw.randrange(256)))
    return bytes(spoilt)


def _all(content: bytes, sign: bytes) -> list[int]:
    found, at = [], content.find(sign)
    while at >= 0:
        found.append(at)
        at = content.find(sign, at + 1)
    return found
