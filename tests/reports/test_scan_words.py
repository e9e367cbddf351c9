"""The scanner's reasons in Chinese: all of them, in good order, and nothing of the file's author between."""

import re
import time
from dataclasses import fields
from string import ascii_letters

import pytest

from veriward.core.note import note
from veriward.reports.catalogue import Catalogue
from veriward.reports.phrase_book import Template, templates
from veriward.reports.scan_words import PARTS, translated

from .scan_sentences import Sentences, collected

SAID, SCANNED = collected(), templates("scan")


def samples() -> list[tuple[str, str]]:
    return [(part, english) for part in PARTS for english in SCANNED[part]]


def test_the_source_was_read() -> None:
    assert {field.name for field in fields(Sentences)} == set(PARTS) == set(SCANNED)
    assert "names code that is not on the allowlist" in SAID.why  # a constant
    assert "has a path that leads out of the folder it is extracted to" in SAID.why  # returned by a function
    assert "the tree at {} has no leaves" in SAID.why  # raised
    assert "is a {} file, a format that is not read yet" in SAID.why  # where a table has none
    assert "holds bytecode, which phones run" in SAID.why  # on a condition
    assert "broken pickle" in SAID.what


@pytest.mark.parametrize("part", PARTS)
def test_every_sentence_of_the_scanner_has_a_translation(part: str) -> None:
    assert sorted(getattr(SAID, part) - SCANNED[part].keys()) == []


@pytest.mark.parametrize("part", PARTS)
def test_no_translation_is_stale(part: str) -> None:
    assert sorted(SCANNED[part].keys() - getattr(SAID, part)) == []


def test_every_hole_is_filled_once() -> None:
    wrong = [
        english
        for part, english in samples()
        if sorted(re.findall(r"\{(\d)(?:\}|:(?:what|why|error|errors\.system)\})", SCANNED[part][english]))
        != [str(hole) for hole in range(english.count("{}"))]
        or re.sub(r"\{\d(:[\w.]+)?\}", "", SCANNED[part][english]).count("{")
    ]
    assert wrong == []


def test_translations_are_chinese() -> None:
    assert [english for part, english in samples() if not re.search(r"[\u4e00-\u9fff]", SCANNED[part][english])] == []


@pytest.mark.parametrize("part", PARTS)
def test_every_template_is_found_again_from_a_sentence(part: str) -> None:
    for english, chinese in SCANNED[part].items():
        holes = [f"«{letter}»" for letter in ascii_letters[: english.count("{}")]]
        said = english.replace("{}", "%s") % tuple(holes)
        wanted = re.sub(r"\{(\d)(:[\w.]+)?\}", r"{\1}", chinese).format(*holes)
        assert translated(said, part) == wanted


def test_phrases_of_the_scanners_own_are_translated_within_others() -> None:
    assert translated("the stream takes from an empty stack") == "操作码流从空栈取值"
    assert translated("its nodes cannot be read: no .npy header") == "其节点无法读取：没有 .npy 文件头"
    assert translated("tree 3, a child of node 12", "what") == "树 3，节点 12 的子节点"
    assert translated("tree 3, split_type", "what") == "树 3，split_type"


@pytest.mark.parametrize("around", ["cannot be followed: {}", "its nodes cannot be read: {}", "the stream {}"])
def test_what_stands_around_a_phrase_is_found_before_the_phrase(around: str) -> None:
    chinese = SCANNED["why"][around]
    for phrase in SCANNED["why"]:
        said = phrase.replace("{}", "7")
        assert translated(around.replace("{}", said)) == chinese.replace("{0:why}", translated(said))


def test_texts_of_the_file_are_copied_and_not_read() -> None:
    assert translated("the key 'stands twice' stands twice") == "键 'stands twice' 出现两次"
    assert translated("the key '{0:why} {1}' stands twice") == "键 '{0:why} {1}' 出现两次"
    assert translated("{}, not {} sizes", "what") == "{}, not {} sizes"
    for name in ("os.system", "is missing", "{} bytes of", "%s", "", "tree", "zip"):
        assert translated(name, "what") == name


def test_what_is_no_reason_stays_as_it_is() -> None:
    assert translated("says something new") == "says something new"
    assert translated("lies more than 4 archives deep and is not read!").startswith("lies")


@pytest.mark.parametrize("part", PARTS)
def test_hostile_texts_take_no_time(part: str) -> None:
    start = time.perf_counter()
    for text in (
        "is " * 600,
        " bytes" * 300,
        ", " * 900,
        "tree 0, " * 200,
        "the stream " * 150,
        "in the field a " * 130,
    ):
        translated(text, part)
    translated("the stream " * 1_000_000, part)
    assert time.perf_counter() - start < 1


def test_a_template_needs_all_its_fixed_parts_in_order() -> None:
    template = Template(("has ", " nodes, and claims ", ""), "")
    assert template.holes("has 3 nodes, and claims 4") == ["3", "4"]
    assert template.holes("has 3, and claims 4 nodes") is None
    assert Template(("ab", "ba"), "").holes("aba") is None  # parts do not overlap


def test_the_note_of_the_check_is_translated_in_the_chinese_report_alone() -> None:
    found = note("artefact.unknown", n=1, what="broken pickle", where="m.pkl @ 0", why="byte 0x7f is no opcode")
    assert "pickle 损坏（m.pkl @ 0）：字节 0x7f 不是操作码" in Catalogue.load("zh").note(found)
    assert "broken pickle (m.pkl @ 0): byte 0x7f is no opcode" in Catalogue.load("en").note(found)
