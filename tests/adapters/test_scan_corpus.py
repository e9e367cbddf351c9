"""The corpus: nothing hostile is clean, nothing runs while it is scanned, nothing harmless is dangerous."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from veriward.adapters.scan import ScanResult, scan

from .corpus import BENIGN, HOSTILE, Artefact
from .corpus.artefact import there

VICTIM = Path(__file__).parent / "corpus" / "victim.py"
# What needs the larger libraries to be written takes its time.
SLOW = {"keras", "onnx", "boosting", "sklearn", "skops", "export", "torchscript"}


def quick(artefacts: Iterable[Artefact]) -> list[Artefact]:
    return [artefact for artefact in artefacts if artefact.family not in SLOW and there(artefact)]


def slow(artefacts: Iterable[Artefact]) -> list[Artefact]:
    return [artefact for artefact in artefacts if artefact.family in SLOW and there(artefact)]


def written(folder: Path, artefacts: list[Artefact]) -> list[tuple[Artefact, Path, Path]]:
    """(artefact, its file, its canary)"""
    files, canaries = folder / "files", folder / "canaries"
    files.mkdir()
    canaries.mkdir()
    places = [canaries / f"canary{number:04}" for number in range(len(artefacts))]
    return [
        (artefact, artefact.write(files, canary), canary) for artefact, canary in zip(artefacts, places, strict=True)
    ]


def judged(folder: Path, artefacts: list[Artefact]) -> dict[str, ScanResult]:
    found = {artefact.name: scan(path) for artefact, path, _ in written(folder, artefacts)}
    assert list((folder / "canaries").iterdir()) == [], "a scan ran what it should read"
    return found


def of(outcome: str, results: dict[str, ScanResult]) -> list[str]:
    return sorted(name for name, result in results.items() if result.outcome == outcome)


def check_hostile(results: dict[str, ScanResult]) -> None:
    assert of("clean", results) == []
    dangerous = len(of("dangerous", results))
    assert dangerous >= 0.8 * len(results), f"{dangerous} of {len(results)}; unknown: {of('unknown', results)}"


def check_benign(results: dict[str, ScanResult], artefacts: list[Artefact]) -> None:
    assert {name: results[name].reasons for name in of("dangerous", results)} == {}
    simple = {artefact.name for artefact in artefacts if artefact.clean}
    assert {name: results[name].reasons for name in sorted(simple) if results[name].outcome != "clean"} == {}


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    for artefacts, least in ((HOSTILE, 400), (BENIGN, 110)):
        assert len({artefact.name for artefact in artefacts}) == len(artefacts) >= least


def test_attacks_are_not_clean_and_mostly_dangerous(tmp_path: Path) -> None:
    check_hostile(judged(tmp_path, quick(HOSTILE)))


@pytest.mark.slow
def test_attacks_in_other_formats_are_not_clean_and_mostly_dangerous(tmp_path: Path) -> None:
    check_hostile(judged(tmp_path, slow(HOSTILE)))


def test_harmless_files_are_never_dangerous(tmp_path: Path) -> None:
    check_benign(judged(tmp_path, quick(BENIGN)), quick(BENIGN))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries that write these files
def test_harmless_files_of_other_libraries_are_never_dangerous(tmp_path: Path) -> None:
    check_benign(judged(tmp_path, slow(BENIGN)), slow(BENIGN))


def proved(folder: Path, artefacts: list[Artefact]) -> dict[str, bool]:
    """What a careless loader makes of each, in one process of its own."""
    tasks = [(path, artefact, canary) for artefact, path, canary in written(folder, artefacts)]
    lines = "\n".join(json.dumps([str(path), artefact.loader, str(canary)]) for path, artefact, canary in tasks)
    done = subprocess.run(
        [sys.executable, str(VICTIM)], input=lines, capture_output=True, text=True, cwd=folder, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    came = json.loads(done.stdout)
    return {artefact.name: answer for (_, artefact, _), answer in zip(tasks, came, strict=True)}


def test_the_routes_of_the_corpus_are_real(tmp_path: Path) -> None:
    attacks = [
        artefact
        for artefact in quick(HOSTILE)
        if artefact.loader in ("pickle", "stream") and artefact.family == "routes"
    ]
    assert len(attacks) >= 50
    assert [name for name, came in proved(tmp_path, attacks).items() if not came] == []


@pytest.mark.slow
def test_the_gadgets_of_the_corpus_are_real(tmp_path: Path) -> None:
    attacks = [artefact for artefact in HOSTILE if artefact.loader and there(artefact)]
    assert len(attacks) >= 160
    assert [name for name, came in proved(tmp_path, attacks).items() if not came] == []


def test_the_document_holds_the_table_of_the_results() -> None:
    root = Path(__file__).parents[2]
    result = json.loads((root / "benchmarks/results/scan.json").read_text(encoding="utf-8"))["result"]
    document = (root / "docs/scanner.md").read_text(encoding="utf-8")
    for title in ("hostile", "benign"):
        for tool, answers in result[title]["answers"].items():
            counts = [answers["all"].get(answer, 0) for answer in ("flagged", "suspected", "error", "silent", "unread")]
            row = f"| {title}, all ({result[title]['files']['all']}) | {tool} | {' | '.join(map(str, counts))} |"
            assert row in document
