"""Every kind of dossier that a report may be asked to read."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from veriward.core.dossier import Dossier

from .fixtures import ALL, write


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Dossier]]:
    opened: dict[str, Dossier] = {}

    def made(name: str) -> Dossier:
        if name not in opened:
            opened[name] = write(tmp_path / f"{name}.ward", ALL[name]())
        return opened[name]

    yield made
    for dossier in opened.values():
        dossier.close()


@pytest.fixture(params=sorted(ALL))
def dossier(request: pytest.FixtureRequest, make: Callable[[str], Dossier]) -> Dossier:
    return make(request.param)
