"""The report for build servers: JUnit XML, one test suite per dossier, one test case per limit.

Build servers show `skipped` in green, so it stands only for what the exit code does not mind either: checks that did not
apply, and numbers without a limit. A broken limit is a `failure`. An `error` is a check that raised, a run that did not
end, and also a limit that stays undecided: the suite is red exactly when `veriward assess` exits with another code than 0.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from veriward.core.canonical import canonical, plain
from veriward.core.dossier import Dossier
from veriward.core.finding import Finding, Judged
from veriward.reports.catalogue import Catalogue
from veriward.reports.headline import estimate_of
from veriward.reports.numbers import SPACE, condition, interval, point
from veriward.reports.section import reason
from veriward.reports.terminal import total_cost
from veriward.reports.wording import harmless, label, would_decide

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
RED = {"fail": "failure", "error": "error", "inconclusive": "error", "not_applicable": "skipped"}


@dataclass(frozen=True)
class Case:
    """One test case: its place, and what it says where it did not pass."""

    classname: str
    name: str
    seconds: float = 0.0
    outcome: str = ""  # failure, error or skipped; "" for a pass
    kind: str = ""
    message: str = ""
    out: str = ""


def build(dossier: Dossier, lang: str = "en") -> str:
    """Return the XML. Names of cases are the same in every language; messages are in the one asked for."""
    words = Catalogue.load(lang)
    cases = list(_cases(dossier, words))
    seconds = f"{total_cost(dossier).seconds:.3f}"
    counts = Counter(case.outcome for case in cases)
    tally = {"tests": str(len(cases)), "failures": str(counts["failure"]), "errors": str(counts["error"])}
    root = ET.Element("testsuites", {"name": "veriward", **tally, "time": seconds})
    named = {"name": _xml(dossier.subject["name"]), **tally, "skipped": str(counts["skipped"]), "time": seconds}
    suite = ET.SubElement(root, "testsuite", {**named, **_time(dossier), "hostname": "localhost", "id": "0"})
    _properties(suite, dossier)
    for case in cases:
        _write(suite, case)
    ET.SubElement(suite, "system-out").text = _xml(words.text("page.caveat"))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def case_name(limit: Judged) -> str:
    """Return a name for a limit that is the same in every language and run.

    >>> case_name(Judged("tpr_at_fpr", {"fpr": 0.01}, "<= 0.03", "> 0.1", "pass", "limit_kept"))
    'tpr_at_fpr fpr=0.01'
    """
    at = [f"{key}={value if isinstance(value, str) else canonical(plain(value))}" for key, value in limit.at.items()]
    return " ".join([limit.metric, *at])


def _cases(dossier: Dossier, words: Catalogue) -> Iterator[Case]:
    """Yield the cases in the order of the plan, then what was not run, then what keeps the whole run from counting."""
    seen: Counter[tuple[str, str]] = Counter()
    for finding in dossier:
        for case in _of_finding(dossier, finding, words):
            seen[case.classname, case.name] += 1
            again = seen[case.classname, case.name]
            yield case if again == 1 else Case(**{**vars(case), "name": f"{case.name} #{again}"})
    for item in dossier.not_run:
        yield Case(item["check"], "not_run", outcome="skipped", message=words.note(item["reason"]))
    if not dossier.finished:
        yield Case("veriward", "finished", outcome="error", kind="unfinished", message=words.text("page.unfinished"))
    if not dossier.findings:
        yield Case("veriward", "findings", outcome="error", kind="nothing", message=words.text("story.nothing"))


def _of_finding(dossier: Dossier, finding: Finding, words: Catalogue) -> Iterator[Case]:
    seconds = finding.evidence.cost.seconds if finding.evidence else 0.0
    if not finding.limits:  # raised, not judged, or measured without a limit
        why = would_decide(finding, None, words, dossier.policy)
        yield Case(finding.id, "evidence", seconds, RED.get(finding.verdict, "error"), finding.verdict, why)
    for place, limit in enumerate(finding.limits):
        yield _of_limit(dossier, finding, limit, 0.0 if place else seconds, words)


def _of_limit(dossier: Dossier, finding: Finding, limit: Judged, seconds: float, words: Catalogue) -> Case:
    if limit.verdict == "pass":
        return Case(finding.id, case_name(limit), seconds)
    estimate = estimate_of(finding, limit)
    measured = f"{point(estimate)} {interval(estimate)}".strip() if estimate else "–"
    why = would_decide(finding, limit, words, dossier.policy) or words.term("why", limit.why)
    values = {"measured": measured, "limit": condition(limit.pass_if), "verdict": words.term("verdict", limit.verdict)}
    told = words.text("limit.told", metric=label(limit.metric, limit.at, words), why=why, **values)
    text = "\n".join(line for line in (told, *reason(limit, words)) if line)
    return Case(finding.id, case_name(limit), seconds, RED[limit.verdict], limit.verdict, told, text)


def _write(suite: ET.Element, case: Case) -> None:
    named = {"classname": _xml(case.classname), "name": _xml(case.name), "time": f"{case.seconds:.3f}"}
    element = ET.SubElement(suite, "testcase", named)
    if case.outcome == "skipped":  # the schema of Jenkins gives it a text and no attributes
        ET.SubElement(element, "skipped").text = _xml(case.message)
    elif case.outcome:
        told = {"message": _xml(case.message), "type": case.kind}
        ET.SubElement(element, case.outcome, told).text = _xml(case.out or case.message)


def _properties(suite: ET.Element, dossier: Dossier) -> None:
    subject, policy = dossier.subject, dossier.policy
    values = {f"subject.{part}.sha256": value for part, value in subject["fingerprints"].items()}
    values |= {"policy": policy["name"], "policy.sha256": policy["hash"], "dossier.head": dossier.head}
    values |= {"seed": dossier.plan["seed"], "budget": dossier.plan["budget"], "verdict": dossier.verdict}
    values |= {"veriward": dossier.environment.get("veriward", ""), "sealed": dossier.seal is not None}
    properties = ET.SubElement(suite, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": _xml(name), "value": _xml(value)})


def _time(dossier: Dossier) -> dict[str, str]:
    """Return when the plan was made, without the time zone, which JUnit's schemas refuse: it is UTC."""
    time = str(dossier.plan.get("time", ""))[:19]
    return {"timestamp": time} if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", time) else {}


def _xml(value: object) -> str:
    """Return a text that XML can hold: no control characters, no lone surrogates, no marks that turn text around."""
    lines = str(value).replace(SPACE, " ").split("\n")
    return NOT_XML.sub("\ufffd", "\n".join(harmless(line) for line in lines))
