"""Charts as plain Vega-Lite dicts, drawn to SVG without a browser and made fit to stand inside a page.

Colours are CSS variables of the page, so that a chart follows its theme.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from veriward.core.estimate import Estimate
from veriward.core.finding import Judged
from veriward.reports.headline import threshold, wants_large

Spec = dict[str, Any]
VERSION = "v5.20"
FONT = "system-ui, sans-serif"
STRIP = (240, 22)
COUNTS = ("census", "flags")  # what was counted, not sampled
TOPS = (0.01, 0.02, 0.05, 0.1, 0.25)  # ends of an axis of small shares
AXIS: Spec = {"grid": False, "tickCount": 4, "domainColor": "var(--line)", "tickColor": "var(--line)"}
CONFIG: Spec = {
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        **AXIS,
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "labelFontSize": 11,
        "titleFontSize": 11,
    },
    "header": {"labelColor": "var(--ink)", "labelFontSize": 12, "titleFontSize": 0},
}
NOISE = re.compile(
    r' (?:class|role|version|aria-[a-z]+|xmlns:xlink|stroke-miterlimit|pointer-events)="[^"]*"| opacity="1"'
)
EMPTY = re.compile(r'<path (?:aria-hidden="true" )?d="(?:M0,0h0v0h0Z)?"(?: display="none")?/>')


def extent(estimate: Estimate, limits: Iterable[Judged]) -> tuple[float, float]:
    """Return the ends of the axis on which an estimate and its limits are drawn."""
    ends = [estimate.low, estimate.high, *(threshold(c) for limit in limits for c in (limit.pass_if, limit.fail_if))]
    known = [end for end in ends if end is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if estimate.basis.get("kind") in COUNTS and float(low).is_integer() and float(high).is_integer():
        return min(low, 0.0), max(high, 0.0) + 1  # counts are drawn from zero, with room for one more
    if low >= 0 and high <= 1:
        return 0.0, next((top for top in TOPS if high <= 0.9 * top), 1.0)
    if low >= -1 and high <= 1:  # differences of shares: as wide on either side, so that 0 stands in the middle
        top = next((top for top in TOPS if max(high, -low) <= 0.9 * top), 1.0)
        return -top, top
    margin = (high - low) * 0.1 or 1.0
    return _rounded(low - margin if low < 0 or low > margin else 0.0, math.floor), _rounded(high + margin, math.ceil)


def _rounded(end: float, towards: Callable[[float], int]) -> float:
    """Return an end of an axis with two telling digits, further out."""
    if end == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(end))) - 1)
    return towards(end / step) * step


def strip(estimate: Estimate, limit: Judged | None, ends: tuple[float, float], floor: Estimate | None = None) -> Spec:
    """Return one line: what passes and fails shaded, the interval as a bar, the value as a dot.

    `floor` is what is proved of the same truth: an open ring, joined to the dot by a dashed line.
    """
    zones, marks = (_zones(limit, ends), _limit(limit)) if limit else ([], [])
    layers: list[Spec] = []
    for zone in zones:
        mark = {"type": "rect", "color": f"var(--{zone.pop('zone')}-soft)"}
        layers.append(_layer([zone], mark, ends, wide=True))
    axis = {"type": "rule", "color": "var(--line)"}
    layers.append(_layer([{"a": ends[0], "b": ends[1]}], axis, ends, wide=True))
    layers += [_layer([m], {"type": "tick", "color": "var(--ink)", "thickness": 1.5, "size": 22}, ends) for m in marks]
    layers += _floor(estimate, floor, ends) if floor is not None else []
    if estimate.value is not None:
        bar = {"type": "rule", "color": "var(--ink)", "strokeWidth": 4, "strokeCap": "round", "opacity": 0.45}
        layers.append(_layer([{"a": estimate.low, "b": estimate.high}], bar, ends, wide=True))
        dot = {"type": "point", "filled": True, "color": "var(--ink)", "size": 70, "opacity": 1}
        layers.append(_layer([{"a": estimate.value}], dot, ends))
    return {"width": STRIP[0], "height": STRIP[1], "padding": 0, "background": None, "config": CONFIG, "layer": layers}


def _floor(estimate: Estimate, floor: Estimate, ends: tuple[float, float]) -> list[Spec]:
    if floor.value is None or estimate.value is None:
        return []
    dashed = {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.5, "strokeDash": [3, 3]}
    bar = {"type": "rule", "color": "var(--pass)", "strokeWidth": 4, "strokeCap": "round", "opacity": 0.45}
    ring = {"type": "point", "filled": False, "color": "var(--pass)", "size": 60, "strokeWidth": 2, "opacity": 1}
    return [
        _layer([{"a": floor.value, "b": estimate.value}], dashed, ends, wide=True),
        _layer([{"a": floor.low, "b": floor.high}], bar, ends, wide=True),
        _layer([{"a": floor.value}], ring, ends),
    ]


def stack(parts: Sequence[tuple[str, str, int]]) -> Spec:
    """Return rows as one bar of parts, (key, word, rows) each: what is proved, open, broken and wrong."""
    colours = {"proved": "var(--pass)", "undecided": "var(--line)", "broken": "var(--fail)", "wrong": "var(--soft)"}
    values = [{"part": word, "rows": rows, "order": i} for i, (_, word, rows) in enumerate(parts) if rows]
    scale = {"domain": [word for _, word, _ in parts], "range": [colours[key] for key, _, _ in parts]}
    legend = {"orient": "bottom", "title": None, "labelColor": "var(--soft)", "symbolType": "square"}
    encoding = {
        "x": {"field": "rows", "type": "quantitative", "stack": "zero", "title": None, "scale": {"nice": False}},
        "color": {"field": "part", "type": "nominal", "scale": scale, "legend": legend},
        "order": {"field": "order"},
    }
    return {
        "data": {"values": values},
        "width": 360,
        "height": 22,
        "background": None,
        "config": CONFIG,
        "mark": {"type": "bar", "opacity": 0.75},
        "encoding": encoding,
    }


def _layer(values: list[Spec], mark: Spec, ends: tuple[float, float], *, wide: bool = False) -> Spec:
    scale = {"domain": list(ends), "nice": False, "zero": False}
    x: Spec = {"field": "a", "type": "quantitative", "scale": scale, "axis": None}
    encoding = {"x": x, "x2": {"field": "b"}} if wide else {"x": x}
    if mark["type"] != "rect":
        encoding["y"] = {"value": STRIP[1] / 2}
    return {"data": {"values": values}, "mark": mark, "encoding": encoding}


def _zones(limit: Judged, ends: tuple[float, float]) -> list[Spec]:
    passes, fails = threshold(limit.pass_if), threshold(limit.fail_if)
    if wants_large(limit):
        return [{"zone": "pass", "a": passes, "b": ends[1]}, {"zone": "fail", "a": ends[0], "b": fails}]
    return [{"zone": "pass", "a": ends[0], "b": passes}, {"zone": "fail", "a": fails, "b": ends[1]}]


def _limit(limit: Judged) -> list[Spec]:
    return [{"a": threshold(limit.pass_if)}]


def groups(rates: Sequence[tuple[str, str, Estimate]]) -> Spec:
    """Return rates of groups with their intervals, (panel, group, estimate) each, one panel per rate."""
    values: list[dict[str, Any]] = [
        {"panel": panel, "group": group, "value": e.value, "low": e.low, "high": e.high}
        for panel, group, e in rates
        if e.value is not None
    ]
    order = list(dict.fromkeys(panel for panel, _, _ in rates))
    named = list(dict.fromkeys(group for _, group, _ in rates))
    y = {"field": "group", "type": "nominal", "title": None, "sort": named, "axis": {"labelLimit": 150, "ticks": False}}
    shares = all(v["low"] >= 0 and v["high"] <= 1 for v in values)
    scale: Spec = {"domain": [0, 1]} if shares else {"zero": False}  # means have units of their own
    x = {"type": "quantitative", "scale": scale, "title": None}
    spans = {"mark": _SPAN, "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y}}
    dots = {"mark": _DOT, "encoding": {"x": {**x, "field": "value"}, "y": y}}
    facet = {"field": "panel", "type": "nominal", "sort": order, "title": None}
    inner = {"width": 170, "height": {"step": 22}, "layer": [spans, dots]}
    return {
        "data": {"values": values},
        "background": None,
        "config": CONFIG,
        "spacing": 28,
        "facet": {"column": facet},
        "spec": inner,
        **({} if shares else {"resolve": {"scale": {"x": "independent"}}}),
    }


_SPAN: Spec = {"type": "rule", "color": "var(--ink)", "strokeWidth": 4, "strokeCap": "round", "opacity": 0.35}
_DOT: Spec = {"type": "point", "filled": True, "color": "var(--ink)", "size": 60, "opacity": 1}


def curve(points: Sequence[tuple[float, Estimate]], limit: Judged | None, titles: tuple[str, str]) -> Spec:
    """Return a metric over the size of the change, with its intervals and the limit."""
    values: list[dict[str, Any]] = [
        {"x": x, "value": e.value, "low": e.low, "high": e.high} for x, e in points if e.value is not None
    ]
    x = {"field": "x", "type": "quantitative", "title": titles[0], "scale": {"zero": True}}
    shares = all(v["low"] >= 0 and v["high"] <= 1 for v in values)
    y: Spec = {"type": "quantitative", "title": titles[1], "scale": {"domain": [0, 1]} if shares else {"zero": True}}
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "color": "var(--soft)", "strokeWidth": 1},
            "encoding": {"x": x, "y": {**y, "field": "value"}},
        },
        {"mark": _SPAN, "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}},
        {"mark": _DOT, "encoding": {"x": x, "y": {**y, "field": "value"}}},
    ]
    if limit:
        rule = {"type": "rule", "color": "var(--fail)", "strokeDash": [4, 3]}
        line = {"data": {"values": [{"y": threshold(limit.pass_if)}]}, "mark": rule}
        layers.append({**line, "encoding": {"y": {**y, "field": "y"}}})
    return {
        "data": {"values": values},
        "width": 360,
        "height": 150,
        "background": None,
        "config": CONFIG,
        "layer": layers,
    }


def drawer() -> Callable[[Spec, str], str]:
    """Return a function that draws a chart with a spoken description; names inside its drawings never repeat."""
    numbers = itertools.count()
    return lambda spec, spoken: tidy(_svg(spec), f"c{next(numbers)}-", spoken)


def _svg(spec: Mapping[str, Any]) -> str:
    import vl_convert

    # no base address is allowed: a chart holds its data, and drawing it must not reach for a network
    svg: str = vl_convert.vegalite_to_svg(dict(spec), allowed_base_urls=[])
    return svg


def tidy(svg: str, prefix: str, spoken: str) -> str:
    """Return a drawing with unique names, without Vega's attributes, and with a description for readers who listen."""
    plain = EMPTY.sub("", NOISE.sub("", svg))
    named = re.sub(r'\bid="', f'id="{prefix}', plain).replace("url(#", f"url(#{prefix}")
    return named.replace("<svg ", f'<svg role="img" aria-label="{escape(spoken, quote=True)}" ', 1)
