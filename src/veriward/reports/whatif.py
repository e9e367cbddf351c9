"""What `veriward epsilon` prints and writes: the answer, a table around it, and a curve over the noise."""

import csv
import io
import json
import math
from html import escape
from typing import TYPE_CHECKING, Any

from veriward.reports import charts
from veriward.reports.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from veriward.privacy.dp.whatif import Setting

SCHEMA = "veriward.epsilon/1"
STYLE = (
    ":root{--ink:#1c2733;--soft:#5b6b7b;--line:#d5dbe1}body{font:16px system-ui,sans-serif;margin:3em;color:var(--ink)}"
)
COLUMNS = ("noise_multiplier", "steps", "delta", "epsilon")


def up(value: float, digits: int = 4) -> float:
    """Return a number rounded up to so many digits: epsilon never reads smaller than it is.

    >>> up(2.46123), up(math.inf)
    (2.462, inf)
    """
    if not (0 < value < math.inf):
        return value
    step = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    return float(f"{math.ceil(value / step - 1e-9) * step:.{digits}g}")


def lines(setting: "Setting", cells: "Sequence[Sequence[Setting]]", rows: int | None, words: Catalogue) -> list[str]:
    """Return the answer as text: epsilon with its unit, relation and accountant, and the table of neighbouring settings."""
    batch = "" if rows is None else words.text("epsilon.rows", rows=rows)
    told = [
        words.text("epsilon.answer", epsilon=up(setting.epsilon), delta=f"{setting.delta:g}"),
        words.text("epsilon.unit", unit=unit(setting, words), relation=words.term("relation", setting.relation)),
        words.text(
            "epsilon.training",
            noise=f"{up(setting.noise_multiplier, 6):g}",
            steps=setting.steps,
            rate=f"{setting.sampling_rate:g}",
            rows=batch,
            sampling=words.term("sampling", setting.sampling),
        ),
        words.text("epsilon.accountant", accountant=words.term("accountant", setting.accountant)),
        "",
        words.text("epsilon.table"),
    ]
    heads = [words.text("epsilon.noise"), *(words.text("epsilon.steps", n=cell.steps) for cell in cells[0])]
    body = [[f"{up(row[0].noise_multiplier):g}", *(f"{up(cell.epsilon):g}" for cell in row)] for row in cells]
    return [*told, *_aligned([heads, *body])]


def unit(setting: "Setting", words: Catalogue) -> str:
    """Return what is protected, in words."""
    return words.text("epsilon.one_row") if setting.group == 1 else words.text("epsilon.group", n=setting.group)


def _aligned(rows: list[list[str]]) -> list[str]:
    from unicodedata import east_asian_width

    def cells(text: str) -> int:
        return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)

    widths = [max(cells(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(" " * (w - cells(cell)) + cell for cell, w in zip(row, widths, strict=True)) for row in rows]


def document(setting: "Setting", settings: "Sequence[Setting]", rows: int | None, warnings: "Sequence[str]") -> Any:
    """Return the answer and further settings as plain data (`veriward.epsilon/1`); an infinite epsilon is null."""
    return {
        "schema": SCHEMA,
        "epsilon": _finite(setting.epsilon),
        "delta": setting.delta,
        "noise_multiplier": setting.noise_multiplier,
        "sampling_rate": setting.sampling_rate,
        "steps": setting.steps,
        "sampling": setting.sampling,
        "accountant": setting.accountant,
        "unit": setting.unit,
        "neighbouring": setting.relation,
        "rows": rows,
        "settings": [_row(each) for each in settings],
        "warnings": list(warnings),
    }


def _row(setting: "Setting") -> dict[str, Any]:
    return {
        "noise_multiplier": setting.noise_multiplier,
        "steps": setting.steps,
        "delta": setting.delta,
        "epsilon": _finite(setting.epsilon),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def written(suffix: str, document: Any, words: Catalogue) -> str | None:
    """Return the document as the text of a .json, .csv or .html file; None for another ending."""
    if suffix == ".json":
        return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    if suffix == ".csv":
        out = io.StringIO()
        table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(document["settings"])
        return out.getvalue()
    return _page(document, words) if suffix in (".html", ".htm") else None


def _page(document: Any, words: Catalogue) -> str:
    points = [row for row in document["settings"] if row["epsilon"] is not None]
    title = words.text("epsilon.curve", delta=f"{document['delta']:g}", steps=document["steps"])
    relation = words.term("relation", document["neighbouring"])
    told = words.text("epsilon.drawn", unit=document["unit"], relation=relation, accountant=document["accountant"])
    drawing = charts.drawer()(_spec(points, words), title)
    return (
        f'<!doctype html>\n<html lang="{words.language}"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{drawing}\n<p>{escape(told)}</p></body></html>\n"
    )


def _spec(points: "Sequence[Any]", words: Catalogue) -> charts.Spec:
    x = {"field": "noise_multiplier", "type": "quantitative", "title": words.text("epsilon.noise")}
    y = {"field": "epsilon", "type": "quantitative", "title": "epsilon", "scale": {"type": "log"}}
    mark = {"type": "line", "color": "var(--ink)", "point": True}
    body = {"width": 560, "height": 300, "background": None, "config": charts.CONFIG}
    return {"data": {"values": list(points)}, "mark": mark, "encoding": {"x": x, "y": y}, **body}
