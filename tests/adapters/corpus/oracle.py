"""What a real unpickler would import or call, asked of three machines that are not ours. Run as a program of its own.

CPython's unpickler in C, the one in Python, and a walk over pickletools.genops. Names on the allowlist become inert
stand-ins; whatever else is named, called or fetched is answered as an event. Memory is limited by the operating system:
a memo index in a mutated pickle may ask for gigabytes.

Speaks binary on its standard streams: a line of JSON with the allowlist; then for each pickle a byte (whether
persistent ids are allowed), the length in four bytes and the content, answered by a line of JSON with events.
"""

import io
import json
import pickle
import pickletools
import resource
import struct
import sys
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MEMORY = 1 << 28
allowed: set[str] = set()
events: list[str] = []


class _SetState:
    """BUILD on an object is what honest pickles do; BUILD on a class or function changes the program."""

    def __get__(self, owned: object, owner: type) -> Callable[[object], None]:
        if owned is None:
            events.append("state for a class")
        return lambda state: None


class Inert:
    """Stands for every class of the allowlist, and for what its calls return."""

    __setstate__ = _SetState()

    def __new__(cls, *args: object, **keywords: object) -> "Inert":
        return object.__new__(cls)

    def __init__(self, *args: object, **keywords: object) -> None:
        pass

    def __call__(self, *args: object, **keywords: object) -> "Inert":
        events.append("call of what a call returned")
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, *values: object) -> None:
        pass

    extend = add = update = append


def is_allowed(module: str, name: str) -> bool:
    module2, name2 = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return "." not in name and bool({f"{module}.{name}", f"{module2}.{name2}"} & allowed)


def find_class(self: object, module: str, name: str) -> type[Inert]:
    if not is_allowed(module, name):
        events.append(f"{module}.{name}")
        raise pickle.UnpicklingError("not on the allowlist")
    return type("Named", (Inert,), {})


def _fetch(self: object, name: object) -> Inert:
    return Inert()


def _refuse(self: object, name: object) -> None:
    events.append("persistent id")
    raise pickle.UnpicklingError("persistent id")


def _extension(self: object, code: int) -> None:
    events.append("extension")
    raise pickle.UnpicklingError("extension")


def _machine(base: Any, fetch: Callable[..., object]) -> Any:
    return type("Machine", (base,), {"find_class": find_class, "persistent_load": fetch, "get_extension": _extension})


def unpickle(machine: Any, stream: io.BytesIO | io.BufferedReader) -> None:
    """Pickle after pickle. CPython reads a stream that it can peek into otherwise than one that it cannot."""
    with suppress(Exception):
        while True:
            machine(stream).load()


_TAKES_TEXT = ("UNICODE", "STRING")


def walk(content: bytes) -> None:
    """Names as pickletools reads them, with a stack of texts; unknown values are None."""
    with suppress(Exception):
        stream = io.BytesIO(content)
        while True:
            _walk_one(stream)


def _walk_one(stream: io.BytesIO) -> None:
    stack: list[str | None] = []
    memo: dict[int, str | None] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = argument.partition(" ")
            _note(module, name)
        elif opcode.name == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            if isinstance(name, str) and isinstance(module, str):
                _note(module, name)
        _follow(opcode, argument, stack, memo)


def _note(module: str, name: str) -> None:
    if not is_allowed(module, name):
        events.append(f"{module}.{name}")


def _follow(opcode: Any, argument: Any, stack: list[str | None], memo: dict[int, str | None]) -> None:
    if "PUT" in opcode.name or opcode.name == "MEMOIZE":
        memo[len(memo) if argument is None else argument] = stack[-1]
    elif "GET" in opcode.name:
        stack.append(memo.get(argument))
    elif any(kind in opcode.name for kind in _TAKES_TEXT):
        stack.append(argument)
    elif opcode.name == "DUP":
        stack.append(stack[-1])
    elif opcode.name == "POP":
        stack.pop()
    elif any(kind is pickletools.markobject for kind in opcode.stack_before):
        stack.clear()  # what lies below a mark is rarely a name; forgetting is on the side of silence
    elif opcode.name != "STACK_GLOBAL":
        del stack[len(stack) - len(opcode.stack_before) :]
        stack.extend([None] * len(opcode.stack_after))
    else:
        stack.append(None)


def main() -> None:
    warnings.simplefilter("ignore")  # of escapes in mutated texts
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    allowed.update(json.loads(source.readline()))
    machines = {
        flag: [_machine(base, fetch) for base in (pickle.Unpickler, pickle._Unpickler)]  # type: ignore[attr-defined]
        for flag, fetch in ((0, _refuse), (1, _fetch))
    }
    while head := source.read(5):
        flag, size = struct.unpack("<BI", head)
        content = source.read(size)
        events.clear()
        for machine in machines[flag]:
            unpickle(machine, io.BytesIO(content))
            unpickle(machine, io.BufferedReader(io.BytesIO(content), 32))
        walk(content)
        answers.write(json.dumps(sorted(set(events))[:9]).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
