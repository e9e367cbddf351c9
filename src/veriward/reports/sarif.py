"""The report for code scanning: SARIF 2.1.0 (OASIS, errata 01). Rules are checks, results are limits that are not kept.

A broken limit has the kind `fail` and a level by its severity. What is undecided has `open`, or `review` where a person
must decide, and the level `none`, as section 3.27.10 wants. What passed is no result: readers such as GitHub show every
result as an alert. Checks that raised or did not run are notifications of the invocation, so that no reader takes their
silence for a pass.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from veriward.core.canonical import digest, plain
from veriward.core.dossier import Dossier
from veriward.core.finding import Finding, Judged, exit_code
from veriward.reports.advice import FAMILIES
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import SEVERITIES, estimate_of
from veriward.reports.numbers import SPACE, condition, interval, point
from veriward.reports.standards import clauses_of, load, version_of
from veriward.reports.uris import artifact_uri
from veriward.reports.wording import family, harmless, label, question, raised, would_decide

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}
LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}  # GitHub's bands start at 9, 7, 4 and 0
REVIEW = ("alarm", "between", "control")  # somebody must look; everything else waits for more evidence
PARTS = {"data": ("test", "train")}  # where a finding of a family points to; all others point to the model
SECURITY = ("artefact", "certify", "evasion", "extraction", "leakage", "poisoning")
MOST_TAGS = 20

Json = dict[str, Any]


def build(dossier: Dossier, lang: str = "en", base: Path | None = None) -> Json:
    """Return the log as plain data. `base` is the folder that file names are relative to: the checkout's root.

    Messages are in the language asked for; identifiers and fingerprints are the same in every language.
    """
    words = Catalogue.load(lang)
    rules = _rules(dossier, words)
    index = {rule["id"]: i for i, rule in enumerate(rules)}
    driver = {
        "name": "veriward",
        "version": dossier.environment.get("veriward", "?"),
        "language": LANGUAGES[lang],
        "rules": rules,
        "notifications": [{"id": name} for name in ("error", "not-run", "no-limit")],
        "supportedTaxonomies": [_taxonomy(key) for key in load()["list"]],
    }
    run = {
        "tool": {"driver": driver},
        "language": LANGUAGES[lang],
        "automationDetails": {"id": f"veriward/{artifact_uri(dossier.subject['name'])}/"},
        "invocations": [_invocation(dossier, index, words)],
        "taxonomies": _taxonomies(words),
        "results": _results(dossier, index, words, base),
        "properties": _properties(dossier),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def fingerprint(dossier: Dossier, finding: Finding, limit: Judged) -> str:
    """Return what names a result in every run, language and seed: check, metric, parameters and the subject's part."""
    return digest(finding.check, limit.metric, plain(dict(limit.at)), dossier.subject["name"], _part(finding))


def message(text: str) -> Json:
    """Return a message: SARIF reads braces as places to fill in, and "](" as a link."""
    escaped = harmless(text.replace(SPACE, " ")).replace("{", "{{").replace("}", "}}")
    return {"text": escaped.replace("](", "] (")}


def _part(finding: Finding) -> str:
    return PARTS.get(family(finding.check), ("model",))[0]


def _rules(dossier: Dossier, words: Catalogue) -> list[Json]:
    """Return one rule per check, those that did not run too: their notifications point to them."""
    questions = {finding.check: question(finding, words) for finding in dossier}
    for item in dossier.not_run:
        questions.setdefault(item["check"], words.term("question", harmless(item["check"])))
    return [_rule(check, asked, dossier.policy, words) for check, asked in questions.items()]


