"""Markdown for pull requests: the verdict first, tables that hold, and names that stay text."""

import re
from typing import Any

import pytest

from veriward.core.dossier import Dossier
from veriward.reports.markdown import BREAK, build, code, escaped


def test_the_verdict_stands_first_and_the_commands_can_be_copied(make: Any) -> None:
    text = build(make("shop"))
    assert text.startswith("## ✗ shop-purchase: fail · 1 of 8 limits broken\n")
    assert "| ✗ | `evasion/linf` | robust accuracy **0.223 \\[0.199, 0.248\\]** | ≥ 0.50 | **fail** |" in text
    assert "```sh\n   veriward assess . --checks evasion/linf\n   ```" in text
    assert "certify/bounds" in text
    assert "3f9a" * 16 in text


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_tables_hold(dossier: Dossier, lang: str) -> None:
    wide = 0
    for line in build(dossier, lang).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1 if line.startswith("|") else 0
        assert cells in (0, wide) or wide == 0, line
        wide = cells


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_folds_close(dossier: Dossier, lang: str) -> None:
    text = build(dossier, lang)
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>") == text.count("</summary>")
    without_code = re.sub(r"`+[^`\n]+`+", "", text)
    assert set(re.findall(r"</?(\w+)>", without_code)) <= {"details", "summary", "br"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_hostile_names_are_text(make: Any, lang: str) -> None:
    text = build(make("hostile"), lang)
    assert "<script" not in re.sub(r"`+[^`\n]+`+", "", text)
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://evil.example/p.png)",
        "[click](javascript:x)",
        "<img src=x onerror=y>",
        "a | b",
        "# title",
        "- item",
        "1. item",
        "line\n\n## two",
        "`code`",
        "**bold** ~~struck~~ $math$",
        "&lt;b&gt;",
    ],
)
def test_markup_is_escaped(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[\[\]`|*~$<>]", shown)
    assert not re.match(r"[-#+=]|\d+[.)]", shown)
    assert "&lt;b" not in shown


@pytest.mark.parametrize("text", ["@everyone", "see #12", "GH-7", "http://evil.example", "www.evil.example", "a@b.c"])
def test_nothing_calls_somebody_or_becomes_a_link(text: str) -> None:
    assert BREAK in escaped(text)
    assert escaped(text).replace(BREAK, "") == text


def test_code_holds_backticks_and_pipes() -> None:
    assert code("a|b") == "`a\\|b`"
    assert code("`x``y`") == "``` `x``y` ```"
    assert code("") == "` `"
