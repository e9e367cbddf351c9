"""Dossiers as a run writes them, made by hand: the journal's rows without the attacks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from veriward.core.dossier import Dossier
from veriward.core.estimate import (
    calibration,
    census,
    drop,
    flagged,
    gap,
    mean,
    not_estimable,
    proportion,
    worst_share,
)
from veriward.core.evidence import Controlled, Cost, Evidence, Witness
from veriward.core.journal import Journal
from veriward.core.judge import judge
from veriward.core.note import Note, note
from veriward.core.policy import Policy
from veriward.core.threat import Threat

HOSTILE = '<script>alert("x")</script>'
QUESTION = {
    "evasion": "By how much can an attacker lower the accuracy?",
    "leakage": "Can an attacker tell members from others?",
    "fairness": "Are groups treated alike?",
}


def default_limits() -> Policy:
    """The default policy, as far as it is about what these drafts measure."""
    measured = {f"{kind}_difference" for kind in ("demographic_parity", "equal_opportunity", "equalized_odds")}
    measured |= {"dangerous_findings", "robust_accuracy", "tpr_at_fpr"}
    policy = Policy.load("default")
    return policy.model_copy(update={"limit": tuple(rule for rule in policy.limit if rule.metric in measured)})


@dataclass
class Draft:
    """What `write` puts into a dossier."""

    subject: dict[str, Any]
    evidence: dict[str, Evidence] = field(default_factory=dict)
    errors: dict[str, tuple[str, Threat]] = field(default_factory=dict)
    unfinished: dict[str, Threat] = field(default_factory=dict)
    not_run: list[tuple[str, Note]] = field(default_factory=list)
    policy: Policy = field(default_factory=default_limits)
    budget: str = "standard"
    finish: bool = True
    place: dict[str, Any] | None = None
    seed: int = 0


def write(path: Path, draft: Draft) -> Dossier:
    """Append the rows of a run and open the dossier."""
    checks = [_item(name, e.check, e.threat) for name, e in draft.evidence.items()]
    checks += [_item(name, name.split("@")[0], threat) for name, (_, threat) in draft.errors.items()]
    checks += [_item(name, name.split("@")[0], threat) for name, threat in draft.unfinished.items()]
    with Journal(path, write=True) as journal:
        journal.append("plan", "p1", _plan(draft, checks))
        for name, evidence in draft.evidence.items():
            journal.append("start", f"k:{name}", {"finding": name})
            journal.append("evidence", f"k:{name}", evidence.to_dict())
        for name, (message, _) in draft.errors.items():
            journal.append("start", f"k:{name}", {"finding": name})
            body = {"evidence": f"k:{name}", "message": message, "traceback": b"Traceback ...\nValueError: x"}
            journal.append("error", f"k:{name}:1", body)
        judged = judge(draft.evidence, draft.policy, budget=draft.budget)
        if draft.finish:
            body = {"plan": "p1", "findings": {n: [limit.to_dict() for limit in found] for n, found in judged.items()}}
            journal.append("judgement", "j1", body)
            last = journal.last()
            journal.append("finish", "f1", {"count": last.seq if last else 0})
    return Dossier.open(path)


def _plan(draft: Draft, checks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "subject": draft.subject,
        "policy": {**draft.policy.to_dict(), "hash": draft.policy.hash},
        "environment": {"python": "3.11.9", "veriward": "0.1.0", "torch": "2.10.0", "numpy": "2.3.0"},
        "budget": draft.budget,
        "seed": draft.seed,
        "device": "cpu",
        "code": [{"file": "recipe.py", "hash": "71c0" + "0" * 60}],
        "assumptions": [note("input.bounds_inferred", low=0.0, high=1.0).to_dict()],
        "checks": checks,
        "not_run": [{"check": name, "reason": reason.to_dict()} for name, reason in draft.not_run],
        "time": "2026-01-15T09:30:00+00:00",
        **({"place": draft.place} if draft.place else {}),
    }


def _item(name: str, check: str, threat: Threat) -> dict[str, Any]:
    return {
        "id": name,
        "check": check,
        "version": "1",
        "question": QUESTION.get(check.split("/", 1)[0], "A question?"),
        "threat": threat.to_dict(),
        "settings": {"steps": 40, "step_size": None, "attacks": ["pgd", "square"]},
        "key": f"k:{name}",
    }


def subject(name: str = "shop-purchase", **changes: Any) -> dict[str, Any]:
    """A table with nine features."""
    base = {
        "name": name,
        "task": "classification",
        "kind": "tabular",
        "format": "skops",
        "access": "scores",
        "output": "probabilities",
        "rows": {"train": 4800, "test": 1200},
        "shape": "9",
        "groups": ["gender", "region"],
        "fingerprints": {"model": "3f9a" * 16, "train": "aa01" * 16, "test": "bb02" * 16, "recipe": "cc03" * 16},
        "files": {"model": "model.skops", "train": "train.csv", "test": "test.csv"},
    }
    return {**base, **changes}


def image_subject() -> dict[str, Any]:
    """Digits, with gradients."""
    return subject(
        "digits", kind="image", format="pt2", access="gradients", output="logits", shape="8 × 8 × 1", groups=[]
    )


def evasion(
    correct: int, broken: int, n: int, *, eps: float | None = None, witnesses: tuple[Witness, ...] = (), **more: Any
) -> Evidence:
    """An L∞ attack that turns `broken` of `correct` correct decisions around."""
    at = {"norm": "linf"} if eps is None else {"eps": eps, "norm": "linf"}
    units = {"eps": "raw input units"} if eps is not None else {}
    estimates = (
        proportion("clean_accuracy", correct, n, at=at),
        proportion("robust_accuracy", correct - broken, n, at=at, bound="upper"),
        proportion("attack_success_rate", broken, correct, at=at, bound="lower", unit="share of correct rows"),
    )
    settled: dict[str, Any] = {
        "rows": n,
        "outcomes": {"broken": np.zeros(n, np.int8)},
        "cost": Cost(12.4, 48_000, 16_000, 96_120),
        "controls": (
            Controlled("linear, white box, table", "robust_accuracy", 0.45, 0.55, 0.5),
            Controlled("no budget, white box, table", "robust_accuracy", 1.0, 1.0, 1.0),
        ),
        "witnesses": witnesses,
    }
    threat = Threat("misclassify", "scores" if eps is None else "gradients", at, units, 10_000)
    return Evidence("evasion/linf", "1", threat, estimates, **{**settled, **more})


def leakage(members: int, n: int, **more: Any) -> Evidence:
    """A loss attack that recognises `members` of n at one false alarm in a hundred."""
    estimates = (
        proportion("tpr_at_fpr", members, n, at={"fpr": 0.01}, bound="lower", unit="share of members"),
        proportion("tpr_at_fpr", members * 4, n, at={"fpr": 0.1}, bound="lower", unit="share of members"),
        proportion("realised_fpr", 9, 1000, at={"fpr": 0.01}, unit="share of non-members"),
        not_estimable("auc", note("estimate.no_rows"), unit="area under the ROC curve"),
    )
    threat = Threat("membership", "scores", {}, {}, None)
    return Evidence("leakage/loss", "1", threat, estimates, rows=n, cost=Cost(3.1, 2000, 0, 2000), **more)


def fairness(counts: dict[str, dict[str, tuple[int, int]]], **more: Any) -> Evidence:
    """Rates of groups: {attribute: {group: (favourable, rows)}}."""
    estimates = []
    for attribute, groups in counts.items():
        for group, (k, n) in groups.items():
            at = {"attribute": attribute, "group": group}
            estimates.append(proportion("selection_rate", k, n, at=at))
            estimates.append(proportion("true_positive_rate", k * 8 // 10, n * 8 // 10, at=at))
            estimates.append(proportion("false_positive_rate", k // 10, n * 2 // 10, at=at))
        rates = [[k, n] for k, n in groups.values()]
        true = [[k * 8 // 10, n * 8 // 10] for k, n in groups.values()]
        false = [[k // 10, n * 2 // 10] for k, n in groups.values()]
        at = {"attribute": attribute}
        estimates.append(gap("demographic_parity_difference", [rates], at=at, names=list(groups)))
        estimates.append(gap("equal_opportunity_difference", [true], at=at, names=list(groups)))
        estimates.append(gap("equalized_odds_difference", [true, false], at=at, names=list(groups)))
    threat = Threat("disparity", "labels", {}, {}, None)
    return Evidence("fairness/groups", "1", threat, tuple(estimates), cost=Cost(0.8, 1200, 0, 1200), **more)


def table_witnesses() -> tuple[Witness, ...]:
    """Changes of a customer's row, the cheapest first."""
    return (
        Witness(117, "income +4 %", 0.4, {"was": "yes", "became": "no"}),
        Witness(8, "income +7 %, age 41 → 43", 0.7, {"was": "no", "became": "yes"}),
        Witness(954, "months 24 → 20", 0.83, {"was": "yes", "became": "no"}),
    )