def _rule(check: str, asked: str, policy: Mapping[str, Any], words: Catalogue) -> Json:
    severity = _severity(check, policy)
    clauses = clauses_of(check)
    name = family(check)
    told = [asked, words.text(f"advice.{name if name in FAMILIES else 'fail'}"), words.text("standards.caveat")]
    codes = [f"{load()['list'][clause['list']]['name']} {clause['code']}" for clause in clauses]
    tags = [*(["security"] if name in SECURITY else []), name, *codes]
    scored = {"security-severity": SCORES[severity]} if name in SECURITY else {}
    return {
        "id": check,
        "shortDescription": message(asked),
        "fullDescription": message(asked),
        "help": message(" ".join([*told[:2], *([told[2]] if clauses else [])])),
        "defaultConfiguration": {"level": LEVELS[severity]},
        "relationships": [{"target": _taxon(clause), "kinds": ["relevant"]} for clause in clauses],
        "properties": {"tags": tags[:MOST_TAGS], "precision": "high", **scored},
    }


def _severity(check: str, policy: Mapping[str, Any]) -> str:
    """Return the gravest severity that the policy gives to a limit of the check."""
    given = [item.get("severity", "medium") for item in policy.get("limit", ()) if fnmatchcase(check, item["check"])]
    return str(min(given, key=SEVERITIES.index, default="medium"))


def _taxonomy(key: str) -> Json:
    lists = load()["list"]
    return {"name": lists[key]["name"], "index": list(lists).index(key)}


def _taxon(clause: Mapping[str, Any]) -> Json:
    return {"id": clause["code"], "toolComponent": _taxonomy(clause["list"])}


def _taxonomies(words: Catalogue) -> list[Json]:
    data, zh = load(), words.language == "zh"
    found = []
    for key, entry in data["list"].items():
        clauses = [clause for clause in data["clause"] if clause["list"] == key]
        titles = [
            (clause["code"], clause["title_zh" if zh else "title"], version_of(data, clause)) for clause in clauses
        ]
        taxa = [{"id": code, "shortDescription": {"text": title}} for code, title, _ in titles]
        versions = sorted({version for _, _, version in titles})
        described = {"shortDescription": {"text": entry["name_zh" if zh else "name"]}, "isComprehensive": False}
        found.append({"name": entry["name"], "version": ", ".join(versions), **described, "taxa": taxa})
    return found


def _invocation(dossier: Dossier, index: Mapping[str, int], words: Catalogue) -> Json:
    raised = [finding for finding in dossier if finding.error]
    notifications = [_raised(finding, index, words) for finding in raised]
    notifications += [
        _notification("not-run", "note", item["check"], words.note(item["reason"]), index) for item in dossier.not_run
    ]
    notifications += [
        _notification("no-limit", "note", finding.check, words.text("undecided.no_limit"), index)
        for finding in dossier
        if finding.verdict == "not_applicable"
    ]
    if not dossier.finished:
        notifications.append({"level": "error", "message": message(words.text("page.unfinished"))})
    time = str(dossier.plan.get("time", "")).replace("+00:00", "Z")
    return {
        "executionSuccessful": dossier.finished and not raised and bool(dossier.findings),
        "exitCode": exit_code([finding.verdict for finding in dossier]),
        **({"startTimeUtc": time} if time.endswith("Z") else {}),
        "toolExecutionNotifications": notifications,
    }


def _notification(kind: str, level: str, check: str, text: str, index: Mapping[str, int]) -> Json:
    rule = {"id": check, "index": index[check]}
    return {"descriptor": {"id": kind}, "associatedRule": rule, "level": level, "message": message(f"{check}: {text}")}


def _raised(finding: Finding, index: Mapping[str, int], words: Catalogue) -> Json:
    text = raised(finding.error, words)
    kind, found, rest = text.partition(": ")
    named = {"kind": harmless(kind), "message": harmless(rest)} if found and kind.isidentifier() else {}
    told = _notification("error", "error", finding.check, text, index)
    return {**told, "exception": named} if named else told


def _results(dossier: Dossier, index: Mapping[str, int], words: Catalogue, base: Path | None) -> list[Json]:
    found: list[Json] = []
    seen: Counter[str] = Counter()
    for finding in dossier:
        common = _common(dossier, finding, index, base)
        for limit in finding.limits:
            if limit.verdict != "pass":
                found.append({**common, **_judged(dossier, finding, limit, words, seen)})
        if not finding.limits and finding.verdict == "inconclusive":
            text = would_decide(finding, None, words, dossier.policy)
            found.append({**common, "kind": "open", "level": "none", "message": message(f"{finding.id}: {text}")})
            found[-1]["partialFingerprints"] = {"veriwardFinding/v1": digest(finding.id, dossier.subject["name"])}
        found += [{**common, **told} for told in _scanned(finding, words)]
    return found


