"""The summary: columns that line up, no line too wide, every undecided with what would decide it."""

import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from veriward.core.dossier import Dossier
from veriward.reports.terminal import summary


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_screen(dossier: Dossier, lang: str, width: int) -> None:
    lines = [line for line in summary(dossier, lang, width).splitlines() if " veriward " not in line]
    assert max(cell_len(line) for line in lines) <= width, "only commands, which are there to be copied, run over"


def test_paint_changes_colours_only(dossier: Dossier) -> None:
    painted = summary(dossier, "en", 100, paint=True)
    for code in ("31", "32", "33", "35", "2"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted.replace("\x1b[0m", "") == summary(dossier, "en", 100)


def test_the_shop_reads_as_designed(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the dossier's folder: commands are written for where one stands
    text = summary(make("shop"), "en", 140, report_path="shop.html")
    lines = text.splitlines()
    assert lines[0].startswith("shop-purchase · skops, scores · 1 200 test rows × 9 · policy default@")
    assert "(fixed before the run)" in lines[0]
    assert lines[1] == "runs your code: recipe.py@71c0"
    assert lines[2].startswith("  ✗ evasion/linf     robust accuracy  ")
    assert lines[2].endswith("limit ≥ 0.50  FAIL")
    assert lines[3].strip() == "cheapest: income +4 % (row 117)"
    assert re.search(r"UNDECIDED: about [\d ]+ rows would decide", text)
    assert "– certify/bounds   not run: " in text
    assert "1 fail · 2 undecided · 2 not run     16 s · 99 320 queries" in lines
    assert lines[-2:] == ["report  shop.html", "next    veriward assess . --checks evasion/linf"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_columns_line_up(make: Any, lang: str) -> None:
    rows = [line for line in summary(make("shop"), lang, 140).splitlines() if line[2:3] in {"✗", "?"}]
    mark = "limit" if lang == "en" else "限值"
    assert len({cell_len(row[: row.index(mark)]) for row in rows}) == 1


def test_fairness_shows_its_worst_attribute_and_counts_the_others(make: Any) -> None:
    text = summary(make("shop"), "en", 140)
    assert "opportunity gap (gender)" in text
    assert "other limits of this check: 5 undecided" in text


def test_each_undecided_says_what_would_decide_it(make: Any) -> None:
    early, rough = summary(make("one_sided"), "en", 200), summary(make("broken"), "en", 200)
    assert "budget standard could pass it" in early
    assert "not estimable: fewer than two groups have rows" in early
    assert "the check failed its own control" in rough
    assert "a sign that the number flatters the model" in rough
    assert "between the policy's pass and fail limits" in summary(make("several_eps"), "en", 200)


def test_errors_show_their_message_and_are_no_pass(make: Any) -> None:
    text = summary(make("broken"), "en", 160)
    assert "! fairness/groups" in text
    assert "ERROR: DataError: groups: column 'gender' holds one value" in text
    assert " pass" not in text
    assert "未完成：运行中断" in summary(make("broken"), "zh", 160)


def test_a_killed_run_is_unfinished(make: Any) -> None:
    text = summary(make("unjudged"), "en", 160)
    assert "not judged: the run did not come to its end" in text
    assert "unfinished: " in text


def test_names_cannot_move_the_cursor_or_reverse_the_text(make: Any) -> None:
    text = summary(make("hostile"), "en", 100)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_nothing_to_show_is_said(make: Any) -> None:
    assert "1 not run" in summary(make("empty"), "en", 80)
    assert "next    veriward checks" in summary(make("empty"), "en", 80)
