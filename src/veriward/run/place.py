"""Where a dossier lies, seen from its subject: what a report needs to write commands that can be copied."""

import os
from pathlib import Path
from typing import Any

from veriward.core.policy import Policy
from veriward.core.subject import Subject


def place(subject: Subject, dossier: Path, policy: str | Path | Policy | None) -> dict[str, Any]:
    """Return the subject's file, its folder and the policy's file, all relative to the dossier's folder.

    No absolute path enters a dossier: it may go to somebody else. None stands for what was made in Python, which no
    command can name.

    >>> place(Subject(model=len, data={"test": ([[0.0]], [0])}), Path("x.ward"), None)
    {'subject': None, 'folder': None, 'policy': 'default'}
    """
    start = dossier.resolve().parent
    known = bool(subject.file) and not subject.is_live
    limits: str | None = None if isinstance(policy, Policy) else str(policy or "default")
    if limits is not None and limits.endswith(".toml"):
        limits = relative(Path(limits).resolve(), start)
    return {
        "subject": relative(subject.folder / subject.file, start) if known else None,
        "folder": relative(subject.folder, start) if known else None,
        "policy": limits,
    }


def relative(path: Path, start: Path) -> str | None:
    """Return a path as seen from a folder, with slashes; None where there is no way, as between two drives."""
    try:
        return Path(os.path.relpath(path.resolve(), start)).as_posix()
    except ValueError:
        return None
