"""JUnit XML: well formed whatever the names hold, red exactly when the exit code is, valid where a schema is at hand."""

import os
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from veriward.core.dossier import Dossier
from veriward.core.finding import exit_code
from veriward.reports.junit import build

SCHEMA = "VERIWARD_JUNIT_XSD"


def suite(text: str) -> ET.Element:
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    (found,) = root
    return found


def cases(text: str) -> list[ET.Element]:
    return suite(text).findall("testcase")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_structure_is_that_of_the_documented_schema(dossier: Dossier, lang: str) -> None:
    """Order and attributes as in jenkins-junit.xsd: properties, test cases, system-out; one outcome at most per case."""
    found = suite(build(dossier, lang))
    tags = [child.tag for child in found]
    assert tags == ["properties", *["testcase"] * (len(tags) - 2), "system-out"]
    assert all(set(p.attrib) == {"name", "value"} for p in found.find("properties") or ())
    outcomes = [child.tag for case in cases(build(dossier, lang)) for child in case]
    for case in cases(build(dossier, lang)):
        assert set(case.attrib) == {"classname", "name", "time"}
        assert len(case) <= 1
        for child in case:
            assert set(child.attrib) == (set() if child.tag == "skipped" else {"message", "type"})
            assert child.text
    counted = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in counted.items():
        assert int(found.attrib[attribute]) == outcomes.count(tag)
    assert int(found.attrib["tests"]) == len(cases(build(dossier, lang)))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", found.attrib["timestamp"])


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_documents_meet_the_schema(dossier: Dossier, lang: str) -> None:
    xmlschema = pytest.importorskip("xmlschema", reason="reads XML schemas")
    if not os.environ.get(SCHEMA):
        pytest.skip(f"{SCHEMA} names no file; docs/reports.md says which package carries one")
    xmlschema.XMLSchema(os.environ[SCHEMA]).validate(build(dossier, lang))


def test_a_suite_is_red_exactly_when_the_exit_code_is(dossier: Dossier) -> None:
    found = suite(build(dossier))
    red = int(found.attrib["failures"]) + int(found.attrib["errors"]) > 0
    assert red == (exit_code([finding.verdict for finding in dossier]) != 0)


def test_what_crashed_never_reads_as_a_pass(make: Any) -> None:
    kinds = {case.attrib["classname"]: [child.tag for child in case] for case in cases(build(make("broken")))}
    assert kinds["fairness/groups"] == ["error"]
    assert kinds["evasion/l2@eps=1"] == ["error"]
    unfinished = {case.attrib["name"] for case in cases(build(make("unjudged"))) if case.find("error") is not None}
    assert {"finished", "evidence"} <= unfinished
    skipped = [case for case in cases(build(make("shop"))) if case.attrib["name"] == "not_run"]
    assert [case.find("skipped") is not None for case in skipped] == [True, True]


def test_names_are_the_same_in_both_languages_and_unique(dossier: Dossier) -> None:
    named = [[(c.attrib["classname"], c.attrib["name"]) for c in cases(build(dossier, lang))] for lang in ("en", "zh")]
    assert named[0] == named[1]
    assert len(named[0]) == len(set(named[0]))


def test_hostile_names_are_text(make: Any) -> None:
    text = build(make("hostile"))
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202e]", text)
    assert "<script>" not in text
    assert any("<script>" in child.attrib.get("message", "") for case in cases(text) for child in case)


def test_signs_that_xml_cannot_hold_are_replaced() -> None:
    from veriward.reports.junit import _xml

    assert _xml("a\x00\ud800\ufffe]]>\U0001f600\n") == "a\ufffd\ufffd\ufffd]]>\U0001f600\n"
    element = ET.Element("x")
    element.text = _xml("]]>")
    assert "]]>" not in ET.tostring(element, encoding="unicode")
