"""What was called clean is loaded with its own library, while audit hooks watch: no code, no other file, no new name."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from veriward.adapters.scan import scan
from veriward.adapters.scan.names import resolved

from .corpus import BENIGN
from .corpus.artefact import Artefact
from .corpus.mutation import mutated, mutated_zip
from .corpus.zips import members_of, zipped
from .test_scan_fuzz import mutated as scrambled

WITNESS = Path(__file__).parent / "corpus" / "witness.py"
LOADERS = {"torch": "torch", "numpy": "numpy", "pickle": "stream"}


def watched(tasks: list[tuple[Path, str]]) -> list[list[str]]:
    lines = "\n".join(json.dumps([str(path), loader]) for path, loader in tasks)
    done = subprocess.run([sys.executable, str(WITNESS)], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def unwanted(events: list[str]) -> list[str]:
    """Events but the names that are on the allowlist."""

    def is_listed(event: str) -> bool:
        kind, _, path = event.partition(" ")
        module, _, name = path.rpartition(".")
        return kind == "name" and resolved(module, name).outcome == "clean"

    return [event for event in events if not is_listed(event)]


def loadable() -> list[Artefact]:
    return [artefact for artefact in BENIGN if artefact.family in LOADERS]


def loader_of(artefact: Artefact) -> str:
    return "stream" if artefact.ending == ".pkl" else LOADERS[artefact.family]


def test_honest_files_that_are_clean_do_nothing_but_load(tmp_path: Path) -> None:
    tasks = [(artefact.write(tmp_path, tmp_path), loader_of(artefact)) for artefact in loadable() if artefact.clean]
    found = watched(tasks)
    assert [
        (path.name, unwanted(events)) for (path, _), events in zip(tasks, found, strict=True) if unwanted(events)
    ] == []
    assert sum(bool(events) for events in found) > 50  # the hooks do see names


def test_the_witness_sees_an_attack(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"cos\nsystem\n(Vtrue\ntR.")
    assert watched([(path, "pickle")] * 21)[20] == ["name os.system", "os.system"]


def changed(content: bytes, draw: random.Random) -> bytes:
    way = draw.random()
    if not content.startswith(b"PK"):
        return mutated(content, content, draw) if way < 0.7 else scrambled(content, draw)
    if way < 0.5:
        return mutated_zip(content, draw)
    members = members_of(content)
    name = draw.choice(list(members))
    return zipped(members | {name: mutated(members[name], members[name], draw)})


@pytest.mark.slow
def test_mutations_that_are_clean_do_nothing_but_load(tmp_path: Path) -> None:
    draw = random.Random(0)
    seeds = [(artefact, artefact.make("")) for artefact in loadable()]
    tasks: list[tuple[Path, str]] = []
    for number in range(12_000):
        artefact, content = draw.choice(seeds)
        path = tmp_path / f"{number}{artefact.ending}"
        path.write_bytes(changed(content, draw))
        if scan(path).outcome == "clean":
            tasks.append((path, loader_of(artefact)))
        else:
            path.unlink()
    assert len(tasks) > 500
    found = watched(tasks)
    assert [
        (path.name, unwanted(events)) for (path, _), events in zip(tasks, found, strict=True) if unwanted(events)
    ] == []
