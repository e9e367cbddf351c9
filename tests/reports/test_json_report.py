"""The JSON report meets its published schema, for every kind of dossier."""

import json
import math
from typing import Any

import jsonschema
import pytest

from veriward.core.dossier import Dossier
from veriward.reports.json_report import build, schema

THREAT = {"id", "check", "version", "question", "threat", "seed", "settings", "standards", "advice"}
JUDGED = {"estimates", "limits", "verdict", "severity", "preregistered"}
HANDED = {"cost", "controls", "assumptions", "untested"}
KEYS = THREAT | JUDGED | HANDED


def test_schema_is_valid_and_every_report_meets_it(dossier: Dossier) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    report = build(dossier)
    jsonschema.validate(report, schema(), cls=jsonschema.Draft202012Validator)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_schema_refuses_a_verdict_that_does_not_exist(make: Any) -> None:
    report = build(make("shop"))
    report["findings"][0]["verdict"] = "secure"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, schema())


def test_every_named_key_is_there(dossier: Dossier) -> None:
    report = build(dossier)
    assert report["schema"] == "veriward.report/1"
    assert [KEYS - set(finding) for finding in report["findings"]] == [set()] * len(dossier.findings)


def test_outcomes_and_pictures_stay_out(make: Any) -> None:
    finding = build(make("several_eps"))["findings"][1]
    assert "outcomes" not in finding
    assert finding["witnesses"][0]["details"] == {"bounds": [0.0, 1.0], "was": "8", "became": "3"}


def test_an_error_keeps_its_threat_and_says_why(make: Any) -> None:
    finding = next(f for f in build(make("broken"))["findings"] if f["check"] == "fairness/groups")
    assert finding["verdict"] == "error"
    assert finding["threat"]["goal"] == "disparity"
    assert "holds one value" in finding["error"]
    assert finding["estimates"] == []


def test_missing_numbers_have_their_reason_in_words(make: Any) -> None:
    estimates = build(make("shop"))["findings"][1]["estimates"]
    missing = next(e for e in estimates if e["value"] is None)
    assert missing["why"] == "there were no rows to estimate it from"


def test_standards_come_with_versions_and_depend_on_access(make: Any) -> None:
    codes = {
        name: [s["code"] for s in build(make(name))["findings"][0]["standards"]] for name in ("shop", "several_eps")
    }
    assert {"NISTAML.022", "AML.T0043", "ML01:2023"} <= set(codes["shop"]) & set(codes["several_eps"])
    assert "NISTAML.025" in codes["shop"]
    assert "NISTAML.025" not in codes["several_eps"]


def test_advice_names_only_verbs_that_exist(dossier: Dossier) -> None:
    report = build(dossier)
    told = " ".join([report["advice"], *(line for finding in report["findings"] for line in finding["advice"])])
    verbs = {part.split()[0] for part in told.split("veriward ")[1:]}
    assert verbs <= {"assess", "report", "verify", "init", "checks"}


def test_numbers_are_finite(dossier: Dossier) -> None:
    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict | list):
            items = value.values() if isinstance(value, dict) else value
            return [number for item in items for number in numbers(item)]
        return [value] if isinstance(value, float) else []

    assert all(math.isfinite(number) for number in numbers(build(dossier)))
