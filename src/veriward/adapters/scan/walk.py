"""A walk over the nodes of a skops file: what they ask for, and whether the allowlists grant it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .arrays import BadArray, Header, read_header
from .gadgets import is_gadget
from .pickles import scan_raw
from .place import Place
from .prints import Prints
from .source import Source
from .unpack import unpacked
from .zips import Archive

Node: TypeAlias = dict[str, Any]
Loaders: TypeAlias = "Mapping[str, tuple[frozenset[str], Callable[[Walk, Node], None]]]"


@dataclass(frozen=True)
class Estimator:
    """The estimator around a node: how many columns it takes, and whether it checks them for trees below it.

    >>> Estimator(4).forest
    False
    """

    features: int = 0
    forest: bool = False


@dataclass
class Walk:
    """A walk over all nodes: what it found of types and files, and what each id stood for.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> walk = Walk(Archive(Source.of(b""), ()), place, {"": (frozenset(), lambda walk, node: None)})
    >>> walk.visit({"__loader__": "ObjectNode", "__module__": "os", "__class__": "system"})
    >>> walk.types, place.notes.outcome
    ({'os.system'}, 'dangerous')
    """

    archive: Archive
    place: Place
    loaders: Loaders
    types: set[str] = field(default_factory=set)
    files: dict[str, Header | None] = field(default_factory=dict)
    by_id: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    prints: Prints = field(default_factory=Prints)
    estimator: Estimator = Estimator()
    trees: int = 0  # seen so far
    homes: dict[int, Estimator] = field(default_factory=dict)  # by id: what stands around nodes with trees in them

    def visit(self, node: object) -> None:
        """Judge a node and all below it.

        >>> from .place import Purse
        >>> from .result import Notes
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Walk(Archive(Source.of(b""), ()), place, {}).visit(3); place.notes.outcome
        'unknown'
        """
        if not isinstance(node, dict) or not isinstance(node.get("__loader__"), str):
            self.place.unknown(0, type(node).__name__, "stands where a node should be")
        elif node["__loader__"] == "CachedNode":
            self._cached(node)
        else:
            self._check_id(node)
            before = self.trees
            self._open(node)
            if self.trees > before and type(node.get("__id__")) is int:
                self.homes.setdefault(node["__id__"], self.estimator)

    def _open(self, node: Node) -> None:
        loader = node["__loader__"]
        path = f"{node.get('__module__')}.{node.get('__class__')}"
        self.types.add(path)
        accepted, look_inside = self.loaders.get(loader, self.loaders[""])
        self.judge(path, accepted, loader)
        try:
            look_inside(self, node)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            self.place.unknown(0, path, f"is a {loader[:40]} of another shape ({type(error).__name__})")

    def judge(self, path: str, accepted: frozenset[str], loader: str) -> None:
        """Note a type that its loader may not build.

        >>> from .place import Purse
        >>> from .result import Notes
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Walk(Archive(Source.of(b""), ()), place, {}).judge("a.B", frozenset(), "ObjectNode"); place.notes.outcome
        'unknown'
        """
        if path in accepted:
            return
        if is_gadget(*path.rpartition(".")[::2]):
            self.place.dangerous(0, path, "names code that can run commands, open files or import anything")
        else:
            self.place.unknown(0, path, f"is not on the allowlist of {loader[:40]}")

    def _cached(self, node: Node) -> None:
        if node.get("__id__") not in self.by_id:
            self.place.unknown(0, "CachedNode", "refers to a node that does not stand before it")
        home = self.homes.get(node.get("__id__"))  # type: ignore[arg-type]  # other keys are not found
        if home is None:
            return
        self.trees += 1
        if home != self.estimator:  # trees read as many columns of the input as the estimator around them checked
            why = "brings trees from another estimator, which may take other columns"
            self.place.unknown(0, "CachedNode", why)

    def _check_id(self, node: Node) -> None:
        """skops builds the first node of an id and ignores the others, so all must say the same."""
        number = node.get("__id__")
        if number is None:
            return
        if type(number) is not int:  # 1.0 and True would be found under 1
            self.place.unknown(0, f"id {number}", "is no number")
            return
        file = None if node["__loader__"].startswith("Byte") else node.get("file")
        said = (self.prints.of(node), str(file))
        if self.by_id.setdefault(number, said) != said:
            self.place.dangerous(0, f"id {number}", "stands for two different nodes, and loaders take the first")

    def header(self, name: str, kind: str) -> Header | None:
        """Check a member that a node refers to, once; answers its header if it is an array.

        >>> from .place import Purse
        >>> from .result import Notes
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Walk(Archive(Source.of(b""), ()), place, {}).header("a.npy", "npy"); place.notes.outcome
        'unknown'
        """
        if name not in self.files:
            self.files[name] = None
            self.files[name] = self._checked(name, kind)
        return self.files[name]

    def _checked(self, name: str, kind: str) -> Header | None:
        content = self.content(name)
        if content is None:
            return None
        inner = self.place.inside(name)
        if kind == "bytes":
            scan_raw(content, inner)
            return None
        found = self.place.look(content, inner)
        if found != kind:
            inner.unknown(0, found, f"stands where the file promises {kind}")
        return _read_numbers(content, inner) if found == kind == "npy" else None

    def content(self, name: str) -> Source | None:
        """The bytes of a member that a node refers to.

        >>> from .place import Purse
        >>> from .result import Notes
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Walk(Archive(Source.of(b""), ()), place, {}).content("a.npy") is None
        True
        """
        member = self.archive.named(name)
        if member is None:
            self.place.unknown(0, name, "is a member that a node refers to and that is missing")
            return None
        return unpacked(self.archive, member, self.place.inside(name))


def _read_numbers(content: Source, place: Place) -> Header | None:
    try:
        header = read_header(content)
    except BadArray:
        return None  # noted by the scan of the array
    if header.objects:
        place.unknown(0, "array of objects", "holds a pickle, which skops never writes")
    return header