def image_witnesses() -> tuple[Witness, ...]:
    """Pictures of 8 × 8 pixels, before and after."""
    draw = np.random.default_rng(0)
    made = []
    for i, row in enumerate((12, 40, 77, 91)):
        clean = np.clip(np.outer(np.hanning(8), np.hanning(8)) * 1.3 + draw.normal(0, 0.05, (8, 8)), 0, 1)
        attacked = np.clip(clean + 0.1 * np.sign(draw.normal(size=(8, 8))), 0, 1)
        details = {"clean": clean[None], "adversarial": attacked[None], "bounds": [0.0, 1.0]}
        made.append(
            Witness(row, "64 pixels moved by at most 0.1", 0.6 + i / 10, {**details, "was": "8", "became": "3"})
        )
    return tuple(made)


def shop() -> Draft:
    """A failure, an undecided leak, groups that differ, checks that did not run."""
    people = {"gender": {"f": (196, 600), "m": (288, 600)}, "region": {"北方": (240, 600), "south": (246, 600)}}
    return Draft(
        subject(),
        {
            "evasion/linf": evasion(1068, 801, 1200, witnesses=table_witnesses(), assumptions=_budget_assumed()),
            "leakage/loss": leakage(21, 1000),
            "fairness/groups": fairness(people),
        },
        not_run=[
            ("certify/bounds", note("run.no_gradients")),
            ("evasion/l2", note("features.text_untouched", columns="x")),
        ],
    )


