"""Seals: an Ed25519 signature over the head of the chain; and `verify`, which says what they and the chain prove."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veriward.core.canonical import canonical
from veriward.core.errors import DossierError
from veriward.core.journal import Journal, Row
from veriward.core.keys import is_signed, public_hex, read_private, read_public

SEALED = ("head", "seq", "time", "policy")


@dataclass(frozen=True)
class Verification:
    """What `verify` found: `code` 0 intact under a trusted key, 1 altered, 3 unfinished or no trusted key."""

    code: int
    damage: tuple[str, ...]
    notes: tuple[str, ...]
    rows: int
    sealed_rows: int | None


def seal(journal: Journal, key: Path, *, policy: str, time: str) -> int:
    """Append a signature over everything so far, unless this key has just done so; returns how many rows it covers."""
    private = read_private(key)
    public = public_hex(private.public_key())
    last = journal.last()
    assert last is not None
    if last.kind == "seal" and last.body.get("public_key") == public:
        return int(last.body["seq"])
    body: dict[str, Any] = {"head": last.link, "seq": last.seq, "time": time, "policy": policy}
    body["signature"] = private.sign(canonical(body).encode()).hex()
    body["public_key"] = public
    journal.append("seal", f"{last.seq}:{public[:16]}", body)
    return last.seq


def verify(path: Path, key: Path | None = None, *, untouched: bool = False) -> Verification:
    """Check chain, blobs, the end of the run and the seals of a dossier; imports no torch and no scipy.

    `untouched`: without rolling back what a killed writer left, and all of one moment, for which a writer waits.
    """
    with Journal(path, untouched=untouched) as journal:
        damage = journal.damage()
        rows = list(journal.rows())
    sealed, seal_damage, seal_notes = _check_seals(rows, key)
    damage += seal_damage
    notes = [*_unfinished(rows), *seal_notes]
    # a removed tail shows as unfinished unless the seal, or the count, proves that there was more
    code = 1 if damage else (3 if notes else 0)
    return Verification(code, tuple(damage), tuple(notes), len(rows), sealed)


def _unfinished(rows: list[Row]) -> list[str]:
    """Return a note unless the latest plan was run to its end and the end counts the rows before it."""
    plans = [row.seq for row in rows if row.kind == "plan"]
    ends = [row for row in rows if row.kind == "finish"]
    if not plans or not ends or ends[-1].seq < plans[-1]:
        return ["unfinished: the last run did not come to its end, or its last rows were removed; run it again"]
    if _body(ends[-1]).get("count") != ends[-1].seq - 1:
        return ["unfinished: the end of the run counts other rows than there are"]
    return []


def _check_seals(rows: list[Row], key: Path | None) -> tuple[int | None, list[str], list[str]]:
    """Return how many rows a good seal covers, the damage and the notes."""
    trusted = public_hex(read_public(key)) if key else None
    links = {row.seq: row.link for row in rows}
    seals = [row for row in rows if row.kind == "seal"]
    damage = [f"seal in row {row.seq}: the signature does not match" for row in seals if not _valid(row, links)]
    if not seals:
        text = "not sealed: the chain shows accidents, not forgery; seal with veriward assess --seal KEY"
        return None, [], [text]
    own = [row for row in seals if trusted is None or _body(row).get("public_key") == trusted]
    if not own:
        return None, [*damage, f"sealed by another key than {key}"], []
    good = [int(_body(row)["seq"]) for row in own if _valid(row, links)]
    if not good:
        return None, damage, []
    covered = max(good)
    notes = [] if trusted else ["sealed, but no trusted key was given: pass the signer's public key with --key"]
    if any(row.seq > covered and row.kind != "seal" for row in rows):
        notes.append(f"sealed up to {covered} of {len(rows)} rows")
    return covered, damage, notes


def _body(row: Row) -> dict[str, Any]:
    """Return a row's body, empty where it cannot be read: the chain names that row as altered."""
    try:
        return dict(row.body)
    except DossierError:
        return {}


def _valid(row: Row, links: dict[int, str]) -> bool:
    body = _body(row)
    try:
        message = canonical({name: body[name] for name in SEALED}).encode()
        signed = is_signed(message, body["signature"], body["public_key"])
    except (KeyError, ValueError, TypeError):
        return False
    return signed and bool(links.get(body["seq"]) == body["head"])
