"""Streams of pickles: one after the other, with what is left over."""

from .legacy import MAGIC, scan_legacy
from .machine import Machine, Rules
from .opcodes import Reader
from .place import Place
from .source import Source


def scan_pickles(source: Source, place: Place, rules: Rules = Rules()) -> str:  # noqa: B008 -- frozen
    r"""Read every pickle of a stream and note what it holds; returns the kind, "pickle" or "torch-legacy".

    >>> from .place import Purse
    >>> from .result import Notes
    >>> scan_pickles(Source.of(b"N."), Place("x", Notes(), Purse(), lambda source, place: ""))
    'pickle'
    """
    machine = Machine(Reader(source), place, rules)
    if not machine.run():
        return "pickle"
    if machine.result == MAGIC:
        scan_legacy(source, machine.reader.at, place)
        return "torch-legacy"
    _scan_rest(source, machine.reader.at, place, rules)
    return "pickle"


def _scan_rest(source: Source, at: int, place: Place, rules: Rules) -> None:
    """What follows a pickle is another pickle, or something that nobody can account for."""
    while at < source.size:
        trial = place.trial()
        machine = Machine(Reader(source, at), trial, rules)
        finished = machine.run()
        if not finished and trial.notes.outcome != "dangerous":
            place.unknown(at, f"{source.size - at} trailing bytes", "follow the last pickle and are none themselves")
            return
        place.merge(trial)
        if not finished:
            return
        at = machine.reader.at


def scan_guess(source: Source, place: Place, rules: Rules = Rules()) -> bool:  # noqa: B008 -- frozen
    r"""Read bytes that may be a pickle: notes its findings and answers True if they are one.

    Bytes count as a pickle when they run to a STOP or, broken off or not, name a gadget on the way: pickle.load runs
    what precedes an error.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> scan_guess(Source.of(b"hello"), Place("x", Notes(), Purse(), lambda source, place: ""))
    False
    """
    trial = place.trial()
    finished = Machine(Reader(source), trial, rules).run()
    if not finished and trial.notes.outcome != "dangerous":
        return False
    place.merge(trial)
    return True
