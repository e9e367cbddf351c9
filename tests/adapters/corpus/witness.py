"""Loads files that were called clean, and watches by audit hooks what the interpreter does. Run as a program.

Reads lines of JSON, [path, loader]; answers one line of JSON: for each file the events that a clean file may not cause.
Events: PEP 578 and the table of audit events in Python's documentation. What the libraries open and run of their own lies
under the installation, and is left out.
"""

import io
import json
import os
import sys
import warnings
from contextlib import suppress
from types import CodeType
from typing import Any

from victim import LOADERS  # type: ignore[import-not-found]  # it lies beside this program

_ALWAYS = (
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.dlopen",
    "shutil.",
    "tempfile.",
    "sqlite3.",
    "webbrowser.",
    "urllib.",
)
_READS = ("os.listdir", "os.scandir", "os.putenv", "os.unsetenv", "os.fwalk", "os.walk")
_HOME = (sys.prefix, sys.base_prefix, "/usr/lib", "/proc", "/sys", "/dev", "<frozen")
watched: dict[str, Any] = {"path": None, "events": set()}


def _is_ours(name: object) -> bool:
    return isinstance(name, int) or str(name).startswith(_HOME)


def hook(event: str, args: tuple[Any, ...]) -> None:
    path, events = watched["path"], watched["events"]
    if path is None:
        return
    if event == "open" and args[0] != path and not _is_ours(args[0]):
        events.add(f"open {args[0]}")
    elif event == "exec" and isinstance(args[0], CodeType) and not _is_ours(args[0].co_filename):
        events.add(f"exec {args[0].co_filename}")
    elif event.startswith(_ALWAYS) and event not in _READS:
        events.add(event)
    elif event == "pickle.find_class":
        events.add(f"name {args[0]}.{args[1]}")


def main() -> None:
    warnings.simplefilter("ignore")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    tasks = [json.loads(line) for line in sys.stdin]
    answers, sys.stdout = sys.stdout, io.StringIO()
    for path, loader in tasks[:20]:  # imports happen before anybody watches
        with suppress(Exception):
            LOADERS[loader](path)
    sys.addaudithook(hook)
    found = []
    for path, loader in tasks:
        watched.update(path=path, events=set())
        with suppress(Exception):
            LOADERS[loader](path)
        watched["path"] = None
        found.append(sorted(watched["events"]))
    answers.write(json.dumps(found))


if __name__ == "__main__":
    main()
