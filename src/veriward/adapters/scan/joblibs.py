"""joblib's pickles, which hold the bytes of arrays between their opcodes.

joblib.dump writes a NumpyArrayWrapper instead of an array, and the raw elements right behind the BUILD that fills the
wrapper; joblib.load reads them there and goes on with the opcodes that follow. So joblib and plain pickle run
different opcodes of one file, and a reader that miscounts a single byte judges opcodes that nobody runs.
Format: joblib/numpy_pickle.py, NumpyUnpickler.load_build and NumpyArrayWrapper.read_array, joblib 0.10 to 1.6.
"""

import re
from dataclasses import dataclass, field
from math import prod

from .arguments import Arguments, Rule, is_made, is_sizes
from .dialects import Dialect
from .machine import Machine
from .opcodes import Broken, Reader
from .values import Data, Global, Made, Value

_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_MAPPED = ("numpy", "memmap")
_KEYS = {"subclass", "shape", "order", "dtype", "allow_mmap"}  # since 0.10
_ALIGNMENT = "numpy_array_alignment_bytes"  # since 1.2
_LETTERS = re.compile(r"([biufcSUVmM?])(\d{0,9})")
_IDENTIFIERS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_MOST_STATES = 16
_MOST_KEYS = 16


@dataclass
class Joblib(Dialect):
    """What joblib.load does with arrays; with `skips=False`, what pickle.load does: it goes on inside their bytes.

    >>> Joblib().named("joblib.numpy_pickle", "NumpyArrayWrapper").outcome
    'clean'
    """

    skips: bool = True
    stray: str = ""  # a name in the elements that is on no allowlist, and called
    objects: bool = False  # arrays of objects, in which pickle.load reads names by the wrong memo and mixes them up
    wrappers: int = 0
    arrays: int = 0
    _pending: Value = None  # the newest wrapper, until it is built
    _states: dict[int, dict[Value, Value]] = field(default_factory=dict)  # filled since, by where they were made
    _filled_until: int = 0  # the last of the dicts that were ever filled

    def named(self, module: str, name: str) -> Global | None:
        """The wrapper's class, which holds what BUILD gives it and does nothing else.

        >>> Joblib().named("os", "system") is None
        True
        """
        is_kind = self._pending is not None and (module, name) == _MAPPED  # what kind of array it was, never called
        return Global(module, name, "clean") if is_kind or (module, name) == _WRAPPER else None

    def rule(self, path: str) -> Rule | None:
        """Wrappers are made empty.

        >>> Joblib().rule("joblib.numpy_pickle.NumpyArrayWrapper")(())
        Made(kind='wrapper', detail='0', count=0)
        """
        return self._wrapper if path == ".".join(_WRAPPER) else None

    def _wrapper(self, args: Arguments) -> Value:
        if args:
            return None
        self._pending = Made("wrapper", str(self.wrappers), self._filled_until)
        self._states = {}
        self.wrappers += 1
        return self._pending

    def refused(self, path: str) -> None:
        """Remember what the elements call.

        >>> joblib = Joblib(skips=False); joblib.refused("a.B"); joblib.stray
        'a.B'
        """
        module = path.rpartition(".")[0]
        mixed = self.objects and ("." not in module or module == _WRAPPER[0])
        if not mixed and _IDENTIFIERS.fullmatch(path):
            self.stray = self.stray or path

    def filled(self, target: Value, items: list[Value]) -> None:
        """Remember what is put into dicts while a wrapper waits for its state.

        >>> Joblib().filled(Data("dict", 3), ["order", "C"])
        """
        if not isinstance(target, Data):
            return
        self._filled_until = max(self._filled_until, target.at)
        if self._pending is None:
            return
        if len(items) > 2 * _MOST_KEYS or len(self._states) >= _MOST_STATES:
            self._pending = None  # joblib fills one dict with six keys; this wrapper will be refused
            return
        self._states.setdefault(target.at, {}).update(zip(items[::2], items[1::2], strict=False))

    def built(self, machine: Machine, target: Value, state: Value) -> bool:
        """Read the array whose wrapper is complete now.

        >>> from .place import Place, Purse
        >>> from .result import Notes
        >>> from .source import Source
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Joblib().built(Machine(Reader(Source.of(b"N.")), place), Made("tensor"), None)
        False
        """
        if not is_made(target, "wrapper"):
            return False
        if self.skips:
            self.arrays += 1
            self._read(machine, target, state)
            machine.stack.pop()
            machine.stack.push(Made("array"))
        return True

    def _read(self, machine: Machine, target: Value, state: Value) -> None:
        fields = self._fields(target, state)
        if not _KEYS <= fields.keys() <= _KEYS | {_ALIGNMENT} or not _is_sound(fields):
            raise Broken("an array wrapper that joblib does not write, so nobody knows where its bytes end")
        self._pending = None
        if machine.reader.at < machine.frame_end:
            # joblib reads past its buffer: it would take the array from behind the frame, and then go on in the frame
            why = "stands inside a frame, so joblib looks for the bytes of the array somewhere else than behind it"
            machine.place.dangerous(machine.at, "array wrapper", why)
            raise Broken("an array wrapper inside a frame")
        dtype = fields["dtype"]
        assert isinstance(dtype, Made)
        if dtype.detail.startswith("O"):
            self.objects = True
            _read_objects(machine)
        else:
            _skip_elements(machine, fields, dtype.detail)

    def _fields(self, target: Value, state: Value) -> dict[Value, Value]:
        """The whole state: of a dict that was made and filled after the wrapper, and of a wrapper built only once."""
        if isinstance(target, Made) and isinstance(state, Data) and target == self._pending and state.at > target.count:
            return self._states.get(state.at, {})
        return {}


