"""What each scanner says about a file, in five words.

flagged: it calls the file dangerous. suspected: it warns, or cannot vouch. error: it gives up with a message.
silent: it read the file and found nothing. unread: it skipped the file.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

ANSWERS = ("flagged", "suspected", "error", "silent", "unread")
_SECONDS = 60  # per file
_LIBRARIES = ("veriward", "picklescan", "fickling")


def versions() -> dict[str, str]:
    """The tools that take part, with their versions."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            print(f"{name}: not installed, so it is left out")
    program = os.environ.get("MODELSCAN")
    if program:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        found["modelscan"] = said.split()[-1]
    else:
        print("modelscan: MODELSCAN names no executable, so it is left out")
    return found


def asked(files: dict[str, Path]) -> dict[str, dict[str, str]]:
    """tool: name of the file: answer. Each library runs in a process of its own."""
    answers = {}
    for tool in versions():
        answers[tool] = _by_modelscan(files) if tool == "modelscan" else _by_library(tool, files)
    return answers


def _by_library(tool: str, files: dict[str, Path]) -> dict[str, str]:
    lines = "\n".join(str(path) for path in files.values())
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scan.peers", tool]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return dict(zip(files, json.loads(done.stdout.splitlines()[-1]), strict=True))


def _by_modelscan(files: dict[str, Path]) -> dict[str, str]:
    """One run over the folder; its report names files relative to the folder, members behind a colon."""
    folder = next(iter(files.values())).parent
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        command = [
            os.environ["MODELSCAN"],
            "scan",
            "-p",
            str(folder),
            "-r",
            "json",
            "-o",
            str(report),
            "--show-skipped",
        ]
        subprocess.run(command, capture_output=True, check=False)  # 1 and more say what was found
        found = json.loads(report.read_text())

    def named(rows: list[object]) -> set[str]:
        return {_file_of(row["source"] if isinstance(row, dict) else str(row), folder) for row in rows}

    issues, errors = named(found["issues"]), named(found["errors"])
    scanned = named(found["summary"]["scanned"]["scanned_files"])

    def answer(path: Path) -> str:
        levels = ((issues, "flagged"), (errors, "error"), (scanned, "silent"))
        return next((word for names, word in levels if path.name in names), "unread")

    return {name: answer(path) for name, path in files.items()}


def _file_of(source: str, folder: Path) -> str:
    return source.removeprefix(str(folder)).lstrip("/").partition(":")[0]


def _veriward(path: str) -> str:
    from veriward.adapters.scan import scan

    return {"dangerous": "flagged", "unknown": "suspected", "clean": "silent"}[scan(path).outcome]


def _picklescan(path: str) -> str:
    from picklescan.scanner import scan_file_path

    found = scan_file_path(path)
    if found.issues_count:
        return "flagged"
    if found.scan_err:
        return "error"
    if found.suspicious_count:
        return "suspected"
    return "silent" if found.scanned_files else "unread"


def _fickling(path: str) -> str:
    """As `fickling --check-safety` does; its grades above LIKELY_SAFE end in an exit code of 1."""
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import PickleDecodeError, StackedPickle

    try:
        with open(path, "rb") as file:
            pickles = StackedPickle.load(file, fail_on_decode_error=False)
    except PickleDecodeError:
        return "error"
    grades = [check_safety(each, json_output_path=os.devnull).severity for each in pickles]
    if not grades:
        return "unread"
    worst = max(grades)
    if worst > Severity.SUSPICIOUS:
        return "flagged"
    return "suspected" if worst > Severity.LIKELY_SAFE else "silent"


def _late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


def main(tool: str) -> None:
    """Answer for each path on stdin; the last line of stdout is the list of answers."""
    logging.disable(logging.CRITICAL)
    ask: Callable[[str], str] = {"veriward": _veriward, "picklescan": _picklescan, "fickling": _fickling}[tool]
    signal.signal(signal.SIGALRM, _late)
    answers = []
    for line in sys.stdin:
        signal.alarm(_SECONDS)
        try:
            answers.append(ask(line.rstrip("\n")))
        except Exception as error:
            print(f"{tool}: {line.strip()}: {error!r}", file=sys.stderr)
            answers.append("error")
        signal.alarm(0)
    print("\n" + json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1])