def _budget_assumed() -> tuple[Note, ...]:
    return (note("features.inferred", columns="income numeric, age integer"),)


def several_eps() -> Draft:
    """One subject under three sizes of change, with pictures."""
    broken = {0.03: 40, 0.1: 190, 0.2: 320}
    found = {f"evasion/linf@eps={eps:g}": _at_eps(eps, k) for eps, k in broken.items()}
    return Draft(image_subject(), found, budget="standard")


def _at_eps(eps: float, broken: int) -> Evidence:
    return evasion(345, broken, 360, eps=eps, witnesses=image_witnesses() if broken > 100 else ())


def healthy() -> Draft:
    """Every limit kept."""
    people = {"gender": {"f": (3000, 6000), "m": (3010, 6000)}}
    found = {"evasion/linf": evasion(980, 0, 1000, eps=0.03), "fairness/groups": fairness(people)}
    return Draft(subject("sound"), found)


def hostile() -> Draft:
    """Names that want to be HTML, move the cursor or reorder the page."""
    bad = f"{HOSTILE}\x1b[2J\u202e"
    witness = Witness(3, f"{bad} +4 %", 0.2, {"was": bad, "became": bad, bad: bad})
    note_of_bad = note("features.text_untouched", columns=bad)
    attacked = evasion(90, 80, 100, witnesses=(witness,), assumptions=(note_of_bad,), untested=(note_of_bad,))
    grouped = fairness({bad: {bad: (10, 100), "b": (90, 100)}})
    errors = {"leakage/loss": (f"ValueError: {bad}", Threat("membership", "scores"))}
    made = subject(bad, shape=bad, format=bad, groups=[bad], files={"model": bad, "test": bad})
    return Draft(
        made, {"evasion/linf": attacked, "fairness/groups": grouped}, errors, not_run=[(bad, note("x", y=bad))]
    )


