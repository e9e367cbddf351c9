"""A 64-bit key per row of a split, so that rows of files larger than memory are compared as numbers.

Tables are hashed by DuckDB, cell by cell as it reads them; arrays by BLAKE2b of the row's bytes. Numbers are equal by
value, whatever type a file gives them; NaN is missing, and -0 is 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from veriward.core.rows import ColumnKind, Rows

Array = np.ndarray[Any, Any]
BLOCK = 1 << 16


@dataclass(frozen=True)
class Keys:
    """One key per row (n,) uint64 for its inputs, its label and its person; None where the subject names none."""

    inputs: Array
    labels: Array | None
    ids: Array | None

    @property
    def whole(self) -> Array:
        """The key of inputs and label together, (n,)."""
        return self.inputs if self.labels is None else mixed(self.inputs, self.labels)


def mixed(a: Array, b: Array) -> Array:
    """Return one key for each pair of keys, by splitmix64's finaliser over their sum after an odd multiplication."""
    z = a * np.uint64(0x9E3779B97F4A7C15) + b
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def input_names(splits: Mapping[str, Rows], beside: Sequence[str | None]) -> tuple[str, ...]:
    """Return the inputs that all splits have: the array x, else every column that is not in `beside`."""
    first, *others = splits.values()
    names = [name for name in first.names if all(name in other.names for other in others)]
    if "x" in names and any(rows.kinds.get("x") == "array" for rows in splits.values()):
        return ("x",)
    return tuple(name for name in names if name not in beside)


def read_keys(
    splits: Mapping[str, Rows], names: Sequence[str], label: str | None, person: str | None
) -> dict[str, Keys]:
    """Return the keys of each split; a column is compared as what it is in all of them."""
    kinds = {
        name: _common([rows.kinds[name] for rows in splits.values()]) for name in _held(splits, names, label, person)
    }
    found = {}
    for which, rows in splits.items():
        groups = {"inputs": tuple(names)}
        groups |= {role: (name,) for role, name in (("labels", label), ("ids", person)) if name in kinds}
        keys = _of_table(rows, {r: g for r, g in groups.items() if not _wide(rows, g)}, kinds)
        keys |= {role: _of_array(rows.columns[group[0]]) for role, group in groups.items() if _wide(rows, group)}
        found[which] = Keys(keys["inputs"], keys.get("labels"), keys.get("ids"))
    return found


def _held(splits: Mapping[str, Rows], names: Sequence[str], label: str | None, person: str | None) -> list[str]:
    asked = [*names, *(name for name in (label, person) if name is not None)]
    return [name for name in asked if all(name in rows.names for rows in splits.values())]


def _wide(rows: Rows, group: Sequence[str]) -> bool:
    return any(rows.kinds[name] == "array" for name in group)


def _common(kinds: Sequence[ColumnKind]) -> str:
    if len(set(kinds)) == 1:
        return kinds[0]
    return "number" if set(kinds) <= {"integer", "number", "boolean"} else "mixed"


def _cell(name: str, kind: str) -> str:
    from veriward.core.rows import quoted

    cell = quoted(name)
    number = f"CASE WHEN isnan(CAST({cell} AS DOUBLE)) THEN NULL ELSE CAST({cell} AS DOUBLE) + 0.0 END"
    if kind == "mixed":  # "1" in one file is 1.0 in the other
        return f"coalesce(CAST(TRY_CAST({cell} AS DOUBLE) AS VARCHAR), CAST({cell} AS VARCHAR))"
    return {"number": number, "integer": f"CAST({cell} AS HUGEINT)"}.get(kind, f"CAST({cell} AS VARCHAR)")


def _of_table(rows: Rows, groups: Mapping[str, Sequence[str]], kinds: Mapping[str, str]) -> dict[str, Array]:
    if not groups:
        return {}
    empty = {role: np.zeros(rows.total, np.uint64) for role in groups}
    columns = [
        f"hash({', '.join(_cell(name, kinds[name]) for name in group)}) AS {role}"
        for role, group in groups.items()
        if group
    ]
    start = 0
    with rows.query(f"SELECT {', '.join(columns)} FROM rows") as result:  # noqa: S608 -- names are quoted
        while len(frame := result.fetch_df_chunk(BLOCK // 2048)):
            for role in frame.columns:
                empty[role][start : start + len(frame)] = frame[role].to_numpy()
            start += len(frame)
    return empty


def _of_array(array: Array) -> Array:
    """Return the keys of an array's rows (n, ...); float64, so that bytes and floats of the same numbers agree."""
    found = np.empty(len(array), np.uint64)
    for top in range(0, len(array), BLOCK // 64):
        part = array[top : top + BLOCK // 64].reshape(len(array[top : top + BLOCK // 64]), -1).astype(np.float64) + 0.0
        part[np.isnan(part)] = np.nan  # one NaN of the many
        for n, row in enumerate(part):
            found[top + n] = int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little")
    return found
