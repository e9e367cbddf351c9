"""The corpus of the tests against this scanner and its peers, and how fast a scan is.

Peers: picklescan and fickling where they are installed; modelscan where the environment variable MODELSCAN names its
executable (it may need an environment of its own). What is absent is left out and said so.
"""

import tempfile
from collections import Counter
from pathlib import Path

from . import peers, speed

Answers = dict[str, dict[str, str]]  # tool: artefact: answer

_GROUPS = {
    "pickles": ("routes", "gadgets", "names", "mixed", "pickle", "pandas", "sklearn"),
    "archives and arrays": ("torch", "zip", "numpy", "packed", "tar"),
}


def run() -> dict[str, object]:
    """Write the corpus, ask every tool about every file, count, and time."""
    # the corpus needs the libraries of the tests, and torch: only a run does
    from tests.adapters.corpus import BENIGN, HOSTILE
    from tests.adapters.corpus.artefact import there
    from tests.adapters.test_scan_corpus import written

    report: dict[str, object] = {"tools": peers.versions()}
    for title, artefacts in (("hostile", HOSTILE), ("benign", BENIGN)):
        present = [artefact for artefact in artefacts if there(artefact)]
        with tempfile.TemporaryDirectory() as folder:
            files = {artefact.name: path for artefact, path, _ in written(Path(folder), present)}
            answers = peers.asked(files)
            ran = [path.name for path in (Path(folder) / "canaries").iterdir()]
        groups = {artefact.name: _group(artefact.family) for artefact in present}
        report[title] = {"files": _sizes(groups), "answers": _counted(answers, groups), "payloads_run": ran}
        report[f"{title}_each"] = {name: {tool: found[name] for tool, found in answers.items()} for name in files}
        _show(title, answers)
    report["speed"] = speed.measured()
    return report


def _group(family: str) -> str:
    return next((group for group, families in _GROUPS.items() if family in families), "other formats")


def _sizes(groups: dict[str, str]) -> dict[str, int]:
    return {"all": len(groups), **Counter(groups.values())}


def _counted(answers: Answers, groups: dict[str, str]) -> dict[str, dict[str, dict[str, int]]]:
    """tool: group: answer: files"""
    wanted = ["all", *sorted(set(groups.values()))]
    return {
        tool: {
            group: dict(Counter(answer for name, answer in found.items() if group in ("all", groups[name])))
            for group in wanted
        }
        for tool, found in answers.items()
    }


def _show(title: str, answers: Answers) -> None:
    print(title)
    for tool, found in answers.items():
        counts = Counter(found.values())
        print(f"  {tool:11} " + "  ".join(f"{answer} {counts[answer]}" for answer in peers.ANSWERS))
