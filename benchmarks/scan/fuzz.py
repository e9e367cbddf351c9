"""Mutated files against CPython's unpicklers: `python -m benchmarks.scan.fuzz [INPUTS] [SEED]`.

What a real unpickler would name, call or fetch beyond the allowlist may never be called clean, and no file may take a
second. The campaign and its oracles are those of the tests (tests/adapters/corpus/campaign.py), only longer.
"""

import json
import sys
from pathlib import Path

from tests.adapters.corpus.campaign import run

from veriward.run.environment import environment

RESULT = Path(__file__).parent.parent / "results" / "scan_fuzz.json"
_BATCH = 20_000


def main(inputs: int, seed: int) -> int:
    """Run batches, print each, write the sum; 1 where a violation was found."""
    total: dict[str, float] = {"inputs": 0, "seconds": 0.0, "clean": 0, "unknown": 0, "dangerous": 0, "beyond": 0}
    slowest, violations = 0.0, []
    for batch in range(-(-inputs // _BATCH)):
        tally = run(seed + batch, min(_BATCH, inputs - batch * _BATCH))
        for name in ("clean", "unknown", "dangerous"):
            total[name] += tally.outcomes[name]
        total["inputs"] += tally.inputs
        total["seconds"] = round(total["seconds"] + tally.seconds, 1)
        total["beyond"] += tally.beyond
        slowest = max(slowest, tally.slowest)
        violations += [[why, found, content.hex()] for why, found, content in tally.violations]
        print(f"{total}, slowest {slowest:.3f} s, {len(violations)} violations", flush=True)
    result = {**total, "seed": seed, "slowest_cpu_seconds": round(slowest, 4), "violations": violations}
    report = {"benchmark": "scan_fuzz", "environment": environment(), "result": result}
    RESULT.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if violations else 0


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(given[0] if given else 200_000, given[1] if len(given) > 1 else 100))
