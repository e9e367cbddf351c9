"""A small dossier that looks like a finished run, and a burglar who edits it with plain SQLite."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from veriward.core.estimate import proportion
from veriward.core.evidence import Evidence
from veriward.core.journal import SCHEMA, Journal
from veriward.core.threat import Threat

EVIDENCE = Evidence(
    "a/b",
    "1",
    Threat("g", "scores"),
    (proportion("m", 7, 10),),
    outcomes={"broken": np.array([0, 1], np.int8)},
    rows=10,
)
PLAN = {
    "subject": {"name": "s"},
    "policy": {"hash": "p" * 64, "limit": []},
    "checks": [{"id": "a/b", "check": "a/b", "question": "?", "settings": {}, "key": "k"}],
    "not_run": [{"check": "c/d", "reason": {"code": "x", "values": {}}}],
    "environment": {"python": "3"},
    "seed": 0,
}


def write_run(path: Path, *, finish: bool = True) -> Path:
    """Write plan, start, evidence with a blob, judgement and finish."""
    with Journal(path, write=True) as journal:
        journal.append("plan", "p:0", PLAN)
        journal.append("start", "k", {"id": "a/b"})
        journal.append("item", "i", {"result": {"x": np.arange(5.0), "raw": b"bytes"}})
        journal.append("evidence", "k", EVIDENCE.to_dict())
        journal.append("judgement", "p:0:j", {"plan": "p:0", "findings": {"a/b": []}})
        if finish:
            journal.append("finish", "5", {"count": 5, "plan": "p:0"})
    return path


def burgle(path: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """Drop the triggers, run the statements, put the triggers back exactly as they were."""
    connection = sqlite3.connect(path)
    triggers = [sql for sql in SCHEMA if sql.startswith("CREATE TRIGGER")]
    for trigger in triggers:
        connection.execute(f"DROP TRIGGER {trigger.split()[2]}")
    for statement, values in statements:
        connection.execute(statement, values)
    for trigger in triggers:
        connection.execute(trigger)
    connection.commit()
    connection.close()


def flip(data: bytes, place: int, bit: int) -> bytes:
    """Return the bytes with one bit changed."""
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


Edit = Callable[[Path], None]
