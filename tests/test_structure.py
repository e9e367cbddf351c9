"""What separates loved from hated code, measured: short functions, short files."""

import ast
import statistics
from pathlib import Path

SRC = Path(__file__).parent.parent / "src" / "veriward"
FILES = sorted(SRC.rglob("*.py"))


def functions() -> dict[str, int]:
    """Return the length in lines of every function and method, docstring and decorators included."""
    found = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[f"{file.relative_to(SRC)}:{node.lineno} {node.name}"] = (node.end_lineno or first) - first + 1
    return found


def test_the_median_function_has_at_most_twelve_lines() -> None:
    assert statistics.median(functions().values()) <= 12


def test_no_function_is_over_eighty_lines() -> None:
    assert {name: length for name, length in functions().items() if length > 80} == {}


def test_nine_files_in_ten_have_at_most_350_lines() -> None:
    lengths = {str(f.relative_to(SRC)): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    long = {name: length for name, length in lengths.items() if length > 350}
    assert len(long) <= len(lengths) / 10, long


def test_nothing_is_called_utils_and_folders_are_shallow() -> None:
    assert not [f for f in FILES if any(word in f.stem for word in ("util", "helper", "misc", "common"))]
    assert max(len(f.relative_to(SRC).parts) for f in FILES) <= 3
