"""The documents say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from veriward.adapters.load import OPENERS
from veriward.checks.registry import registry

ROOT = Path(__file__).parent.parent


def test_every_check_is_documented() -> None:
    table = (ROOT / "docs/checks.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z]+/[a-z0-9_]+)` \| ([a-z, ]+) \|", table, re.MULTILINE)
    assert documented == [(name, ", ".join(check.needs) or "nothing") for name, check in registry().items()]


def test_ci_runs_the_readme_test_command() -> None:
    assert (ROOT / ".ci/run").read_text().strip().splitlines()[-1] == "make test"
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "\nmake test " in text
        assert "\nmake demo " in text


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", (ROOT / name).read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


@pytest.mark.slow
def test_readme_example_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    done = subprocess.run([sys.executable, "-c", code[1]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("pass", "fail", "inconclusive"))


def test_every_kind_that_loads_is_documented() -> None:
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| [^|]+ \| ([^|]+) \|", text, re.MULTILINE)
    documented = {kind for cell in cells for kind in re.findall(r"`([a-z0-9-]+)`", cell)}
    assert documented == set(OPENERS)
