"""An assembler of pickles: values and calls become opcodes, without an object of theirs ever existing."""

import struct


class Code(bytes):
    """Opcodes that leave one value on the stack."""


def text(value: str) -> Code:
    content = value.encode("utf-8", "surrogatepass")
    return Code(b"X" + struct.pack("<I", len(content)) + content)


def push(value: object) -> Code:
    """The opcodes of a plain value, or the code itself."""
    match value:
        case Code():
            return value
        case None | True | False:
            return Code({None: b"N", True: b"\x88", False: b"\x89"}[value])
        case int():
            return Code(b"\x8a\x08" + struct.pack("<q", value))
        case float():
            return Code(b"G" + struct.pack(">d", value))
        case str():
            return text(value)
        case bytes():
            return Code(b"B" + struct.pack("<I", len(value)) + value)
        case tuple():
            return Code(b"(" + b"".join(map(push, value)) + b"t")
        case list():
            return Code(b"](" + b"".join(map(push, value)) + b"e")
        case dict():
            pairs = b"".join(push(key) + push(item) for key, item in value.items())
            return Code(b"}(" + pairs + b"u")
    raise TypeError(f"no opcodes for {type(value).__name__}")


def named(path: str) -> Code:
    """STACK_GLOBAL of "module:name"; the name may be dotted."""
    module, name = path.split(":")
    return Code(text(module) + text(name) + b"\x93")


def call(function: str | Code, *args: object) -> Code:
    """REDUCE of a function, named as "module:name" or left by other opcodes."""
    target = function if isinstance(function, Code) else named(function)
    return Code(target + push(args) + b"R")


def build(target: Code, state: object) -> Code:
    return Code(target + push(state) + b"b")


def then(*codes: Code) -> Code:
    """Several values one after the other, of which the last one stays."""
    return Code(b"0".join(codes))


def stream(code: Code, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + code + b"."


def framed(code: Code) -> bytes:
    body = code + b"."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def line(content: str) -> bytes:
    return content.encode() + b"\n"


def short(content: str) -> bytes:
    return b"\x8c" + bytes([len(content.encode())]) + content.encode()