def _common(dossier: Dossier, finding: Finding, index: Mapping[str, int], base: Path | None) -> Json:
    """Return what all results of a finding share: rule, clauses and the subject's files."""
    places = [_location(dossier, part, base) for part in PARTS.get(family(finding.check), ("model", "test"))]
    access = finding.evidence.threat.access if finding.evidence else None
    return {
        "ruleId": finding.check,
        "ruleIndex": index[finding.check],
        "taxa": [_taxon(clause) for clause in clauses_of(finding.check, access)],
        "locations": places[:1],
        "relatedLocations": [{"id": i, **place} for i, place in enumerate(places[1:], 1)],
    }


def _location(dossier: Dossier, part: str, base: Path | None) -> Json:
    """Return the file of a part of the subject, or its name where it is no file."""
    uri = artifact_uri((dossier.subject.get("files") or {}).get(part), dossier, base)
    if uri:
        return {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    return {"logicalLocations": [{"name": part, "fullyQualifiedName": harmless(f"{dossier.subject['name']}.{part}")}]}


def _judged(dossier: Dossier, finding: Finding, limit: Judged, words: Catalogue, seen: Counter[str]) -> Json:
    estimate = estimate_of(finding, limit)
    measured = f"{point(estimate)} {interval(estimate)}".strip() if estimate else "–"
    why = would_decide(finding, limit, words, dossier.policy) or words.term("why", limit.why)
    values = {"measured": measured, "limit": condition(limit.pass_if), "verdict": words.term("verdict", limit.verdict)}
    text = words.text("limit.told", metric=label(limit.metric, limit.at, words), why=why, **values)
    failed = limit.verdict == "fail"
    print_ = fingerprint(dossier, finding, limit)
    seen[print_] += 1  # a policy may hold two limits against one number
    unique = print_ if seen[print_] == 1 else f"{print_}/{seen[print_]}"
    return {
        "kind": "fail" if failed else "review" if limit.why in REVIEW else "open",
        "level": LEVELS[limit.severity] if failed else "none",
        "message": message(f"{finding.id}: {text}"),
        # GitHub tells alerts apart by the second; without it, it would hash a line of a model's file
        "partialFingerprints": {"veriwardLimit/v1": unique, "primaryLocationLineHash": f"{unique[:16]}:{seen[print_]}"},
        "properties": {
            "metric": limit.metric,
            "at": plain(dict(limit.at)),
            "severity": limit.severity,
            "why": limit.why,
        },
    }


def _scanned(finding: Finding, words: Catalogue) -> Iterable[Json]:
    """Yield what the scan of the model's file could not account for, at its place within the file."""
    for alarm in finding.evidence.alarms if finding.evidence else ():
        where = alarm.values.get("where")
        if family(finding.check) == "artefact" and where:
            logical = {"fullyQualifiedName": harmless(where), "kind": "member"}
            yield {
                "kind": "review",
                "level": "none",
                "message": message(words.note(alarm)),
                "partialFingerprints": {"veriwardScan/v1": digest(finding.check, plain(dict(alarm.values)))},
                "relatedLocations": [{"logicalLocations": [logical]}],
            }


def _properties(dossier: Dossier) -> Json:
    """Return what the log is about: hashes and how many limits came out how."""
    verdicts = Counter(limit.verdict for finding in dossier for limit in finding.limits)
    return {
        "verdict": dossier.verdict,
        "limits": dict(sorted(verdicts.items())),
        "policy": {"name": dossier.policy["name"], "sha256": dossier.policy["hash"]},
        "fingerprints": dict(dossier.subject["fingerprints"]),
        "dossier": dossier.head,
        "seed": dossier.plan["seed"],
        "budget": dossier.plan["budget"],
    }