def broken() -> Draft:
    """A check that raised, one that was interrupted, one whose control failed, one that is alarmed."""
    control = (Controlled("planted", "tpr_at_fpr", 0.4, 0.6, 0.1),)
    alarmed = evasion(95, 2, 100, eps=0.1, alarms=(note("estimate.no_rows"),))
    return Draft(
        subject("rough"),
        {"leakage/loss": leakage(9, 1000, controls=control), "evasion/linf@eps=0.1": alarmed},
        {"fairness/groups": ("DataError: groups: column 'gender' holds one value", Threat("disparity", "labels"))},
        {"evasion/l2@eps=1": Threat("misclassify", "scores", {"norm": "l2", "eps": 1.0}, {"eps": "raw input units"})},
    )


def unjudged() -> Draft:
    """A run that was killed before its judgement."""
    return Draft(
        subject("killed"),
        {"evasion/linf": evasion(90, 10, 100)},
        unfinished={"leakage/loss": Threat("membership", "scores")},
        finish=False,
    )


def one_sided() -> Draft:
    """Few successes at a budget the policy does not accept, and a limit that nothing could be estimated for."""
    single = fairness({"gender": {"f": (40, 100)}})
    found = {"evasion/linf@eps=0.1": evasion(1150, 12, 1200, eps=0.1), "fairness/groups": single}
    return Draft(subject("early"), found, budget="quick")


def empty() -> Draft:
    """No check applied."""
    return Draft(subject("nothing"), not_run=[("evasion/linf", note("run.no_scores"))])


EVERY_FAMILY = Policy.parse(
    """
description = "每一类各有限值"
[[limit]]
check = "artefact/*"
metric = "dangerous_findings"
pass = "<= 0"
severity = "critical"
reason = "loads nothing"
reason_zh = "加载时不得执行代码"
[[limit]]
check = "data/profile"
metric = "leaking_columns"
pass = "<= 0"
[[limit]]
check = "reliability/noise"
metric = "accuracy_drop"
pass = "<= 0.05"
fail = "> 0.10"
severity = "low"
[[limit]]
check = "reliability/slices"
metric = "weak_slices"
pass = "<= 0"
[[limit]]
check = "reliability/accuracy"
metric = "mean_absolute_error"
pass = "<= 900"
[[limit]]
check = "fairness/*"
metric = "demographic_parity_difference"
pass = "<= 0.10"
fail = "> 0.20"
[[limit]]
check = "fairness/*"
metric = "no_such_metric"
pass = "<= 0.10"
[[limit]]
check = "leakage/*"
metric = "tpr_at_fpr"
at = { fpr = 0.01 }
pass = "<= 0.03"
fail = "> 0.10"
[[limit]]
check = "evasion/*"
metric = "robust_accuracy"
pass = ">= 0.50"
fail = "< 0.30"
severity = "high"
""",
    name="every",
    where="every",
)
NOBODY = Threat("none", "scores")


