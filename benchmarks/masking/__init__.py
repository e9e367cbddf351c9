"""False robustness: how often do the alarms see it, how often do they cry on honest models, and what do they cost?

Each broken defence is attacked three times: by plain PGD as toolboxes have it, by an adaptive attack that knows the
defence (its stand-in, averaged over its randomness), and by evasion/linf at `standard`, which knows nothing of it. Where
plain PGD overestimates the robust accuracy by more than ten points against the better of the other two, an alarm is
due: recall is the share of those with one. `stands` is what must not happen: evasion/linf itself leaves more than ten
points too many, and says nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.masking import attacks
from benchmarks.masking.corpus import CORPUS, Defence
from benchmarks.masking.honest import HONEST, Honest
from benchmarks.masking.nets import EPS, digits
from veriward.adapters.opened import Opened, open_subject
from veriward.checks.evasion.plans import EFFORTS, plan
from veriward.checks.evasion.rows import AttackRows
from veriward.checks.registry import registry
from veriward.core.evidence import Evidence
from veriward.core.intervals import clopper_pearson
from veriward.core.streams import Stream
from veriward.core.subject import Subject
from veriward.run.engine import InProcess
from veriward.run.job import RunJob

POINTS = 0.1
HONEST_EPS = (0.05, 0.1, EPS)  # where nearly all rows survive, where some do, and that of the corpus
COSTS = ("cnn", "cnn, robust at .2", "mlp, robust", "batch normalised", "residual, groups")  # models timed
SECOND_LOOKS = ("one-step", "again", "eot-pgd", "smoothed-pgd")
Report = dict[str, Any]


@dataclass(frozen=True)
class Assessed:
    """What evasion/linf says at `standard`."""

    clean: float
    robust: float
    alarms: tuple[str, ...]
    seconds: float


def opened(model: nn.Module, output: str, eps: float) -> Opened:
    """Return the model with the test digits as a subject."""
    data = digits()
    values: dict[str, Any] = {
        "name": "digits",
        "task": "classification",
        "model": {"live": model, "output": output},
        "data": {"test": (data.test_x.numpy(), data.test_y.numpy())},
        "input": {"kind": "image", "bounds": (0, 1)},
        "threat": {"evasion": {"eps": eps}},
    }
    return open_subject(Subject.model_validate(values), device="cpu")


def assess(model: nn.Module, output: str, eps: float) -> Assessed:
    """Run evasion/linf at `standard` on all test rows."""
    torch.manual_seed(0)  # of defences that draw
    found, start = evidence(opened(model, output, eps)), time.process_time()
    value = {e.metric: float(e.value or 0.0) for e in found.estimates}
    codes = tuple(alarm.code.removeprefix("evasion.") for alarm in found.alarms)
    return Assessed(value["clean_accuracy"], value["robust_accuracy"], codes, time.process_time() - start)


def evidence(subject: Opened) -> Evidence:
    """Return the evidence of evasion/linf."""
    check = registry()["evasion/linf"]
    job = RunJob(subject, check.name, check.settings("standard"), "masking", 0, InProcess(subject))
    return check.run(subject.subject, check.threats(subject)[0], job=job)


def look(defence: Defence) -> Report:
    """Return the three robust accuracies of a defence, and the alarms."""
    built, data = defence.build(), digits()
    votes = attacks.VOTES if built.random else 1
    torch.manual_seed(0)
    plain = attacks.plain_pgd(built.model, data.test_x, data.test_y, EPS, votes=votes)
    knowing = attacks.adaptive(built.model, built.standin or built.model, data.test_x, data.test_y, EPS, votes=votes)
    ours = assess(built.model, built.output, EPS)
    truth = min(knowing, ours.robust)
    return {
        "paper": defence.paper,
        "broken_by": defence.broken_by,
        "clean": ours.clean,
        "plain_pgd": plain,
        "adaptive": knowing,
        "robust_accuracy": ours.robust,
        "alarms": ours.alarms,
        "overestimated": plain - truth > POINTS,
        "broken_outright": ours.robust - truth <= POINTS,
        "stands": ours.robust - truth > POINTS and not ours.alarms,
    }


def recall(looks: Mapping[str, Report]) -> Report:
    """Return how many overestimated defences raise an alarm, with the exact interval."""
    due = [look for look in looks.values() if look["overestimated"]]
    seen = sum(bool(look["alarms"]) for look in due)
    return {
        "defences": len(looks),
        "overestimated_by_plain_pgd": len(due),
        "with_an_alarm": seen,
        "recall": seen / len(due),
        "interval": clopper_pearson(seen, len(due)),
        "with_an_alarm_or_broken_outright": sum(bool(look["alarms"]) or look["broken_outright"] for look in due),
        "broken_outright": sum(look["broken_outright"] for look in looks.values()),
        "false_robustness_stands": [name for name, look in looks.items() if look["stands"]],
    }


def false_alarms(models: Mapping[str, tuple[Honest, nn.Module]]) -> Report:
    """Return how many honest models raise an alarm at each eps."""
    told: Report = {}
    for eps in HONEST_EPS:
        found = {name: assess(net, honest.output, eps) for name, (honest, net) in models.items()}
        cried = {name: one.alarms for name, one in found.items() if one.alarms}
        told[f"eps {eps:g}"] = {
            "models": len(found),
            "with_an_alarm": cried,
            "interval": clopper_pearson(len(cried), len(found)),
            "robust": {name: one.robust for name, one in found.items()},
        }
        print(f"honest, eps {eps:g}: {len(cried)} of {len(found)} {cried}", flush=True)
    return told


def extra(models: Mapping[str, tuple[Honest, nn.Module]]) -> Report:
    """Return the CPU seconds of the attack with and without all that is done for alarms, over some honest models."""
    total = {"with": 0.0, "without": 0.0}
    quiet = patch("veriward.checks.evasion.rows.symptoms", lambda *_: {})
    for honest, net in [models[name] for name in COSTS]:
        for eps in HONEST_EPS:
            subject = opened(net, honest.output, eps)
            threat = registry()["evasion/linf"].threats(subject)[0]
            attacks_ = plan(subject, "linf", EFFORTS["standard"])
            bare = tuple(a for a in attacks_ if a.name not in SECOND_LOOKS)
            with quiet:
                total["without"] += _seconds(subject, AttackRows(threat, Stream.of(0, "cost"), bare))
            total["with"] += _seconds(subject, AttackRows(threat, Stream.of(0, "cost"), attacks_))
    return {**total, "share": total["with"] / total["without"] - 1}


def _seconds(subject: Opened, work: AttackRows) -> float:
    start = time.process_time()
    work(subject, (list(range(len(subject.test))), 0))
    return time.process_time() - start


def run() -> Report:
    """Build and attack everything, and print a line for each."""
    torch.set_num_threads(1)
    looks = {}
    for defence in CORPUS:
        looks[defence.name] = found = look(defence)
        shown = "  ".join(f"{key} {found[key]:.3f}" for key in ("clean", "plain_pgd", "adaptive", "robust_accuracy"))
        print(f"{defence.name:24} {shown}  {', '.join(found['alarms'])}", flush=True)
    models = {honest.name: (honest, honest.build()) for honest in HONEST}
    result = {"eps": EPS, "recall": recall(looks), "honest": false_alarms(models), "extra_cpu": extra(models)}
    print(result["recall"], result["extra_cpu"])
    return {**result, "each": looks}
