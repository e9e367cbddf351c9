"""Streams of pickles: one after the other, with what is left over."""

from .dialects import Dialect
from .joblibs import Joblib
from .legacy import MAGIC, scan_legacy
from .machine import Machine
from .opcodes import Reader
from .place import Exhausted, Place
from .source import Source
from .zips import LOCAL


def scan_pickles(source: Source, place: Place, *, plain: bool = False) -> str:
    r"""Read every pickle of a stream and note what it holds; returns the kind: "pickle", "joblib" or "torch-legacy".

    `plain`: it stands where only pickle.load reads, which knows nothing of joblib's arrays.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> scan_pickles(Source.of(b"N."), Place("x", Notes(), Purse(), lambda source, place: ""))
    'pickle'
    """
    joblib = Joblib()
    machine = Machine(Reader(source), place, dialect=Dialect() if plain else joblib)
    finished = machine.run()
    kind = "joblib" if joblib.arrays else "pickle"
    if joblib.arrays:
        _scan_elements(source, joblib, place)
    if not finished:
        return kind
    if machine.result == MAGIC:
        scan_legacy(source, machine.reader.at, place)
        return "torch-legacy"
    scan_rest(source, machine.reader.at, place)
    return kind


def _scan_elements(source: Source, joblib: Joblib, place: Place) -> None:
    """pickle.load goes on inside the arrays of a joblib file, so their bytes may not lead it to a gadget.

    Numbers make odd opcodes, and arrays of objects hold a pickle that plain pickle reads with the wrong memo. Neither
    proves intent, so the machine starts as if after an error, where only names that are written out count.
    """
    trial, numbers = place.trial(), Joblib(skips=False, objects=joblib.objects)
    _tried(Machine(Reader(source), trial, dialect=numbers, before_error="clean"), place)
    if trial.notes.outcome == "dangerous":
        place.merge(trial)
    elif numbers.stray:
        place.unknown(0, numbers.stray, "is called in the bytes of an array, where pickle.load goes on reading opcodes")


def scan_rest(source: Source, at: int, place: Place) -> None:
    r"""What follows a pickle is another pickle, or something that nobody can account for.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_rest(Source.of(b"N.N."), 2, place); place.notes.outcome
    'clean'
    """
    while at < source.size:
        place.purse.spend("opcodes", 32)  # starting a machine takes as long
        trial = place.trial()
        machine = Machine(Reader(source, at), trial)
        finished = _tried(machine, place)
        if not finished and machine.outcome != "dangerous":
            place.unknown(at, f"{source.size - at} trailing bytes", "follow the last pickle and are none themselves")
            return
        place.merge(trial)
        if not finished:
            return
        at = machine.reader.at


def _tried(machine: Machine, place: Place) -> bool:
    try:
        return machine.run()
    except Exhausted:
        if machine.outcome == "dangerous":  # an attack that is buried under millions of opcodes is one still
            place.merge(machine.place)
        raise


def scan_guess(source: Source, place: Place) -> bool:
    r"""Read bytes that may be a pickle: notes its findings and answers True if they are one.

    Bytes count as a pickle when they run to a STOP without an error or, whatever follows, name a gadget on the way:
    pickle.load runs what precedes an error.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> scan_guess(Source.of(b"hello"), Place("x", Notes(), Purse(), lambda source, place: ""))
    False
    """
    trial = place.trial()
    machine = Machine(Reader(source), trial)
    sound = _tried(machine, place) and machine.before_error is None
    if not sound and not _attacks(machine):
        return False
    place.merge(trial)
    return True


def _attacks(machine: Machine) -> bool:
    """Whether bytes that nobody calls a pickle are an attack: one in ten thousand arrays calls something by chance,
    and none names a gadget or tears a frame."""
    return machine.gadgets > 0 and machine.outcome == "dangerous"


def scan_raw(source: Source, place: Place) -> None:
    r"""Check bytes that a loader takes as plain numbers: they may not also be a pickle, an archive or a program.

    Numbers can look like a pickle by chance, so one that is only odd counts when it announces itself by PROTO.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_raw(Source.of(b"cos\nsystem\n."), place); place.notes.outcome
    'dangerous'
    """
    lead = source.read(0, 4)
    if lead in (LOCAL, b"\x7fELF"):
        place.look(source, place)
        return
    trial = place.trial()
    machine = Machine(Reader(source), trial)
    sound = _tried(machine, place) and machine.before_error is None
    if _attacks(machine) or (sound and lead[:1] == b"\x80"):
        place.merge(trial)
