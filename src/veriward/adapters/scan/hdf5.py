"""HDF5 files: every object that can be reached, with what it opens, unpacks and claims.

Format: HDF5 File Format Specification 3.0 (docs.hdfgroup.org). What the default settings of h5py and Keras write is
read; dense groups, new indices of chunks and shared messages are not, and leave a file unknown. Bytes that no object
refers to are free space to every loader. Whole models that Keras wrote as HDF5 carry their architecture in attributes
of the root, which are judged as the config of a .keras archive is.
"""

from .hdf5_attributes import GlobalHeap
from .hdf5_bytes import UNDEFINED, BadHdf5, Hdf5Bytes
from .hdf5_headers import Message, Superblock, read_messages, read_superblock
from .hdf5_links import Link, read_links, table_of
from .hdf5_objects import Hdf5File, check_messages, judge_dataset, read_attributes
from .keras_config import judge_config
from .place import Place
from .source import Source

_TRAINING = "training_config"
_CONFIGS = ("model_config", _TRAINING)
_PYTABLES = {"PYTABLES_FORMAT_VERSION", "PSEUDOATOM"}
_EXTENSION = {0x00, 0x10, 0x13, 0x17}  # widths of trees and free space; not a driver, a shared table or a cache
_SYMBOL_TABLE = 0x11
_LINK_OUTCOMES = {
    "external": "leads to an object in another file, which is opened by name",
    "user-defined": "is followed by code that only the loading program knows",
}


def scan_hdf5(source: Source, place: Place) -> int:
    r"""Judge all objects of the file; returns how many numbers its datasets hold.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_hdf5(Source.of(b"\x89HDF"), place), place.notes.outcome
    (0, 'unknown')
    """
    reader = Hdf5Bytes.of(source, place.purse)
    file = Hdf5File(reader, GlobalHeap(reader))
    try:
        block = read_superblock(reader, place)
        _check_extension(reader, block, place)
        texts = _walk(file, block, place)
    except BadHdf5 as error:
        place.unknown(0, "broken HDF5", str(error))
        return file.elements
    _judge_configs(texts, file, place)
    return file.elements


def _check_extension(reader: Hdf5Bytes, block: Superblock, place: Place) -> None:
    if block.extension == UNDEFINED:
        return
    for message in read_messages(reader, block.extension):
        if message.kind not in _EXTENSION:
            place.unknown(0, f"message {message.kind:#04x}", "extends the superblock in a way that is not read")


def _walk(file: Hdf5File, block: Superblock, place: Place) -> dict[str, list[bytes]]:
    """Judge every object once; returns the texts of the root's attributes."""
    waiting = [(Link("", "hard", block.root, block.cached), place)]
    seen: dict[int, bool] = {}  # whether the object at this address holds others
    root: dict[str, list[bytes]] | None = None
    while waiting:
        link, here = waiting.pop()
        if link.target in seen:
            note = here.dangerous if seen[link.target] else here.unknown
            note(link.target, link.name, "leads to an object that has another name, so walks may never end")
            continue
        place.purse.spend("members", 1)
        try:
            texts, below = _judge_object(file, link, here)
        except BadHdf5 as error:
            here.unknown(link.target, "broken object", str(error))
            texts, below = {}, []
        seen[link.target] = bool(below)
        root = texts if root is None else root
        waiting += [(inner, _below(here, inner)) for inner in _followed(below, here)]
    return root or {}


def _below(place: Place, link: Link) -> Place:
    # the path is for the eye only; a deep one keeps its beginning
    inner = place.inside(link.name)
    return inner if len(inner.name) < 300 else place


def _judge_object(file: Hdf5File, link: Link, place: Place) -> tuple[dict[str, list[bytes]], list[Link]]:
    messages = read_messages(file.reader, link.target)
    check_messages(messages, place)
    _check_cached(link, messages, place)
    texts = read_attributes(file, messages, place)
    if _PYTABLES & texts.keys():
        place.unknown(link.target, "PyTables", "wrote this, and unpickles what it finds in attributes and rows")
    judge_dataset(file, messages, place)
    return texts, read_links(file.reader, messages)


def _check_cached(link: Link, messages: list[Message], place: Place) -> None:
    tables = [table_of(message) for message in messages if message.kind == _SYMBOL_TABLE]
    if link.cached is not None and link.cached not in tables:
        # a group that outgrew its table leaves the old address behind; two tables at once show two contents
        note = place.dangerous if tables else place.unknown
        note(link.target, link.name or "the root", "has another table of names where readers look first")


def _followed(links: list[Link], place: Place) -> list[Link]:
    found: list[Link] = []
    names: set[str] = set()
    for link in links:
        if link.name in names or "/" in link.name or link.name in ("", "."):
            place.unknown(0, link.name, "is a name that stands twice or cannot be one")
        names.add(link.name)
        if link.kind == "hard":
            found.append(link)
        elif link.kind == "soft":
            place.unknown(0, link.name, "is a soft link, which loaders of models refuse")
        else:
            place.dangerous(0, link.name, _LINK_OUTCOMES[link.kind])
    return found


def _judge_configs(texts: dict[str, list[bytes]], file: Hdf5File, place: Place) -> None:
    for name in _CONFIGS:
        for text in texts.get(name, []):
            training = name == _TRAINING
            judge_config(text.rstrip(b"\0"), place.inside(name), file.elements, legacy=True, training=training)
