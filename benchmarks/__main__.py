"""Run one benchmark or all; results are printed and written to benchmarks/results as JSON."""

import json
import sys
import time
from importlib import import_module
from pathlib import Path

from veriward.run.environment import environment

NAMES = (
    *("judge", "null", "slices", "smoothing", "data_noise", "gate", "fairness", "pii", "scan", "view", "certify"),
    *("masking", "evasion", "adult", "trees", "dp", "dp_accuracy", "dp_audit", "dp_variants", "shadows"),
)


def main(names: list[str]) -> int:
    """Run the named benchmarks; 2 for an unknown name."""
    names = [name.replace("-", "_") for name in names]
    unknown = set(names) - set(NAMES)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        start = time.process_time()
        result = import_module(f"benchmarks.{name}").run()
        report = {"benchmark": name, "cpu_seconds": round(time.process_time() - start, 1), "environment": environment()}
        path = Path(__file__).parent / "results" / f"{name}.json"
        path.write_text(json.dumps({**report, "result": result}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: {report['cpu_seconds']} CPU seconds, written to {path.relative_to(Path.cwd())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
