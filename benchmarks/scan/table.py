"""The table of docs/scanner.md, from the results: `python -m benchmarks.scan.table`."""

import json
from pathlib import Path
from typing import Any

from .peers import ANSWERS

RESULT = Path(__file__).parent.parent / "results" / "scan.json"
_GROUPS = ("pickles", "archives and arrays", "other formats", "all")


def table(result: dict[str, Any]) -> str:
    """Rows of Markdown: tool, files, and how many files got each answer."""
    lines = ["| files | tool | " + " | ".join(ANSWERS) + " |", "|---|---|" + "--:|" * len(ANSWERS)]
    for title in ("hostile", "benign"):
        for group in _GROUPS:
            for tool, answers in result[title]["answers"].items():
                counts = " | ".join(str(answers[group].get(answer, 0)) for answer in ANSWERS)
                lines.append(f"| {title}, {group} ({result[title]['files'][group]}) | {tool} | {counts} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(RESULT.read_text(encoding="utf-8"))["result"]))
