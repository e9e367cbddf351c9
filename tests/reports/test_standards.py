"""The standards map: every clause of the lists, also those that nothing covers; evidence, never conformity."""

from typing import Any

import pytest

from veriward.core.dossier import Dossier
from veriward.reports.catalogue import Catalogue
from veriward.reports.clauses import gaps, standards_told
from veriward.reports.html import render
from veriward.reports.json_report import build
from veriward.reports.markdown import build as markdown
from veriward.reports.standards import clauses_of, coverage, load

LISTED = {
    "nist": ".01 .011 .012 .013 .02 .021 .022 .023 .024 .025 .03 .031 .032 .033 .034 .05",
    "atlas": "T0010 T0011.000 T0015 T0018 T0020 T0024 T0024.000 T0024.001 T0024.002 T0043",
    "owasp": "ML01 ML02 ML03 ML04 ML05 ML06 ML08 ML10",
    "aiact": "10 12 15",
    "iso": "24029-1:2021 24029-2:2023 42001:2023 24027:2021",
    "gbt": "42888-2023 37964-2019 42460-2023 35273-2020 45574-2025",
}
CHECKS = (
    "artefact/scan data/pii data/splits data/profile reliability/accuracy reliability/noise reliability/slices "
    "reliability/environments fairness/groups fairness/proxies leakage/loss evasion/linf evasion/l2 evasion/l1"
)


@pytest.mark.parametrize("name", sorted(LISTED))
def test_every_clause_of_the_lists_is_there_once(name: str) -> None:
    codes = [clause["code"] for clause in load()["clause"] if clause["list"] == name]
    wanted = LISTED[name].split()
    assert len(codes) == len(set(codes)) == len(wanted)
    assert [code for code in wanted if not any(code in found for found in codes)] == []


def test_every_clause_has_its_version_and_both_titles() -> None:
    for clause in load()["clause"]:
        assert clause.get("version") or load()["list"][clause["list"]]["version"]
        assert clause["title"]
        assert any("\u4e00" <= letter <= "\u9fff" for letter in clause["title_zh"])
        assert bool(clause.get("remark")) == bool(clause.get("remark_zh"))
        assert clause["checks"] or clause.get("remark"), "what no check covers says why"


@pytest.mark.parametrize("check", CHECKS.split())
def test_every_check_speaks_to_a_clause(check: str) -> None:
    assert clauses_of(check)


def test_what_nothing_covers_is_said(make: Any) -> None:
    clauses = {clause.code: clause for standard in coverage(make("shop")) for clause in standard.clauses}
    assert not clauses["NISTAML.023"].covered
    words = Catalogue.load("en")
    assert "no check of this version" in gaps(clauses["NISTAML.023"], words)[0]
    assert "organisation" in gaps(clauses["42001:2023"], words)[0]
    assert clauses["24029-2:2023"].covered
    assert gaps(clauses["24029-2:2023"], words) == ["not run: certify/bounds (no gradients)"]
    assert [finding.id for finding in clauses["NISTAML.025"].findings] == ["evasion/linf"]


def test_untested_within_a_check_stands_at_its_clauses(make: Any) -> None:
    clauses = {clause.code: clause for standard in coverage(make("rich")) for clause in standard.clauses}
    (told,) = gaps(clauses["AML.T0043"], Catalogue.load("en"))
    assert told.startswith("left out by evasion/linf: no certificate was computed")


def test_every_format_has_the_map_and_its_caveat(dossier: Dossier) -> None:
    report = build(dossier)
    assert [len(lists["clauses"]) for lists in report["standards"]["lists"]] == [16, 10, 8, 3, 4, 5]
    for text in (render(dossier), markdown(dossier), report["standards"]["caveat"]):
        assert "They show no conformity" in text
    for text in (render(dossier, "zh"), markdown(dossier, "zh")):
        assert "不代表符合该标准" in text


def test_errors_are_never_evidence_of_a_pass(make: Any) -> None:
    told = standards_told(make("broken"), Catalogue.load("en"))
    verdicts = {f["name"] for s in told for c in s["clauses"] for f in c["findings"] if f["id"] == "fairness/groups"}
    assert verdicts == {"error"}
