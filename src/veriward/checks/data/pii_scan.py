"""One part of a split, scanned: which rows hold identifiers, of which kinds, in which columns. No value leaves here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from veriward.checks.data.pii_rows import Array, Source, Wanted, cells, is_readable, open_splits, read
from veriward.core.streams import Stream

if TYPE_CHECKING:
    from veriward.adapters.opened import Opened
    from veriward.privacy.identifiers import Recogniser

EXAMPLES = 3  # kept of each kind in each column


@dataclass
class Part:
    """What one part holds. Rows by their numbers; `numbers` waits until the share of the whole column is known."""

    declared: frozenset[str]  # columns that the subject calls private, or its id
    scanned: int = 0
    seen: list[Array] | None = None  # the rows of a sample
    undeclared_rows: list[int] = field(default_factory=list)
    declared_rows: list[int] = field(default_factory=list)
    present: dict[str, int] = field(default_factory=dict)
    texts: dict[str, dict[str, int]] = field(default_factory=dict)
    numbers: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    sure: dict[str, list[str]] = field(
        default_factory=dict
    )  # kinds whose check digits were right, of columns of numbers
    examples: list[list[Any]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # arrays of pixels and the like
    broken: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)  # recognisers of others

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and arrays, for the dossier."""
        return {
            "scanned": self.scanned,
            "seen": None if self.seen is None else np.concatenate([np.empty(0, np.int64), *self.seen]),
            "undeclared_rows": np.unique(np.array(self.undeclared_rows, np.int64)),
            "declared_rows": np.unique(np.array(self.declared_rows, np.int64)),
            "present": [[column, n] for column, n in self.present.items()],
            "texts": [[column, kind, n] for column, kinds in self.texts.items() for kind, n in kinds.items()],
            "numbers": [
                [column, kind, np.array(rows, np.int64), kind in self.sure.get(column, ())]
                for column, kinds in self.numbers.items()
                for kind, rows in kinds.items()
            ],
            "examples": self.examples,
            "unread": self.unread,
            "broken": [[column, why] for column, why in self.broken.items()],
            "failed": [[name, why] for name, why in self.failed.items()],
        }


@dataclass(frozen=True)
class Look:
    """Scan the rows [start, stop) of a split. `key` is secret and stays in this process and its workers."""

    key: bytes
    stream: Stream
    most: int | None
    sources: Mapping[str, Source]  # tables and objects of the caller's; files of arrays are opened anew

    def __call__(self, opened: Opened, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `Part` as plain data for {"split": "test", "start": 0, "stop": 250000}."""
        from veriward.privacy.identifiers import installed

        source = self.sources.get(item["split"]) or open_splits(opened.subject)[item["split"]]
        rows = source.rows
        data = opened.subject.data
        part = Part(frozenset([*data.private, *([data.id] if data.id else [])]))
        wanted = Wanted(item["start"], item["stop"], self.most, self.stream.child(item["split"]))
        if self.most is not None and rows.total > self.most:
            part.seen = []
        part.unread = [name for name, column in rows.columns.items() if not is_readable(column)]
        recognisers = installed()
        for numbers, columns in read(source, wanted):
            part.scanned += len(numbers)
            if part.seen is not None:
                part.seen.append(numbers)
            for name, raw in columns.items():
                self._column(part, name, raw, numbers, recognisers)
        return part.to_dict()

    def _column(self, part: Part, name: str, raw: Any, numbers: Array, recognisers: tuple[Recogniser, ...]) -> None:
        """Scan one column of one block; one that cannot be read is named, and the others go on."""
        if name in part.broken:
            return
        try:
            for column, texts, values in cells(name, raw):
                if texts is None:
                    self._numbers(part, column, values, numbers)
                else:
                    self._texts(part, column, texts, numbers[values], recognisers)
        except Exception as error:  # whatever strange cells raise; its message could quote them
            part.broken[name] = type(error).__name__

    def _texts(
        self, part: Part, column: str, texts: list[str], numbers: Array, recognisers: tuple[Recogniser, ...]
    ) -> None:
        from veriward.privacy.identifiers import scan_texts

        def failed(name: str, error: Exception) -> None:
            part.failed[name] = type(error).__name__

        part.present[column] = part.present.get(column, 0) + len(texts)
        counts = part.texts.setdefault(column, {})
        rows = part.declared_rows if column in part.declared else part.undeclared_rows
        seen: set[tuple[int, str]] = set()
        for number, one in scan_texts(texts, recognisers=recognisers, hint=column, failed=failed):
            if (number, one.kind) in seen:
                continue  # cells are counted, not what stands in them
            seen.add((number, one.kind))
            row = int(numbers[number])
            rows.append(row)
            counts[one.kind] = counts.get(one.kind, 0) + 1
            if counts[one.kind] <= EXAMPLES:
                self._example(part, row, column, one.kind, one.confidence, texts[number][one.start : one.end])

    def _numbers(self, part: Part, column: str, values: Array, numbers: Array) -> None:
        from veriward.privacy.identifiers.columns import find_numbers, present

        part.present[column] = part.present.get(column, 0) + int(present(values).sum())
        for marked in find_numbers(values):
            rows = part.numbers.setdefault(column, {}).setdefault(marked.kind, [])
            for place in marked.at[: max(EXAMPLES - len(rows), 0)]:
                value = str(int(values[place]))
                self._example(part, int(numbers[place]), column, marked.kind, marked.confidence, value)
            rows += numbers[marked.at].tolist()
            known = part.sure.setdefault(column, [])
            if marked.kind == "cn_id" and marked.confidence == "checksum" and marked.kind not in known:
                known.append(marked.kind)

    def _example(self, part: Part, row: int, column: str, kind: str, confidence: str, value: str) -> None:
        from veriward.privacy.identifiers import keyed_hash

        part.examples.append([row, column, kind, confidence, keyed_hash(kind, value, self.key)])
