"""The page: one file, no script, no network, everything foreign escaped, verdicts in words."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from veriward.core.dossier import Dossier
from veriward.reports.html import render

from .fixtures import HOSTILE, wide, write

VOID = {"meta", "br", "img", "link", "input", "hr"}
MOST_BYTES = 500_000


class Reader(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.stack: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.stack and self.stack[-1] != "style" else ""


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_one_file_without_script_or_network(dossier: Dossier, lang: str) -> None:
    text = render(dossier, lang)
    page = Reader(text)
    assert page.stack == []
    assert len(text.encode()) <= MOST_BYTES
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or "src" not in attributes
        assert re.fullmatch(r"#f\d+|[\w.%-]+\.html", attributes.get("href", "#f0"))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_names_inside_the_page_are_unique(dossier: Dossier, lang: str) -> None:
    ids = [attributes["id"] for _, attributes in Reader(render(dossier, lang)).tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_hostile_names_are_text(make: Any, lang: str) -> None:
    text = render(make("hostile"), lang)
    assert "<script" not in text
    assert HOSTILE in Reader(text).text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_first_screen_of_a_failure(make: Any) -> None:
    text = Reader(render(make("shop"))).text
    assert "1 of 8 limits broken" in text
    assert "turns 801 of 1\u00a0068 correct decisions around. The cheapest way: income +4\u00a0% (row 117)." in text
    assert "veriward assess . --checks evasion/linf" in text
    assert "certify/bounds" in text
    assert "not sealed" in text
    assert "3f9a" * 16 in text
    assert "Holm-adjusted" in text


def test_chinese_is_chinese(make: Any) -> None:
    text = Reader(render(make("shop"), "zh")).text
    for word in ("未通过", "稳健准确率", "8 项限值中有 1 项被突破", "行样本方可判定", "验盾"):
        assert word in text


def test_each_page_links_to_the_other_language(make: Any) -> None:
    dossier = make("shop")
    assert 'href="shop.zh.html"' in render(dossier, "en")
    assert 'href="shop.html"' in render(dossier, "zh")


def test_image_kinds_are_told_in_pixels_and_shown(make: Any) -> None:
    page = Reader(render(make("several_eps")))
    assert "A change of at most 0.2 to each pixel turns 320 of 345 correct decisions around." in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 2 * 3 * 3


def test_a_pass_states_its_power_and_promises_nothing(make: Any) -> None:
    text = Reader(render(make("healthy"))).text
    assert "with 90 % power" in text
    assert "No attack in this plan succeeded within this budget." in text
    assert "secure" not in text.lower().replace("security", "")


def test_errors_have_their_own_section(make: Any) -> None:
    text = Reader(render(make("broken"))).text
    assert "A check that raised is an error, never a pass." in text
    assert text.count("column 'gender' holds one value") >= 2


def test_limits_set_after_the_evidence_are_marked() -> None:
    from veriward.reports.catalogue import Catalogue

    assert "exploratory" in Catalogue.load("en").text("page.not_fixed")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_verdicts_never_rest_on_colour_alone(dossier: Dossier, lang: str) -> None:
    badges = re.findall(r'<span class="badge t-\w+">([^<]*)</span>', render(dossier, lang))
    assert all(re.fullmatch(r"[✗?✓–!] \S.*", badge) for badge in badges)
    assert len(badges) >= len(dossier.findings)


def test_pages_stay_small_whatever_was_found(tmp_path: Path) -> None:
    with write(tmp_path / "wide.ward", wide()) as dossier:
        text = render(dossier)
    assert len(text.encode()) <= MOST_BYTES
    assert Reader(text).text.count("more rows are in the JSON report") == 2 * len(dossier.findings)
    first = Reader(text[: text.index("</section>")])
    assert sum(tag == "tr" for tag, _ in first.tags) == 1 + 6, "one row per family"
    assert sum(tag == "li" for tag, _ in first.tags) <= 3 + 3 + 4 + 6


def test_the_first_page_holds_what_a_signer_needs(make: Any) -> None:
    text = render(make("rich"))
    first = Reader(text[: text.index("</section>")]).text
    for told in (
        "limits broken",
        "income +4",
        "yes became no",
        "Cost",
        "What to do first",
        "What was not tested",
        "3f9a",
    ):
        assert told in first
    assert "veriward assess '../模型' --checks reliability/noise,reliability/slices" in first
    assert "all of the family: " in first
    assert "holds rich.ward" in first


def test_sections_fold_without_a_script(dossier: Dossier) -> None:
    page = Reader(render(dossier))
    assert sum(tag == "details" for tag, _ in page.tags) == len(dossier.findings) + 6


def test_numbers_of_every_unit_are_drawn(make: Any) -> None:
    """Negative drops, means of hundreds, counts: every drawing is there and none holds a number that is none."""
    text = render(make("rich"))
    assert text.count("<svg") >= 8
    assert "NaN" not in text
    assert "Infinity" not in text
