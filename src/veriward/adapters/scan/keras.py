"""Keras archives: a zip of config.json, metadata.json, the weights, and texts that preprocessing layers keep.

Read as `keras.saving.load_model` would (keras/src/saving/saving_lib.py, Keras 3): the config by an allowlist, weights
as HDF5 or npz, assets as plain text. Everything else in the archive is unknown, because the loader unpacks it all.
"""

from .hdf5 import scan_hdf5
from .jsons import BadJson, read_json
from .keras_config import judge_config
from .kinds import sniffed
from .members import scan_member
from .place import Place
from .source import Source
from .unpack import unpacked
from .zips import Archive, Member

_CONFIG, _METADATA = "config.json", "metadata.json"
_HDF5, _NPZ = "model.weights.h5", "model.weights.npz"
_MAX_CONFIG = 1 << 25
_MAX_ASSET = 1 << 26
_METADATA_KEYS = {"keras_version", "date_saved"}


def is_keras(names: set[str]) -> bool:
    """Whether the members of a zip are those that a loader of Keras looks for.

    >>> is_keras({"config.json", "model.weights.h5"}), is_keras({"config.json"})
    (True, False)
    """
    return _CONFIG in names and bool({_METADATA, _HDF5, _NPZ} & names)


def scan_keras(archive: Archive, place: Place) -> None:
    """Judge every member of a Keras archive.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_keras(Archive(Source.of(b""), ()), place); place.notes.outcome
    'unknown'
    """
    elements = _scan_weights(archive, place)
    for member in archive.members:
        if member.is_folder or member.name in (_HDF5, _NPZ):
            continue
        if member.name == _CONFIG:
            _scan_config(archive, member, elements, place)
        elif member.name == _METADATA:
            _scan_metadata(archive, member, place)
        elif member.name.startswith("assets/"):
            _scan_asset(archive, member, place)
        else:
            place.unknown(member.header_at, member.name, "is no member that Keras writes")
            scan_member(archive, member, place)
    if archive.named(_CONFIG) is None:
        place.unknown(0, _CONFIG, "is missing")


def _scan_weights(archive: Archive, place: Place) -> int:
    """Judge the weights; returns how many numbers they hold."""
    found = [member for name in (_HDF5, _NPZ) if (member := archive.named(name)) is not None]
    if len(found) != 1:
        place.unknown(0, "weights", f"are there {len(found)} times, not once")
    elements = 0
    for member in found:
        inner = place.inside(member.name)
        content = unpacked(archive, member, inner)
        if content is None:
            continue
        wanted = "hdf5" if member.name == _HDF5 else "zip"
        if sniffed(content) != wanted:
            inner.unknown(0, member.name, f"are weights of another kind than {wanted}")
        if wanted == "hdf5":
            elements += scan_hdf5(content, inner)
        elif inner.look(content, inner) != "npz":
            inner.unknown(0, member.name, "are no arrays alone")
        else:
            elements += content.size
    return elements


def _scan_config(archive: Archive, member: Member, elements: int, place: Place) -> None:
    inner = place.inside(member.name)
    content = unpacked(archive, member, inner)
    if content is not None:
        judge_config(content.read(0, min(content.size, _MAX_CONFIG + 1)), inner, elements)


def _scan_metadata(archive: Archive, member: Member, place: Place) -> None:
    inner = place.inside(member.name)
    content = unpacked(archive, member, inner)
    if content is None:
        return
    try:
        metadata = read_json(content.read(0, 1 << 16))
    except BadJson as error:
        inner.unknown(0, _METADATA, str(error))
        return
    match metadata:
        case dict() if metadata.keys() <= _METADATA_KEYS and all(isinstance(v, str) for v in metadata.values()):
            return
    inner.unknown(0, _METADATA, "holds more than a version and a date")


def _scan_asset(archive: Archive, member: Member, place: Place) -> None:
    """An asset may be a vocabulary: plain text, one word a line."""
    inner = place.inside(member.name)
    content = unpacked(archive, member, inner)
    if content is None:
        return
    kind = sniffed(content) if content.size else "text"
    if kind not in ("text", "json") or content.size > _MAX_ASSET or not member.name.endswith("/vocabulary.txt"):
        inner.unknown(0, member.name, "is no vocabulary of a preprocessing layer")
        inner.look(content, inner)
    elif not _is_text(content):
        inner.unknown(0, member.name, "is not text to its end")


def _is_text(content: Source) -> bool:
    try:
        content.read(0, content.size).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
