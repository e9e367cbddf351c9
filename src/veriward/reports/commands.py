"""Commands that can be copied: where the subject lies, and which options its run had.

A report's commands are written for the folder that holds the dossier; those on a terminal for the folder one stands in.
"""

import os
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

from veriward.core.dossier import Dossier

STANDARD = "standard"
HERE = "."
FAR = os.path.join(os.pardir, os.pardir)  # from there on, the whole path reads better


def assess(
    dossier: Dossier, *extra: str, base: Path | None = None, checks: str | None = None, budget: str | None = None
) -> str | None:
    """Return the command that runs the assessment again; None where the subject was made in Python.

    `base` is the folder in which it will be typed, by default the dossier's own.
    """
    place = _place(dossier)
    if place["subject"] is None:
        return None
    words = ["veriward", "assess", _seen(dossier, _subject(place), base)]
    words += ["--checks", checks] if checks else []
    words += ["--policy", _policy(dossier, place, base)] if place["policy"] not in (None, "default") else []
    words += ["--out", _seen(dossier, dossier.path.name, base)] if _is_elsewhere(dossier, place) else []
    wanted = budget or dossier.plan.get("budget", STANDARD)
    words += ["--budget", wanted] if budget or wanted != STANDARD else []
    words += ["--seed", str(dossier.plan["seed"])] if dossier.plan["seed"] else []
    return shlex.join([*words, *extra])


def verify(dossier: Dossier, base: Path | None = None) -> str:
    """Return the command that checks the chain and the seal."""
    return shlex.join(["veriward", "verify", _seen(dossier, dossier.path.name, base)])


def subject_folder(dossier: Dossier) -> str:
    """Return the subject's folder as seen from the dossier's."""
    return str(_place(dossier)["folder"] or HERE)


def _place(dossier: Dossier) -> dict[str, Any]:
    """Return what the run wrote down; dossiers of older versions lie beside their subject, as far as anybody knows."""
    default = {"subject": "subject.toml", "folder": HERE, "policy": None, "known": False}
    written = dossier.plan.get("place")
    return {**default, **written, "known": True} if isinstance(written, dict) else default


def _subject(place: dict[str, Any]) -> str:
    """Return what names the subject shortest: its folder where the file has the usual name."""
    file = PurePosixPath(str(place["subject"]))
    return str(file.parent if file.name == "subject.toml" else file)


def _policy(dossier: Dossier, place: dict[str, Any], base: Path | None) -> str:
    policy = str(place["policy"])
    return _seen(dossier, policy, base) if policy.endswith(".toml") else policy


def _is_elsewhere(dossier: Dossier, place: dict[str, Any]) -> bool:
    """Return whether the dossier lies where assess would not look for it by itself."""
    usual = place["folder"] == HERE and dossier.path.name == f"{dossier.subject['name']}.ward"
    return bool(place["known"]) and not usual


def _seen(dossier: Dossier, path: str, base: Path | None) -> str:
    """Return a path, given as seen from the dossier's folder, as seen from `base`."""
    if base is None:
        return path
    whole = os.path.normpath(dossier.path.resolve().parent / path)
    try:
        near = os.path.relpath(whole, base.resolve())
    except ValueError:  # another drive
        return whole
    return whole if near.startswith(FAR) else near
