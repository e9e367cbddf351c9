"""A pickle machine that builds nothing: it follows every opcode over stack, memo and marks, and notes what a real one
would import, call or change.

What the stream does after its first error would never run, but the machine goes on: an attack behind it is worth
knowing, and a reader more forgiving than CPython might get there.
"""

import re
from dataclasses import dataclass, field

from .arguments import Arguments, is_data, is_made
from .builds import complaint
from .calls import CALLS
from .costs import Costs
from .dialects import Dialect
from .frames import torn
from .names import advice, resolved
from .opcodes import OPCODES, Broken, Reader
from .place import Place
from .result import Outcome
from .source import Source
from .stack import Stack
from .torch_calls import storage_bytes
from .tuples import overgrown, packed
from .values import UNKNOWN, Data, Global, Made, Unknown, Value, name_of

_MAX_INDEX = 1 << 22
_CHECKPOINTS = ("torch-legacy", "torch-zip")
_BATCH = 1024  # opcodes paid for at once
_LOCATION = re.compile(r"[a-z]{2,16}(:\d{1,4})?")
_PLAIN_TEXT = re.compile(r"[^'\"\\\x00-\x1f]*")


@dataclass
class Machine:
    """One pickle from `at` to its STOP.

    >>> from .result import Notes
    >>> from .place import Purse
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> machine = Machine(Reader(Source.of(b"N.")), place)
    >>> machine.run(), machine.result, place.notes.outcome
    (True, None, 'clean')
    """

    reader: Reader
    place: Place
    storages: dict[str, int] | None = None  # key: bytes, filled in; None where persistent ids have no meaning
    result: Value = UNKNOWN
    before_error: Outcome | None = None  # what was noted when the stream first did what a real machine refuses
    at: int = 0
    gadgets: int = 0  # known attacks, by name or by a torn frame: what chance does not write
    dialect: Dialect = field(default_factory=Dialect)
    announced: bool = False  # by a PROTO
    frame_end: int = 0  # a reader that buffers frames has taken all bytes up to here

    def __post_init__(self) -> None:
        self.stack = Stack(self._malformed)
        self.costs = Costs(self.reader.source.size)

    def run(self) -> bool:
        """Follow the stream; True when it reached its STOP, False (and a note) when it broke off.

        >>> from .result import Notes
        >>> from .place import Purse
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Machine(Reader(Source.of(b"N")), place).run()
        False
        """
        steps = 0
        try:
            while self._step() != "stop":
                steps += 1
                if steps % _BATCH == 0:
                    self.place.purse.spend("opcodes", _BATCH)
        except Broken as error:
            self.place.unknown(self.at, "broken pickle", str(error))
            return False
        finally:
            self.place.purse.opcodes -= steps % _BATCH
        return True

    def _step(self) -> str:
        self.at = self.reader.at
        code = self.reader.number(1)
        if code not in _ACTIONS:
            raise Broken(f"byte {code:#04x} is no opcode")
        action, act, decode = _ACTIONS[code]
        value = decode(self.reader)
        if self.at < self.frame_end:
            self._check_frame(action)
        act(self, value)
        return action

    def _check_frame(self, action: str) -> None:
        why = torn(action, self.reader.at, self.frame_end)
        if why is not None:
            if self.announced:  # raw numbers can hold anything, but not behind a PROTO
                self.gadgets += 1
                self._hidden("torn frame", f"the stream {why}, to hide what it does")
            self._malformed(why)

    @property
    def outcome(self) -> Outcome:
        """What a real machine would have met before its first error.

        >>> from .result import Notes
        >>> from .place import Purse
        >>> Machine(Reader(Source.of(b"N.")), Place("x", Notes(), Purse(), lambda source, place: "")).outcome
        'clean'
        """
        return self.place.notes.outcome if self.before_error is None else self.before_error

    def _malformed(self, what: str) -> None:
        self.before_error = self.outcome
        self.place.unknown(self.at, "malformed pickle", f"the stream {what}")

    # -- stack and memo ------------------------------------------------------------------------------------------

    def _on_push(self, value: Value) -> None:
        if self.place.pasted and isinstance(value, str) and not _PLAIN_TEXT.fullmatch(value):
            self.place.unknown(self.at, value, "a text with quotes or control characters, where the loader builds code")
        self.stack.push(value)

    def _on_mark(self, _: Value) -> None:
        self.stack.mark()

    def _on_stop(self, _: Value) -> None:
        self.result = self.stack.pop()

    def _on_pop(self, _: Value) -> None:
        self.stack.drop()

    def _on_pop_mark(self, _: Value) -> None:
        self.stack.since_mark()

    def _on_dup(self, _: Value) -> None:
        self.stack.push(self.stack.top())

    def _on_gather(self, kind: Value) -> None:
        items, target = self.stack.since_mark(), Data(str(kind), self.at)
        self._hold(target, items)
        self.stack.push(target)

    def _hold(self, target: Value, items: list[Value]) -> None:
        kind = target.kind if isinstance(target, Data | Made) else ""
        if kind == "dict":
            self.costs.held(target, items[1::2], hashed=False)
            items = items[::2]
        self.costs.held(target, items, hashed=kind in ("dict", "set", "frozenset"))
        self._check_costs()

    def _check_costs(self) -> None:
        why = self.costs.complaint()
        if why is not None:
            self.place.unknown(self.at, "costs", why)

    def _on_tuple_from_mark(self, _: Value) -> None:
        self._push_tuple(self.stack.since_mark())

    def _on_tuple_of(self, count: Value) -> None:
        assert isinstance(count, int)
        items = [self.stack.pop() for _ in range(count)]
        self._push_tuple(items[::-1])

    def _push_tuple(self, items: list[Value]) -> None:
        self.stack.push(self._grown(packed(items)))

    def _grown(self, value: Value) -> Value:
        if type(value) is not tuple:
            why = overgrown(value, self.reader.source.size)
            if why is not None:
                self.place.unknown(self.at, "tuple", why)
        return value

    def _on_put(self, index: Value) -> None:
        assert isinstance(index, int)
        if not 0 <= index <= _MAX_INDEX:  # CPython's memo is an array up to the highest index
            self._malformed(f"writes to the memo entry {index}")
        self.stack.put(index)

    def _on_memoize(self, _: Value) -> None:
        self.stack.put(len(self.stack.memo))

    def _on_get(self, index: Value) -> None:
        assert isinstance(index, int)
        self.stack.get(index)

    # -- containers: their items were judged when they were pushed -----------------------------------------------

    def _on_append(self, _: Value) -> None:
        item = self.stack.pop()
        self._fill("list", [item])

    def _on_appends(self, _: Value) -> None:
        self._fill("list", self.stack.since_mark())

    def _on_setitem(self, _: Value) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill("dict", [key, value])

    def _on_setitems(self, _: Value) -> None:
        self._fill("dict", self.stack.since_mark())

    def _on_additems(self, _: Value) -> None:
        self._fill("set", self.stack.since_mark())

    def _fill(self, kind: str, items: list[Value]) -> None:
        target = self.stack.top()
        self._hold(target, items)
        if kind == "dict":
            self.dialect.filled(target, items)
        if isinstance(target, Unknown) or is_data(target, kind) or is_made(target, kind):
            return
        self.place.unknown(self.at, name_of(target), "items are put into something that is no plain container")

    # -- names and calls -----------------------------------------------------------------------------------------

    def _named(self, module: str, name: str) -> Global:
        found = self.dialect.named(module, name) or resolved(module, name)
        if found.outcome == "dangerous":
            self.gadgets += 1
            self.place.dangerous(self.at, found.path, "names code that can run commands, open files or import anything")
        elif found.outcome == "unknown":
            self.place.unknown(self.at, found.path, advice(found))
        return found

    def _on_name(self, names: Value) -> None:
        assert isinstance(names, tuple)
        self.stack.push(self._named(str(names[0]), str(names[1])))

    def _on_stack_name(self, _: Value) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if isinstance(name, str) and isinstance(module, str):
            self.stack.push(self._named(module, name))
            return
        self._hidden("computed name", "names code by something that is not a text in the file, to hide what it is")
        self.stack.push(UNKNOWN)

    def _on_instance(self, names: Value) -> None:
        arguments = packed(self.stack.since_mark())
        assert isinstance(names, tuple)
        self._call(self._named(str(names[0]), str(names[1])), arguments)

    def _on_object(self, _: Value) -> None:
        items = self.stack.since_mark()
        if not items:
            self._malformed("builds an object of no class")
        self._call(items[0] if items else UNKNOWN, packed(items[1:]))

    def _on_reduce(self, _: Value) -> None:
        arguments = self.stack.pop()
        self._call(self.stack.pop(), arguments)

    def _on_new(self, _: Value) -> None:
        self._on_reduce(None)  # for the classes of the allowlist, cls.__new__(cls, *args) does what cls(*args) does

    def _on_new_with_keywords(self, _: Value) -> None:
        self.stack.pop()
        arguments = self.stack.pop()
        self.place.unknown(self.at, name_of(self.stack.top()), "is built with keywords, which no harmless file needs")
        self._call(self.stack.pop(), arguments)

    def _on_build(self, _: Value) -> None:
        state = self.stack.pop()
        target = self.stack.top()
        if (
            self.dialect.built(self, target, state)
            or isinstance(target, Unknown)
            or (isinstance(target, Global) and target.outcome != "clean")
        ):
            return
        self._pay_for_state(target, state)
        why = complaint(target, state, self.reader.source.size)
        if why is not None:
            note = self.place.dangerous if isinstance(target, Global) else self.place.unknown
            note(self.at, name_of(target), why)

    def _pay_for_state(self, target: Value, state: Value) -> None:
        if isinstance(state, tuple) and len(state) == 5:  # of an array: its elements are copied
            self.costs.copied(state[-1:], self.at)
            self.costs.recursive += is_data(state[-1], "list")
        elif isinstance(target, Made):
            self.costs.copied((state,), self.at)
        self._check_costs()

    def _call(self, function: Value, arguments: Value) -> None:
        if isinstance(function, Global):
            self.stack.push(self._called(function, arguments))
            return
        if not isinstance(function, Unknown):
            self._hidden(name_of(function), "calls something that the stream does not name")
        self.stack.push(UNKNOWN)

    def _hidden(self, what: str, why: str) -> None:
        # after an error the stack holds anything, which proves no intent
        note = self.place.dangerous if self.before_error is None else self.place.unknown
        note(self.at, what, why)

    def _called(self, function: Global, arguments: Value) -> Value:
        if function.path == "torch.storage._load_from_bytes" and not self._nested_load(arguments):
            return UNKNOWN
        if function.outcome != "clean":
            self.dialect.refused(function.path)
            return UNKNOWN  # noted where it was named
        made = self._made(function.path, arguments)
        if made is None:
            self.place.unknown(self.at, function.path, "is called in a way that no harmless file needs")
            return UNKNOWN
        assert isinstance(arguments, tuple)
        made = self.costs.called(function.path, arguments, self.at, made)
        self._check_costs()
        return self._grown(made)

    def _made(self, path: str, arguments: Value) -> Value:
        rule = self.dialect.rule(path) or CALLS.get(path)
        known: Arguments | None = arguments if isinstance(arguments, tuple) else None
        return rule(known) if rule is not None and known is not None else None

    def _nested_load(self, arguments: Value) -> bool:
        """torch unpickles these bytes again, without asking anybody; what they hold is judged in their own place."""
        self.place.purse.spend("members", 100)  # the same bytes may be named again and again
        match arguments:
            case (bytes() as content,):
                inner = Source.of(content)
            case (Data(kind="bytes") as mark,):
                inner = self.reader.source.part(mark.at, mark.size)
            case _:
                self.place.dangerous(self.at, "torch.storage._load_from_bytes", "unpickles bytes that are computed")
                return False
        nested = self.place.inside("_load_from_bytes")
        kind = self.place.look(inner, nested)
        if kind not in _CHECKPOINTS:
            nested.unknown(0, kind, "stands where torch reads a checkpoint")
        return kind in _CHECKPOINTS

    # -- what only some containers allow -------------------------------------------------------------------------

    def _on_extension(self, code: Value) -> None:
        self.place.unknown(self.at, f"extension {code!r}", "names code by a number that only the loading program knows")
        self.stack.push(UNKNOWN)

    def _on_persistent_line(self, name: Value) -> None:
        self.place.unknown(self.at, name, "leaves the meaning of a persistent id to the loading program")
        self.stack.push(UNKNOWN)

    def _on_persistent(self, _: Value) -> None:
        self.stack.push(self._storage(self.stack.pop()))

    def _storage(self, name: Value) -> Value:
        match name if self.storages is not None else None:
            case ("storage", Global() as kind, str() as key, str() as location, int() as count) | (
                "storage",
                Global() as kind,
                str() as key,
                str() as location,
                int() as count,
                None,
            ):
                width = storage_bytes(kind.path)
                if width and _LOCATION.fullmatch(location) and 0 <= count < 1 << 48:
                    return self._stored(key, width, count)
        if not isinstance(name, Unknown):
            why = "is a persistent id that torch does not write, or stands outside a torch file"
            self.place.unknown(self.at, name_of(name), why)
        return UNKNOWN

    def _stored(self, key: str, width: int, count: int) -> Value:
        assert self.storages is not None
        if self.storages.setdefault(key, width * count) != width * count:
            self.place.unknown(self.at, f"storage {key}", "is given two sizes, so tensors could reach beyond it")
        return Made("storage", key, count)

    def _on_next_buffer(self, _: Value) -> None:
        self.place.unknown(self.at, "NEXT_BUFFER", "takes content that is not in the file")
        self.stack.push(Data("bytes"))

    def _on_readonly_buffer(self, _: Value) -> None:
        self.stack.top()

    def _on_protocol(self, number: Value) -> None:
        self.announced = True
        if isinstance(number, int) and number > 5:
            self._malformed(f"claims protocol {number}, which does not exist")

    def _on_frame(self, size: Value) -> None:
        assert isinstance(size, int)
        self.frame_end = self.reader.at + size
        if self.frame_end > self.reader.source.size:
            self._malformed("holds a frame longer than itself")


_ACTIONS = {code: (action, getattr(Machine, f"_on_{action}"), decode) for code, (action, decode) in OPCODES.items()}
