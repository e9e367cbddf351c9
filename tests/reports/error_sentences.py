"""Every message of an error that a user may see, collected from the source, so that none is said in English alone."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import veriward

from .scan_sentences import Module, Names, Reader

SOURCE = Path(veriward.__path__[0])
ROOT = "VeriwardError"
# Where pydantic puts ValueErrors into a SettingsError; elsewhere they are bugs of ours.
TOLD_VALUE_ERRORS = ("core/endpoint.py", "core/policy.py", "core/rules.py", "core/subject.py")
# Functions whose texts `veriward verify` prints.
TOLD = {
    "core/seal.py": ("_unfinished", "_check_seals"),
    "core/journal.py": ("damage", "_page_damage", "_references", "_blob_damage"),
    "run/reexecute.py": ("keep",),
}
DRAFT = "run/draft.py"
SQL = ("CREATE ", "PRAGMA ", "SELECT ")


@dataclass
class Messages:
    """Templates, holes as `{}`, with where they stand: whole messages, the phrases of our own that fill their holes, what
    `verify` tells, and the comments of a drafted subject.toml."""

    error: dict[str, str] = field(default_factory=dict)
    part: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    drafted: dict[str, str] = field(default_factory=dict)

    def pasteable(self, section: str, known: "set[str]") -> list[str]:
        """The lines that a catalogue lacks, with where each text stands, ready for the Chinese."""
        found: dict[str, str] = getattr(self, section)
        return [f'{json.dumps(text, ensure_ascii=False)} = ""  # {found[text]}' for text in found if text not in known]


def collected() -> Messages:
    """Every message outside of the scanner, which has its own catalogue."""
    modules = {p.relative_to(SOURCE).as_posix(): Module(p) for p in sorted(SOURCE.rglob("*.py"))}
    modules = {file: module for file, module in modules.items() if not file.startswith("adapters/scan/")}
    reader, errors, found = Reader(list(modules.values())), error_names(list(modules.values())), Messages()
    for file, module in modules.items():
        for call, local in module.calls():
            names, where = [*local, *module.constants], f"{file}:{call.lineno}"
            if not call.args:
                continue
            if called(call, names) & errors:
                _add(found.error, reader.templates(call.args[0], names), where)
                _add(found.part, phrases(reader, call.args[0], names), where)
            elif "ValueError" in called(call, names) and file in TOLD_VALUE_ERRORS:
                _add(found.part, reader.templates(call.args[0], names), where)
                _add(found.part, phrases(reader, call.args[0], names), where)
        for function in module.functions:
            if function.name in TOLD.get(file, ()):
                _add(found.told, {text for text in texts(function) if is_phrase(text)}, f"{file}:{function.lineno}")
    _add(found.drafted, set(comments(modules[DRAFT])), DRAFT)
    return found


def error_names(modules: list[Module]) -> set[str]:
    """The names of VeriwardError and of every class below it."""
    classes = [node for module in modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    known: set[str] = set()
    more = {ROOT}
    while more - known:
        known |= more
        more = {c.name for c in classes if any(isinstance(b, ast.Name) and b.id in known for b in c.bases)}
    return known


def called(call: ast.Call, names: Names) -> set[str]:
    """The names that a call may call: of a name that stands for one of two, both."""
    match call.func:
        case ast.Name(id=name):
            chosen = [value for key, value in names if key == name and isinstance(value, ast.IfExp)]
            return {name, *(part.id for value in chosen for part in ast.walk(value) if isinstance(part, ast.Name))}
        case ast.Attribute(attr=name):
            return {name}
    return set()


def phrases(reader: Reader, node: ast.expr, names: Names) -> set[str]:
    """Our own phrases within the holes of a message."""
    return {text for text in reader.in_holes(node, names) if is_phrase(text)}


def is_phrase(text: str) -> bool:
    """Whether a text says something in words, and is no SQL."""
    return " " in text.strip() and bool(re.search("[a-z]{2}", text.replace("{}", ""))) and not text.startswith(SQL)


def texts(node: ast.AST) -> Iterator[str]:
    """Every text below a node, f-strings as templates; docstrings are left out."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.JoinedStr(values=parts):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
            case ast.Constant(value=str(text)):
                yield text
            case ast.Expr(value=ast.Constant()):
                pass
            case _:
                yield from texts(child)


def comments(module: Module) -> Iterator[str]:
    """What stands after "  # " in the texts of a module; what "inferred: " is followed by stands for itself."""
    for text in texts(module.tree):
        _, mark, comment = text.rpartition("  # ")
        if mark and comment != "inferred: {}":
            yield comment.removeprefix("inferred: ")


def fixed_texts() -> str:
    """Every constant text of the source, to look for the parts of a template in."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def _add(known: dict[str, str], found: set[str], where: str) -> None:
    for text in sorted(found):
        if re.search("[A-Za-z]", text.replace("{}", "")) or text.count("{}") > 1:
            known.setdefault(text, where)
