"""Checkpoints that torch wrote before 1.6: five pickles, then the storages as raw bytes."""

from .machine import Machine
from .opcodes import Reader
from .place import Place
from .source import Source

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER, the first pickle of such a file


def scan_legacy(source: Source, at: int, place: Place) -> None:
    """Read the pickles that follow the magic number, and account for every byte behind them.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_legacy(Source.of(b""), 0, place); place.notes.outcome
    'unknown'
    """
    storages: dict[str, int] = {}
    # the protocol number, the byte order and sizes, the object, the keys of the storages
    for allowed in (None, None, storages, None):
        machine = Machine(Reader(source, at), place, allowed)
        if not machine.run():
            return
        at = machine.reader.at
    # each storage is its number of elements (8 bytes) and its bytes
    wanted = sum(8 + size for size in storages.values())
    if source.size - at != wanted:
        what = f"{source.size - at} bytes of storages"
        place.unknown(at, what, f"the pickles announce {wanted} bytes: something was cut off or put behind")
