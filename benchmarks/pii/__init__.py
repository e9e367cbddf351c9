"""Planted identifiers and near misses in 62 774 Chinese reviews: what is found, what is mistaken, how fast.

The reviews are online-shopping-10-cats.zip of the shared data. The peer is Microsoft presidio in an environment of its own:
the environment variable PRESIDIO names the interpreter there; without it the peer is missing, and said so.
"""

import csv
import io
import json
import os
import statistics
import subprocess
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from veriward.core.intervals import clopper_pearson
from veriward.privacy.identifiers import Patterns

from .planted import CHECKSUMMED, KINDS, NEAR, Planted, dressed, put

DATA = Path(__file__).parents[3] / "shared/data/online-shopping-10-cats.zip"
SEED = 1  # the recognisers were written with other seeds in view
EACH, EACH_NEAR, TURNS, PEER_TEXTS = 500, 350, 3, 3000
THEIRS = {  # what presidio's entities are called here
    "CREDIT_CARD": ("bank_card",),
    "EMAIL_ADDRESS": ("email",),
    "IBAN_CODE": ("iban",),
    "IP_ADDRESS": ("ipv4", "ipv6"),
    "PHONE_NUMBER": ("us_phone", "cn_mobile"),
    "US_SSN": ("us_ssn",),
    "US_PASSPORT": ("passport",),
}
Found = list[tuple[int, str, int, int]]  # text, kind, start, end


def run() -> dict[str, object]:
    """Plant, scan, count, time; then ask the peer about a part of the same texts."""
    reviews = _reviews()
    texts, planted = _planted(reviews, Random(SEED))
    ours: Found = [(n, one.kind, one.start, one.end) for n, one in Patterns().find(texts)]
    natural = Counter(one.kind for _, one in Patterns().find(reviews))
    report: dict[str, object] = {
        "reviews": len(reviews),
        "planted": sum(one.kind is not None for one in planted),
        "near_misses": sum(one.kind is None for one in planted),
        "found_in_the_reviews_as_they_are": dict(natural),
        "ours": _scores(ours, planted, {kind: (kind,) for kind in KINDS}, set(range(len(texts)))),
        "by_flavour": _flavours(ours, planted),
        "near_misses_mistaken": _mistaken(ours, planted),
        "speed": _speed(texts),
    }
    report["presidio"], report["ours_on_the_same_texts"] = _presidio(texts, planted, Random(1))
    _show(report)
    return report


def _reviews() -> list[str]:
    with zipfile.ZipFile(DATA) as archive:
        text = archive.read(archive.namelist()[0]).decode("utf-8-sig")
    return [row["review"] for row in csv.DictReader(io.StringIO(text))]


def _planted(reviews: Sequence[str], draw: Random) -> tuple[list[str], list[Planted]]:
    """Put something into reviews that hold nothing of their own, one thing each."""
    texts = list(reviews)
    taken = {n for n, _ in Patterns().find(texts)}
    free = [n for n in range(len(texts)) if n not in taken]
    draw.shuffle(free)
    planted = []
    for kind, (make, sentences) in KINDS.items():
        for _ in range(EACH):
            n = free.pop()
            value, flavour = dressed(draw, kind, make(draw))
            texts[n], start = put(draw, texts[n], draw.choice(sentences), value)
            planted.append(Planted(n, kind, flavour, start, start + len(value)))
    for flavour, (make, kind) in NEAR.items():
        for _ in range(EACH_NEAR):
            n = free.pop()
            sentences = KINDS[kind][1] if kind else ("型号{}，", "编号{}的货")
            value, _ = dressed(draw, kind, make(draw))
            texts[n], start = put(draw, texts[n], draw.choice(sentences), value)
            planted.append(Planted(n, None, flavour, start, start + len(value)))
    return texts, planted


def _scores(
    found: Found, planted: Sequence[Planted], names: dict[str, tuple[str, ...]], texts: set[int]
) -> dict[str, object]:
    """Precision and recall by kind. A find is right if it covers some of a planted identifier of its kind."""
    where = {one.review: one for one in planted}
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    hit = set()
    for n, name, start, end in found:
        one = where.get(n)
        if one is None:
            continue  # a review as it was: read by hand, see docs/identifiers.md
        kinds = names.get(name, ())
        if one.kind in kinds and start < one.end and end > one.start:
            right[str(one.kind)] += 1
            hit.add(n)
        else:
            wrong[kinds[0] if kinds else name] += 1
    there = Counter(one.kind for one in planted if one.kind and one.review in texts)
    caught = Counter(one.kind for one in planted if one.kind and one.review in hit)
    asked = [kind for kind in KINDS if any(kind in kinds for kinds in names.values())]
    rows = {kind: _row(caught[kind], there[kind], right[kind], wrong[kind]) for kind in asked}
    for title, group in (("checksummed", [k for k in asked if k in CHECKSUMMED]), ("all", asked)):
        rows[title] = _row(*(sum(counter[kind] for kind in group) for counter in (caught, there, right, wrong)))
    return {"kinds": rows, "other_entities": {k: n for k, n in wrong.items() if k not in KINDS}}