def rich() -> Draft:
    """Every family, and every kind of number: counts, flags, paired drops, worst shares, bins, means with units."""
    noise = tuple(
        drop("accuracy_drop", worse, better, 1000, at={"corruption": name, "severity": severity})
        for name, worse, better in (("gaussian_noise", 180, 20), ("missing", 10, 60))
        for severity in (1, 3)
    )
    generator = np.random.default_rng(0)
    accuracy = (
        mean("mean_absolute_error", generator.normal(820.0, 900.0, 400), unit="raw units"),
        calibration("calibration_error", [[40, 60, 31.0], [88, 90, 86.5]], at={"bins": 15}),
        mean("residual", generator.normal(-3.0, 1.0, 50), unit="raw units", at={"attribute": "sex", "group": "f"}),
        mean("residual", generator.normal(2.0, 1.0, 50), unit="raw units", at={"attribute": "sex", "group": "m"}),
        proportion("class_accuracy", 30, 50, at={"class": "yes"}),
    )
    slices = (
        worst_share("worst_slice_accuracy", [[30, 60], [200, 240], [90, 100]], 400),
        flagged("weak_slices", [0.001, 0.02, 0.4, 1.0], 400, unit="findings", power=0.95),
    )
    profile = (
        flagged("leaking_columns", [1.0, 1.0], 400, unit="findings", power=0.4),
        census("missing_share", 0.25, 400, "share of rows", at={"split": "train", "column": "income"}),
    )
    scanned = (census("dangerous_findings", 0, 1, "findings"), census("unknown_findings", 2, 1, "findings"))
    unknown = note("artefact.unknown", n=2, what="opcode", where="archive/data.pkl:12", why="is cut off before its end")
    scan = Evidence("artefact/scan", "1", Threat("run_code", "file"), scanned, alarms=(unknown,))
    control = (Controlled("Gaussian, leaking", "tpr_at_fpr", 0.4, 0.6, 0.1),)
    people = {"gender": {"f": (150, 600), "m": (330, 600)}}
    held = (Controlled("linear, white box, table", "robust_accuracy", 0.45, 0.55, 0.5),)
    untested = (note("evasion.no_certificate"), note("evasion.no_decision_or_transfer"))
    attacked = evasion(1068, 801, 1200, witnesses=table_witnesses(), controls=held, untested=untested)
    return Draft(
        subject("客户 购买"),
        {
            "artefact/scan": scan,
            "data/profile": Evidence("data/profile", "1", NOBODY, profile, cost=Cost(0.2)),
            "reliability/accuracy": Evidence("reliability/accuracy", "1", NOBODY, accuracy, cost=Cost(0.4, 1200)),
            "reliability/noise": Evidence("reliability/noise", "1", NOBODY, noise, cost=Cost(1.4, 4800)),
            "reliability/slices": Evidence("reliability/slices", "1", NOBODY, slices),
            "evasion/linf": attacked,
            "fairness/groups": fairness(people),
            "leakage/loss": leakage(21, 1000, controls=control),
        },
        not_run=[("reliability/environments", note("plan.not_chosen")), ("data/pii", note("plan.not_chosen"))],
        policy=EVERY_FAMILY,
        budget="quick",
        seed=7,
        place={"subject": "../模型/subject.toml", "folder": "../模型", "policy": "../rules.toml"},
    )


def wide() -> Draft:
    """More findings, numbers and groups than a page can hold."""
    families = ("artefact", "data", "evasion", "fairness", "leakage", "reliability")
    found = {}
    for i in range(18):
        check = f"{families[i % 6]}/c{i}"
        places = [{"split": "train", "column": f"a column with a long name, number {k}"} for k in range(120)]
        estimates = tuple(
            census("missing_share", k % 97 / 100, 100, "share of rows", at=at) for k, at in enumerate(places)
        )
        left = tuple(note("features.text_untouched", columns=f"column {k}") for k in range(4))
        found[check] = Evidence(check, "1", NOBODY, estimates, untested=left, witnesses=table_witnesses())
    policy = Policy.parse('[[limit]]\ncheck = "*"\nmetric = "missing_share"\npass = "<= 0.5"', name="w", where="w")
    return Draft(subject("wide"), found, policy=policy)


ALL = {f.__name__: f for f in (shop, several_eps, healthy, hostile, broken, unjudged, one_sided, empty, rich)}
