"""Every message of an error that a user may see, collected from the source, so that none is said in English alone."""

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

import veriward

from .scan_sentences import Module, Names, Reader

SOURCE = Path(veriward.__path__[0])
ROOT = "VeriwardError"
# Classes whose ValueErrors pydantic puts into a SettingsError, or that a reader of files wraps; others are bugs of ours.
TOLD_VALUE_ERRORS = ("core/endpoint.py", "core/policy.py", "core/rules.py", "core/subject.py")


@dataclass
class Messages:
    """Templates, holes as `{}`: whole messages, and the phrases of our own that fill a hole, with where they stand."""

    error: dict[str, str] = field(default_factory=dict)
    part: dict[str, str] = field(default_factory=dict)


def collected() -> Messages:
    """Every message outside of the scanner, which has its own catalogue."""
    paths = [p for p in sorted(SOURCE.rglob("*.py")) if "scan" not in p.relative_to(SOURCE).parts[:-1]]
    modules = [Module(path) for path in paths]
    reader, errors, found = Reader(modules), error_names(modules), Messages()
    for module in modules:
        file = module.path.relative_to(SOURCE).as_posix()
        for call, local in module.calls():
            name = called(call)
            where = f"{file}:{call.lineno}"
            names = [*local, *module.constants]
            if name in errors and call.args:
                _add(found.error, reader.templates(call.args[0], names), where)
                _add(found.part, phrases(reader, call.args[0], names), where)
            elif name == "ValueError" and file in TOLD_VALUE_ERRORS and call.args:
                _add(found.part, reader.templates(call.args[0], names), where)
                _add(found.part, phrases(reader, call.args[0], names), where)
    return found


def error_names(modules: list[Module]) -> set[str]:
    """The names of VeriwardError and of every class below it."""
    classes = [node for module in modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    known = {ROOT}
    for _ in classes:
        more = {c.name for c in classes if any(isinstance(b, ast.Name) and b.id in known for b in c.bases)}
        if more <= known:
            break
        known |= more
    return known


def called(call: ast.Call) -> str:
    """The name that a call calls."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def phrases(reader: Reader, node: ast.expr, names: Names) -> set[str]:
    """Our own phrases within the holes of a message: words with a blank, and more than holes and punctuation."""
    return {text for text in reader.in_holes(node, names) if is_phrase(text)}


def is_phrase(text: str) -> bool:
    """Whether a text says something in words."""
    return " " in text.strip() and bool(re.search("[a-z]{2}", text.replace("{}", "")))


def _add(known: dict[str, str], texts: set[str], where: str) -> None:
    for text in texts:
        if re.search("[A-Za-z]", text.replace("{}", "")) or text.count("{}") > 1:
            known.setdefault(text, where)
