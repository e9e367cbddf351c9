"""Archives of torch.jit.save: a program in a language of its own, its objects in pickles, and storages as raw bytes.

torch compiles the code when it loads the file and runs it in an interpreter without Python, so what a program can do is
what its operators can do. Layout: torch/csrc/jit/serialization/import.cpp and export_module.cpp.
"""

import ast
import re
from itertools import accumulate

from .inert import scan_beside
from .machine import Machine
from .members import scan_label, scan_member
from .opcodes import Reader
from .pickles import scan_rest
from .place import Place
from .script_judge import Judge
from .script_pickle import Script
from .script_program import Program
from .script_source import BadScript, parse_script
from .torchfile import LABELS, check_storages, scan_storage
from .unpack import unpacked
from .values import Made
from .zips import Archive, Member

_CODE = re.compile(r"code/(__torch__(?:/[A-Za-z0-9_]+)*)\.py")
_DEBUG = re.compile(r"code/__torch__(?:/[A-Za-z0-9_]+)*\.py\.debug_pkl")
_TRACED = "traced_inputs"  # the shapes of the inputs that a module was traced with; torch writes no elements of them
_PICKLES = ("data.pkl", "constants.pkl", f"{_TRACED}.pkl")
_MOST_CODE = 1 << 20  # of one file; parsed, this takes some hundred megabytes


def scan_script(archive: Archive, root: str, place: Place) -> None:
    """Read every member of an archive by the part it plays.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> from .source import Source
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_script(Archive(Source.of(b""), ()), "a", place); place.notes.outcome
    'unknown'
    """
    program = _scan_code(archive, root, place)
    objects = _scan_pickle(archive, f"{root}/data.pkl", program, place)
    constants = _scan_pickle(archive, f"{root}/constants.pkl", Program(), place)
    stored = {f"data/{key}": size for key, size in objects.items()}
    stored |= {f"constants/{key}": size for key, size in constants.items()}
    traced = _scan_pickle(archive, f"{root}/{_TRACED}.pkl", Program(), place) if _is_traced(archive, root) else {}
    known = stored.keys() | {f"{_TRACED}/{key}" for key in traced}
    for member in archive.members:
        if not member.is_folder:
            _scan_part(archive, member, member.name.removeprefix(f"{root}/"), known, place)
    check_storages(archive, root, stored, place)


def _is_traced(archive: Archive, root: str) -> bool:
    return archive.named(f"{root}/{_TRACED}.pkl") is not None


# -- code ------------------------------------------------------------------------------------------------------------


def _scan_code(archive: Archive, root: str, place: Place) -> Program:
    program = Program()
    files: list[tuple[ast.Module, tuple[int, ...], Place]] = []
    for member in archive.members:
        found = _CODE.fullmatch(member.name.removeprefix(f"{root}/"))
        inner = place.inside(member.name)
        content = _text(archive, member, inner) if found is not None else None
        if found is None or content is None:
            continue
        try:
            tree = parse_script(content)
        except BadScript as error:
            inner.unknown(0, "code", str(error))
            continue
        program.add(found[1].replace("/", "."), tree)
        starts = tuple(accumulate((len(line) + 1 for line in content.split(b"\n")), initial=0))
        files.append((tree, starts, inner))
    for path in sorted(program.twice):
        place.unknown(0, path, "is defined twice, so nobody knows which one is meant")
    for tree, starts, inner in files:
        Judge(program, inner, starts).module(tree)
    return program


def _text(archive: Archive, member: Member, place: Place) -> bytes | None:
    content = unpacked(archive, member, place)
    if content is None:
        return None
    place.purse.spend("code", content.size)
    if content.size > _MOST_CODE:
        place.unknown(member.header_at, f"{content.size} bytes of code", "are too many to be read by a scan")
        return None
    return content.read(0, content.size)


# -- pickles and the rest --------------------------------------------------------------------------------------------


def _scan_pickle(archive: Archive, name: str, program: Program, place: Place) -> dict[str, int]:
    """Read a pickle of objects or constants; returns the bytes of each storage that it names."""
    storages: dict[str, int] = {}
    member = archive.named(name)
    inner = place.inside(name)
    content = unpacked(archive, member, inner) if member is not None else None
    if content is None:
        place.unknown(0, name, "is missing or cannot be read")
        return storages
    machine = Machine(Reader(content), inner, storages, dialect=Script(program, inner))
    if machine.run():
        scan_rest(content, machine.reader.at, inner)
        is_object = isinstance(machine.result, Made) and machine.result.kind == "script"
        if program.classes and not is_object:
            inner.unknown(0, "object", "is no object of a class that the code defines")
    return storages


def _scan_part(archive: Archive, member: Member, name: str, known: set[str], place: Place) -> None:
    if name in LABELS:
        scan_label(archive, member, place)
    elif name in known:
        scan_storage(archive, member, place)
    elif _DEBUG.fullmatch(name):
        _scan_debug(archive, member, place)
    elif name.startswith("extra/"):
        inner = place.inside(member.name)
        content = unpacked(archive, member, inner)
        if content is not None:
            scan_beside(name, content, inner)
    elif name not in _PICKLES and not _CODE.fullmatch(name):
        why = "holds bytecode, which phones run" if name == "bytecode.pkl" else "is a member of no known part"
        place.unknown(member.header_at, member.name, why)
        scan_member(archive, member, place)


def _scan_debug(archive: Archive, member: Member, place: Place) -> None:
    """Where the code came from, for error messages: a pickle of texts and numbers."""
    inner = place.inside(member.name)
    content = unpacked(archive, member, inner)
    if content is not None:
        machine = Machine(Reader(content), inner, dialect=Script(Program(), inner))
        if machine.run():
            scan_rest(content, machine.reader.at, inner)
