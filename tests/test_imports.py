"""Importing is free: nothing heavy, no files, no connections, and one door for each heavy package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "veriward"
HEAVY = (
    "torch",
    "scipy",
    "sklearn",
    "pandas",
    "duckdb",
    "skops",
    "safetensors",
    "cryptography",
    "vl_convert",
    "jinja2",
)
OPTIONAL = (
    "flwr",
    "ray",
    "tenseal",
    "keras",
    "jax",
    "tensorflow",
    "onnx",
    "onnxruntime",
    "xgboost",
    "lightgbm",
    "gymnasium",
    "starlette",
)
CLOSED = """
import sys
def guard(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        raise SystemExit(f"{event} {args}")
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        raise SystemExit(f"{event} {args}")
sys.dont_write_bytecode = True
sys.addaudithook(guard)
"""


def loaded(code: str, cwd: Path) -> set[str]:
    """Run code in a fresh process that may neither write nor connect; return the heavy packages it imported."""
    names = HEAVY + OPTIONAL
    tail = f"\nprint('LOADED', *sorted(set({names!r}) & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", CLOSED + code + tail], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert run.returncode == 0, run.stderr
    assert list(cwd.iterdir()) == []
    return set(run.stdout.splitlines()[-1].split()[1:])


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    assert loaded("import veriward; dir(veriward); veriward.__version__", tmp_path) == set()


@pytest.mark.parametrize(
    "code",
    [
        "import veriward.core.subject, veriward.core.policy, veriward.core.dossier, veriward.core.seal",
        "import veriward; veriward.registry(); veriward.Subject; veriward.Policy; veriward.Dossier; veriward.verify",
    ],
)
def test_subjects_dossiers_and_the_registry_need_no_torch_and_no_scipy(code: str, tmp_path: Path) -> None:
    assert not loaded(code, tmp_path) & {"torch", "scipy", "sklearn", "pandas", "duckdb", *OPTIONAL}


@pytest.mark.parametrize(
    "words", [["--help"], ["checks"], ["checks", "--json"], ["assess", "--help"], ["verify", "--help"]]
)
def test_the_command_line_answers_without_torch_scipy_and_sklearn(words: list[str], tmp_path: Path) -> None:
    code = f"""
from veriward.cli.app import main
try:
    main({words!r})
except SystemExit as end:
    assert end.code in (0, None), end.code
"""
    assert not loaded(code, tmp_path) & {"torch", "scipy", "sklearn", "pandas", "duckdb", *OPTIONAL}


def test_every_module_can_be_imported_without_the_optional_packages(tmp_path: Path) -> None:
    modules = sorted(
        ".".join(("veriward", *file.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")
        for file in SRC.rglob("*.py")
        if file.name != "__main__.py"
    )
    code = f"""
from importlib import import_module
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
for name in {modules!r}:
    import_module(name)
"""
    assert not loaded(code, tmp_path) & set(OPTIONAL)


def imports(file: Path) -> set[str]:
    """Return the packages that a file imports anywhere, at the top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", ["duckdb", "pandas", "vl_convert", *OPTIONAL])
def test_heavy_packages_have_one_door(package: str) -> None:
    doors = [str(file.relative_to(SRC)) for file in SRC.rglob("*.py") if package in imports(file)]
    assert len([door for door in doors if not door.startswith("examples")]) <= 1, (
        doors
    )  # examples train what users bring


def test_scipy_stats_is_never_imported() -> None:
    texts = {file.name: file.read_text(encoding="utf-8") for file in SRC.rglob("*.py")}
    assert not [name for name, text in texts.items() if "scipy.stats" in text]


def test_the_face_shows_what_it_promises() -> None:
    import veriward

    for name in veriward.__all__:
        assert getattr(veriward, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        _ = veriward.nobody