def _row(caught: int, there: int, right: int, wrong: int) -> dict[str, object]:
    told = right + wrong
    return {
        "planted": there,
        "recall": round(caught / there, 4) if there else None,
        "recall_interval": [round(x, 4) for x in clopper_pearson(caught, there)] if there else None,
        "precision": round(right / told, 4) if told else None,
        "precision_interval": [round(x, 4) for x in clopper_pearson(right, told)] if told else None,
        "mistaken": wrong,
    }


def _flavours(found: Found, planted: Sequence[Planted]) -> dict[str, object]:
    """Recall by how the identifier was typed, and the share of finds whose place is exact."""
    spans = {(n, kind): (start, end) for n, kind, start, end in found}
    real = [one for one in planted if one.kind]
    hit = [one for one in real if (one.review, one.kind) in spans]
    exact = sum(spans[one.review, str(one.kind)] == (one.start, one.end) for one in hit)
    total, caught = Counter(one.flavour for one in real), Counter(one.flavour for one in hit)
    return {
        **{name: round(caught[name] / n, 4) for name, n in total.items()},
        "exact_place": round(exact / len(hit), 4),
    }


def _mistaken(found: Found, planted: Sequence[Planted]) -> dict[str, dict[str, int]]:
    """By near miss: how many there were, and what they were taken for."""
    near = {one.review: one for one in planted if one.kind is None}
    table: dict[str, Counter[str]] = {one.flavour: Counter() for one in near.values()}
    for n, kind, _, _ in found:
        if n in near:
            table[near[n].flavour][kind] += 1
    return {name: dict(kinds) for name, kinds in table.items()}


def _speed(texts: Sequence[str]) -> dict[str, object]:
    seconds = []
    for _ in range(TURNS):
        start = time.process_time()
        sum(1 for _ in Patterns().find(texts))
        seconds.append(time.process_time() - start)
    median = statistics.median(seconds)
    return {"median_cpu_seconds": median, "all": seconds, "texts_per_cpu_second": round(len(texts) / median)}


def _presidio(texts: Sequence[str], planted: Sequence[Planted], draw: Random) -> tuple[object, object]:
    """Ask presidio, and us, about a part of the texts: half planted, a quarter near misses, a quarter as they were."""
    program = os.environ.get("PRESIDIO")
    if not program:
        print("presidio: PRESIDIO names no interpreter, so the peer is missing from this run")
        return "missing: set PRESIDIO to the interpreter of an environment with presidio-analyzer", None
    real = [one.review for one in planted if one.kind]
    near = [one.review for one in planted if one.kind is None]
    rest = sorted(set(range(len(texts))) - set(real) - set(near))
    chosen = (
        draw.sample(real, PEER_TEXTS // 2) + draw.sample(near, PEER_TEXTS // 4) + draw.sample(rest, PEER_TEXTS // 4)
    )
    command = [program, str(Path(__file__).parent / "peers.py")]
    given = json.dumps([texts[n] for n in chosen])
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    found: Found = [(chosen[n], entity, start, end) for n, entity, start, end, _ in answer["found"]]
    part = set(chosen)
    start = time.process_time()
    scanned = list(Patterns().find([texts[n] for n in chosen]))
    seconds = time.process_time() - start
    ours: Found = [(chosen[n], one.kind, one.start, one.end) for n, one in scanned]
    theirs = {
        "version": answer["version"],
        "setting": "stock recognisers for 'en', blank spaCy pipeline; presidio has none for Chinese identifiers",
        **_answered(len(chosen), answer["seconds"]),
        "scores": _scores(found, planted, THEIRS, part),
    }
    same = {kind: (kind,) for kind in KINDS}
    return theirs, {**_answered(len(chosen), seconds), "scores": _scores(ours, planted, same, part)}


def _answered(texts: int, seconds: float) -> dict[str, object]:
    return {"texts": texts, "cpu_seconds": seconds, "texts_per_cpu_second": round(texts / seconds)}


def _show(report: dict[str, object]) -> None:
    ours = report["ours"]["kinds"]  # type: ignore[index]
    for kind, row in ours.items():
        print(f"{kind:14} recall {row['recall']}  precision {row['precision']}  planted {row['planted']}")
    print(f"speed: {report['speed']['texts_per_cpu_second']} texts per CPU second")  # type: ignore[index]
    peer = report["presidio"]
    if isinstance(peer, dict):
        print(f"presidio {peer['version']}: {peer['texts_per_cpu_second']} texts per CPU second")
        for kind, row in peer["scores"]["kinds"].items():
            print(f"  {kind:14} recall {row['recall']}  precision {row['precision']}  planted {row['planted']}")
