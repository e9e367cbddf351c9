"""Numbers, drawings, pictures and files."""

import base64
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriward.core.errors import SettingsError
from veriward.core.estimate import Estimate, census, flagged, proportion
from veriward.core.evidence import Witness
from veriward.core.finding import Judged
from veriward.reports import charts, pictures
from veriward.reports.headline import headline
from veriward.reports.numbers import condition, interval, number, p_value, percent, point
from veriward.reports.png import png
from veriward.reports.wording import harmless
from veriward.reports.write import html_path, write_html

HEAVY = ("torch", "scipy", "sklearn", "jinja2", "vl_convert", "rich", "pydantic", "duckdb", "pandas")


def test_printed_intervals_never_claim_more_than_the_measured() -> None:
    draw = np.random.default_rng(0)
    for _ in range(500):
        n = int(draw.integers(1, 5000))
        estimate = proportion("m", int(draw.integers(0, n + 1)), n)
        low, high = (float(part) for part in interval(estimate).strip("[]").split(","))
        assert estimate.low is not None
        assert estimate.high is not None
        assert low <= estimate.low + 1e-9
        assert high >= estimate.high - 1e-9
        assert low <= float(point(estimate)) <= high


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (1e-9, "1e-09"), (1234567, "1\u00a0234\u00a0567"), (2000.0, "2\u00a0000"), ("a", "a")],
)
def test_numbers(value: Any, text: str) -> None:
    assert number(value) == text


def test_edges_of_numbers() -> None:
    assert point(census("pii_rows", 3, 10, "rows")) == "3"
    assert interval(census("pii_rows", 3, 10, "rows")) == ""
    assert p_value(0.0).replace("\u00a0", " ") == "< 0.0001"
    assert condition(">= 0.5") == "≥\u00a00.50"
    assert condition("<= 10") == "≤\u00a010"
    assert percent(0.001) == "0.1"
    assert harmless("a\u202eb\x00c中文") == "a\ufffdb\ufffdc中文"


def test_png_decodes_to_its_pixels() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    data = png(pixels)
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert (width, height, depth, kind) == (4, 2, 8, 2)
    start = data.index(b"IDAT") + 4
    length = struct.unpack(">I", data[start - 8 : start - 4])[0]
    lines = zlib.decompress(data[start : start + length])
    assert b"".join(lines[i * 13 + 1 : (i + 1) * 13] for i in range(2)) == pixels.tobytes()


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 300, 200), (5, 9, 9), (1, 1)])
def test_pictures_of_every_shape_stay_small(shape: tuple[int, ...]) -> None:
    clean = np.random.default_rng(0).random(shape)
    details = {"clean": clean, "adversarial": clean, "bounds": [0.0, 1.0], "was": 1, "became": 2}
    (triple,) = pictures.triples([Witness(0, "", 0.1, details)], 32)
    data = base64.b64decode(triple.clean.split(",")[1])
    width, height = struct.unpack(">II", data[16:24])
    assert max(width, height) <= 32


def test_tables_have_no_pictures() -> None:
    assert not pictures.is_image({"clean": np.zeros(9), "adversarial": np.zeros(9)})
    assert not pictures.is_image({"was": 1})


def test_a_drawing_has_its_own_names_and_no_script() -> None:
    draw = charts.drawer()
    estimate = Estimate("m", 0.5, 0.4, 0.6, 10, "", "", at={"attribute": "a", "group": "<script>"})
    spec = charts.groups([("r", "<script>alert(1)</script>", estimate), ("r", '" onload="x', estimate)])
    first, second = draw(spec, '"<'), draw(spec, "y")
    assert "<script" not in first
    assert 'aria-label="&quot;&lt;"' in first
    assert "http" not in first.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert first.replace("c0-", "c1-").replace("&quot;&lt;", "y") == second


def test_axes_hold_everything_that_is_drawn() -> None:
    limit = Judged("m", {}, "<= 0.03", "> 0.1", "pass", "limit_kept")
    small = Estimate("m", 0.02, 0.01, 0.03, 10, "", "")
    large = Estimate("m", 40.0, 30.0, 50.0, 10, "", "")
    assert charts.extent(small, [limit]) == (0.0, 0.25)
    low, high = charts.extent(large, [limit])
    assert low < 0.03
    assert high > 50


def test_the_worst_limit_speaks_for_a_finding(make: Any) -> None:
    top = headline(make("shop")["fairness/groups"])
    assert top is not None
    assert top.estimate.metric == "equal_opportunity_difference"
    assert len(top.others) == 5


def test_writing_is_atomic_and_says_where_it_cannot(make: Any, tmp_path: Path) -> None:
    dossier = make("shop")
    target = write_html(dossier, html_path(dossier, "zh"), "zh")
    assert target.name == "shop.zh.html"
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
    with pytest.raises(SettingsError, match="cannot write"):
        write_html(dossier, tmp_path / "missing" / "x.html")


def test_importing_the_room_is_cheap_and_reading_needs_no_torch(make: Any) -> None:
    dossier = make("several_eps")
    code = f"""
import sys
from veriward.reports import catalogue, html, json_report, junit, markdown, sarif, terminal, write
from veriward.core.dossier import Dossier
early = [m for m in {HEAVY} if m in sys.modules]
with Dossier.open({str(dossier.path)!r}) as dossier:
    html.render(dossier, "zh"), terminal.summary(dossier), json_report.build(dossier)
    sarif.build(dossier), junit.build(dossier), markdown.build(dossier)
print(early, [m for m in ("torch", "scipy", "sklearn", "pydantic") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


def test_counts_are_drawn_from_zero_with_room_for_one_more() -> None:
    limit = Judged("dangerous_findings", {}, "<= 0", "> 0", "pass", "limit_kept")
    assert charts.extent(census("dangerous_findings", 0, 1, "findings"), [limit]) == (0, 1)
    assert charts.extent(census("dangerous_findings", 3, 1, "findings"), [limit]) == (0, 4)
    shown = flagged("weak_slices", [0.001, 0.9], 100, unit="findings")
    assert charts.extent(shown, [limit]) == (0, 2)


@pytest.mark.parametrize(
    ("ends", "axis"),
    [
        ((-0.03, 0.02), (-0.05, 0.05)),
        ((-0.5, 0.4), (-1.0, 1.0)),
        ((-3.1, 0.4), (-3.5, 0.75)),
        ((820.0, 901.0), (810.0, 910.0)),
    ],
)
def test_axes_take_differences_and_other_units(ends: tuple[float, float], axis: tuple[float, float]) -> None:
    low, high = ends
    assert charts.extent(Estimate("m", low, low, high, 9, "", ""), []) == pytest.approx(axis)