def _is_sound(fields: dict[Value, Value]) -> bool:
    subclass, alignment = fields["subclass"], fields.get(_ALIGNMENT)
    return (
        isinstance(subclass, Global)
        and is_sizes(fields["shape"])
        and fields["order"] in ("C", "F")
        and isinstance(fields["allow_mmap"], bool)
        and is_made(fields["dtype"], "dtype")
        and (alignment is None or (type(alignment) is int and 0 < alignment <= 4096))
    )


def _read_objects(machine: Machine) -> None:
    """Arrays of objects are a pickle of their own, read from where the outer one stands."""
    inner = Machine(Reader(machine.reader.source, machine.reader.at), machine.place)
    if not inner.run():
        raise Broken("the pickle of an array of objects is broken")
    if inner.frame_end > inner.reader.at:
        why = "ends before its last frame does, so joblib goes on somewhere else than behind it"
        machine.place.dangerous(inner.at, "array of objects", why)
        raise Broken("a frame that reaches beyond its pickle")
    machine.reader.at = inner.reader.at


def _skip_elements(machine: Machine, fields: dict[Value, Value], letters: str) -> None:
    shape = fields["shape"]
    assert isinstance(shape, tuple)
    size = prod(side for side in shape if isinstance(side, int)) * _item_bytes(letters)
    alignment = fields.get(_ALIGNMENT)
    if isinstance(alignment, int):
        _skip_padding(machine, alignment)
    if machine.reader.at + size > machine.reader.source.size:
        raise Broken(f"an array of {size} bytes that reaches beyond the end")
    machine.reader.at += size


def _skip_padding(machine: Machine, alignment: int) -> None:
    """One byte says how many follow; joblib believes it, and writes as many 0xff as align the elements."""
    reader = machine.reader
    wanted = alignment - (reader.at + 1) % alignment
    count = reader.number(1)
    filler = reader.take(count)
    if count != wanted or filler != b"\xff" * count:
        machine.place.unknown(machine.at, f"padding of {count} bytes", "is not what joblib writes before an array")


def _item_bytes(letters: str) -> int:
    match = _LETTERS.fullmatch(letters)
    if match is None or letters[1:] == "0":
        raise Broken(f"an array of elements of type {letters[:20]}")
    if match[1] in "mM":
        return 8
    return int(match[2] or 1) * (4 if match[1] == "U" else 1)
