"""Which dossiers there are: the files named, and those in the folders named."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

SUFFIX = ".ward"
DEPTH = 4  # of folders below the one named
MOST_DOSSIERS = 500
MOST_ENTRIES = 50_000  # looked at below one folder: a home folder must not take minutes


@dataclass(frozen=True)
class Found:
    """The dossiers by key, which is all that an address of the page may name; `cut` where there were too many."""

    paths: dict[str, Path]
    cut: bool


def find(places: Sequence[Path]) -> Found:
    """Return the dossiers of files and folders, by name; links to folders and hidden folders are not followed."""
    wanted = dict.fromkeys(path for place in places for path in _below(place))
    kept = list(wanted)[:MOST_DOSSIERS]
    return Found({key_of(path): path for path in kept}, len(kept) < len(wanted))


def key_of(path: Path) -> str:
    """Return the name of a dossier in addresses.

    >>> key_of(Path("/x.ward"))
    '7c42e82b7abe'
    """
    return sha256(os.fsencode(path.absolute())).hexdigest()[:12]


def _below(place: Path) -> list[Path]:
    return sorted(_walk(place)) if place.is_dir() else [place]


def _walk(place: Path) -> Iterator[Path]:
    seen = 0
    for folder, folders, files in os.walk(place):
        seen += len(folders) + len(files)
        here = Path(folder)
        deep = len(here.relative_to(place).parts) >= DEPTH or seen > MOST_ENTRIES
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        yield from (here / name for name in files if name.endswith(SUFFIX) and (here / name).is_file())
