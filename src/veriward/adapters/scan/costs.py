"""What building a pickle costs whoever loads it, beyond reading it once.

The memo lets a stream name one list of a million items a million times, and copy it each time; or use one tuple of a
million numbers as the key of a million dicts, and hash it each time, for neither tuples nor integers remember their
hash. Numbers have known hashes, too: keys that collide make a dict as slow as the square of its size. And arrays of
objects, deques and defaultdicts free what they hold by recursion, which overflows the stack of CPython when they lie
too deep in one another. Source: Objects/tupleobject.c, longobject.c, dictobject.c; Modules/_collectionsmodule.c.
"""

from dataclasses import dataclass, field

from .tuples import extent
from .values import Data, Made, Value
from .words import words

_FREE = 1 << 26  # steps and bytes that any file may cost
_PER_BYTE = 16
_MOST_UNSEEN = 20_000  # keys whose hashes are not computed here; the square of it takes seconds
_MOST_ALIKE = 256  # different keys of one hash
_MOST_RECURSIVE = 10_000
_PRIME = (1 << 61) - 1  # integers are hashed modulo this number
_HASHED = ("set", "frozenset", "dict")
COPIES = words(
    """
    builtins.list builtins.tuple builtins.set builtins.frozenset builtins.dict builtins.bytes builtins.bytearray
    collections.OrderedDict collections.Counter collections.defaultdict collections.deque
    _codecs.encode copyreg._reconstructor
    """
)
_RECURSIVE = words("collections.defaultdict collections.deque")


@dataclass
class Costs:
    """The costs of one pickle, of `size` bytes; `complaint` says what is too much.

    >>> costs = Costs(100)
    >>> costs.held(Data("dict", 1), [(1, 2), None], hashed=True); costs.complaint() is None
    True
    """

    size: int
    spent: int = 0
    unseen: int = 0
    recursive: int = 0
    alike: int = 0
    _loads: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # what a container holds, by where it began
    _keys: dict[int, set[Value]] = field(default_factory=dict)  # by hash

    def complaint(self) -> str | None:
        """What a loader would take too long or too much memory for.

        >>> Costs(0, unseen=1 << 20).complaint()
        'has keys whose hashes may collide, which takes the square of their number'
        """
        if self.spent > _FREE + _PER_BYTE * self.size:
            return "copies or hashes the same content again and again"
        if self.alike > _MOST_ALIKE or self.unseen > _MOST_UNSEEN:
            return "has keys whose hashes may collide, which takes the square of their number"
        if self.recursive > _MOST_RECURSIVE:
            return "has so many containers that free each other by recursion that they may overflow the stack"
        return None

    def held(self, target: Value, items: list[Value], *, hashed: bool) -> None:
        """Items go into a container, as its keys if `hashed`.

        >>> costs = Costs(0); costs.held(None, [tuple(range(9))], hashed=True); costs.spent
        10
        """
        parts = unseen = deep = 0
        for item in items:
            if _is_light(item):
                continue
            weight, depth = extent(item)
            parts += weight
            deep = max(deep, depth)
            unseen += self._is_unseen(item)
        self.spent += parts
        self.unseen += unseen if hashed else 0
        if parts and isinstance(target, Data):
            before = self._loads.get(target.at, (0, 0, 0))
            self._loads[target.at] = before[0] + parts, before[1] + unseen, max(before[2], deep)

    def _is_unseen(self, item: Value) -> bool:
        """Whether a key may have any hash; where it is computed, count the keys that share it."""
        if isinstance(item, tuple) and len(item) == 2:  # dict() takes it for a key and its value
            self._is_unseen(item[0])
        if isinstance(item, Made):
            return item.kind == "plain" and item.detail != "moment"
        if isinstance(item, tuple) and any(isinstance(part, str | bytes) for part in item):
            return False  # nobody can predict the hash of a text
        if not _is_number(item):
            return isinstance(item, tuple) or (isinstance(item, Data) and item.kind in ("tuple", "frozenset", "int"))
        same = self._keys.setdefault(hash(item), set())
        if len(same) <= _MOST_ALIKE:
            same.add(item)
            self.alike = max(self.alike, len(same))
        return False

    def called(self, path: str, arguments: tuple[Value, ...], at: int, made: Value) -> Value:
        """What an allowed call costs; returns what it made, with what is known of its content.

        >>> Costs(9).called("builtins.list", ((1, 2),), 7, Data("list"))
        Data(kind='list', at=7, size=0, depth=0)
        """
        self.recursive += path in _RECURSIVE
        if path not in COPIES:
            return made
        self.copied(arguments, at)
        if not isinstance(made, Data) or len(arguments) != 1:
            return made
        return self._carried(made, arguments[0], at)

    def copied(self, values: tuple[Value, ...], at: int) -> None:
        """The loader copies these at `at`. A container holds no more items than bytes since it began.

        >>> costs = Costs(0); costs.copied((Data("list", 10),), 50); costs.spent
        40
        """
        for value in values:
            if isinstance(value, Data) and value.kind in ("bytes", "str"):
                self.spent += value.size
            elif isinstance(value, str | bytes):
                self.spent += len(value)
            elif isinstance(value, Data) and value.kind != "tuple":
                self.spent += at - value.at + self._loads.get(value.at, (0, 0, 0))[0]
            elif isinstance(value, Made) and value.kind in ("dict", "list"):
                self.spent += at
            else:
                self.spent += extent(value)[0]

    def _carried(self, made: Data, source: Value, at: int) -> Value:
        """A copy holds what its source holds."""
        if not isinstance(source, Data) or source.kind == "tuple":
            inside = [source, *(source if isinstance(source, tuple) else ())]
            self.held(Data(made.kind, at), inside, hashed=made.kind in _HASHED)
            return source if made.kind == "tuple" else Data(made.kind, at)
        parts, unseen, depth = self._loads.get(source.at, (0, 0, 0))
        self.unseen += unseen if made.kind in _HASHED else 0
        if made.kind == "tuple":
            return Data("tuple", source.at, 1 + at - source.at + parts, depth + 1)
        return Data(made.kind, source.at)


def _is_number(value: Value) -> bool:
    """Whether a value is a number or made of numbers, so that its hash is the same in every process."""
    return isinstance(value, int) or (isinstance(value, tuple) and all(_is_number(part) for part in value))


def _is_light(value: Value) -> bool:
    """Whether a key is hashed at once, and shares its hash with no other number by design."""
    return value is None or isinstance(value, str | bytes) or (isinstance(value, int) and -_PRIME < value < _PRIME)
