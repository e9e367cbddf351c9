"""Every sentence of the scanner, collected from its source, so that none is said in one language only."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import veriward.adapters.scan as package

# Calls that note something, by the name called: which of their arguments are `what` and `why`.
NOTES: dict[str, tuple[int | None, int | None]] = {
    **dict.fromkeys(("unknown", "dangerous", "_unknown", "_dangerous", "note", "need", "within", "_odd"), (1, 2)),
    **dict.fromkeys(("_hidden", "BadModel"), (0, 1)),
    **dict.fromkeys(("_named", "_misfit", "Datatype"), (None, 2)),
    **dict.fromkeys(("integers", "finite", "whole", "real", "numbers", "texts", "pairs", "_mapping"), (1, None)),
    "reached": (3, None),
    "one": (2, None),
    "_text": (3, None),
    "give_up": (0, None),
    "tell": (None, 0),  # completes "the stream {}"
    "_malformed": (None, 0),
}
TABLES = {"_NOT_READ", "_PROGRAMS", "_FORMS", "_LINK_OUTCOMES", "_LINKS", "ATTACKS", "OUTSIDE", "LOOP"}  # hold reasons
SHOWN_VALUE_ERRORS = {"zips.py"}  # elsewhere only the name of the error is shown

Names = list[tuple[str, ast.expr]]  # what is assigned to them


@dataclass
class Sentences:
    """Templates, holes as `{}`, by where they are shown."""

    what: set[str] = field(default_factory=set)
    why: set[str] = field(default_factory=set)
    error: set[str] = field(default_factory=set)


class Module:
    """One file of the scanner: its constants, functions and classes of errors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.functions = [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]
        self.constants = list(_assigned(self.tree.body))

    def calls(self) -> Iterator[tuple[ast.Call, Names]]:
        """Every call, with what is assigned in the function around it."""
        for function in self.functions:
            local = list(_assigned(ast.walk(function)))
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    yield node, local


def collected() -> Sentences:
    """Every sentence that the scanner can say."""
    modules = [Module(path) for path in sorted(Path(package.__path__[0]).glob("*.py"))]
    reader, found = Reader(modules), Sentences()
    for module in modules:
        for name, value in module.constants:
            if name in TABLES:
                found.why |= {text for text in _literals(value) if " " in text}
        for call, local in module.calls():
            _take(call, [*local, *module.constants], module.path.name, reader, found)
    found.what = {phrase for text in found.what for phrase in _own(text)}
    return found


def _own(what: str) -> set[str]:
    """What of a `what` is a phrase of the scanner's own: "{}, node {}" follows "tree {}", and names are names."""
    head, comma, tail = what.partition(", ")
    if not comma:
        return {what} if " " in what and re.search("[a-z]", what) else set()
    return ({"tree {}, {}"} if head == "{}" else set()) | _own(tail)


def _take(call: ast.Call, names: Names, file: str, reader: "Reader", found: Sentences) -> None:
    for called in _called(call.func):
        what, why = NOTES.get(called, (None, None))
        if what is not None and len(call.args) > what:
            found.what |= reader.templates(call.args[what], names)
        if why is not None and len(call.args) > why:
            found.why |= reader.templates(call.args[why], names) | reader.in_holes(call.args[why], names)
        is_shown = called in reader.errors or (called == "ValueError" and file in SHOWN_VALUE_ERRORS)
        if is_shown and call.args:
            found.why |= reader.templates(call.args[-1], names)
        if called == "ArtefactError":
            found.error |= reader.templates(call.args[0], names)
            found.why |= reader.in_holes(call.args[0], names)
        if called == "Scanned":
            found.error |= {text for keyword in call.keywords for text in reader.templates(keyword.value, names)}


class Reader:
    """Turns expressions into templates; follows names, conditions, and functions that return reasons."""

    def __init__(self, modules: list[Module]) -> None:
        self.functions: dict[str, list[ast.FunctionDef]] = {}
        for module in modules:
            for function in module.functions:
                self.functions.setdefault(function.name, []).append(function)
        self.constants = [pair for module in modules for pair in module.constants]
        self.errors = {
            node.name
            for module in modules
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ClassDef) and node.name.startswith(("Bad", "Broken", "NoRule"))
        } - {"BadModel"}

    def templates(self, node: ast.expr, names: Names, depth: int = 0) -> set[str]:
        """Every text that an expression may be, with `{}` for what only the file knows."""
        if depth > 5:
            return set()
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.JoinedStr(values=parts):
                return {"".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)}
            case ast.IfExp(body=first, orelse=second):
                inner = [first, second]
            case ast.BoolOp(values=inner) | ast.Tuple(elts=inner):
                pass
            case ast.Name(id=name):
                inner = [value for key, value in [*names, *self.constants] if key == name and value is not node]
            case ast.Call(func=ast.Attribute(attr="get"), args=[_, default]):
                inner = [default]
            case ast.Call(func=ast.Name(id="shown"), args=[shown, *_]):
                inner = [shown]
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return self._returned(name, depth)
            case _:
                return set()
        return self._all(inner, names, depth)

    def in_holes(self, node: ast.expr, names: Names) -> set[str]:
        """The phrases of the scanner's own that an f-string puts into its holes."""
        holes = [part.value for part in ast.walk(node) if isinstance(part, ast.FormattedValue)]
        return {text for hole in holes for text in self.templates(hole, names) if " " in text}

    def _returned(self, name: str, depth: int) -> set[str]:
        """What the functions of this name return, where that is a text."""
        found: set[str] = set()
        for function in self.functions.get(name, []):
            if function.returns is None or "str" not in ast.unparse(function.returns):
                continue
            returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
            found |= self._all(returned, list(_assigned(ast.walk(function))), depth)
        return found

    def _all(self, nodes: list[ast.expr], names: Names, depth: int) -> set[str]:
        return {text for node in nodes for text in self.templates(node, names, depth + 1)}


def _called(function: ast.expr) -> Iterator[str]:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
        case ast.IfExp(body=first, orelse=second):
            yield from _called(first)
            yield from _called(second)


def _assigned(nodes: "Iterator[ast.AST] | list[ast.stmt]") -> Iterator[tuple[str, ast.expr]]:
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _literals(node: ast.expr) -> set[str]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}
