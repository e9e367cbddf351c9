"""Conversion: the numbers arrive, nothing of the author's runs, and the walls around the child hold."""

import collections
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from veriward.adapters.convert import convert, flatten, inert
from veriward.core.errors import ArtefactError, DangerousArtefact, SettingsError


class Config(dict[str, Any]):
    """A class that the allowlist does not know, of the kinds that training scripts put into checkpoints."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.twin = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.register_buffer("kept", torch.arange(3.0))
        self.register_buffer("not_kept", torch.ones(2), persistent=False)


def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


def saved(path: Path, thing: object, **options: Any) -> Path:
    torch.save(thing, path, **options)
    return path


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_unknown_classes_gives_its_state_dict(tmp_path: Path, zipped: bool) -> None:
    model = net()
    thing = {"epoch": 3, "state_dict": model.state_dict(), "config": Config(lr=0.1)}
    path = saved(tmp_path / "last.ckpt", thing, _use_new_zipfile_serialization=zipped)
    done = convert(path)
    assert done.path == tmp_path / "last.safetensors"
    assert (done.taken, done.scanned.outcome, done.tensors) == ("state_dict", "clean", len(model.state_dict()))
    assert any(name.endswith("Config") for name in done.replaced)
    assert same(load_file(done.path), model.state_dict())
    assert "seccomp" in done.walls or not sys.platform.startswith("linux")


def test_a_whole_module_gives_the_names_of_its_state_dict(tmp_path: Path) -> None:
    model = net()
    done = convert(saved(tmp_path / "whole.pt", model))
    assert same(load_file(done.path), dict(model.state_dict()))
    assert any(name.endswith("Net") for name in done.replaced)


@pytest.mark.slow
def test_everything_or_a_part_can_be_taken(tmp_path: Path) -> None:
    model = net()
    thing = {"epoch": 3, "state_dict": model.state_dict(), "steps": [torch.ones(2), np.arange(3)]}
    path = saved(tmp_path / "a.pt", thing)
    every = load_file(convert(path, key="").path)
    assert {"steps.0", "steps.1", "state_dict.linear.weight"} <= every.keys()
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert json.loads(file.metadata()["values"]) == {"epoch": 3}
    assert sorted(load_file(convert(path, key="steps", force=True).path)) == ["0", "1"]
    with pytest.raises(ArtefactError, match="there is no 'nope'"):
        convert(path, key="state_dict.nope", force=True)


@pytest.mark.slow
def test_views_half_precision_tied_weights_and_plain_pickles(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"turned": base.t(), "part": base[1:], "tied": base, "half": base.half(), "b": base.bfloat16()}
    found = load_file(convert(saved(tmp_path / "v.pt", tensors)).path)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(collections.OrderedDict(w=np.ones((2, 2)), c=Config(a=1))))
    assert list(load_file(convert(tmp_path / "p.pkl").path)) == ["w"]


@pytest.mark.slow
def test_what_safetensors_cannot_hold_is_named(tmp_path: Path) -> None:
    thing = {"w": torch.ones(2), "sparse": torch.eye(3).to_sparse(), "texts": np.array(["a"])}
    done = convert(saved(tmp_path / "s.pt", thing))
    assert done.tensors == 1
    assert [text.split(" ")[0] for text in done.left_out] == ["texts"]
    assert "torch._utils._rebuild_sparse_tensor" in done.replaced


class Attack:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.made = (function, arguments)

    def __reduce__(self) -> Any:
        return self.made


def test_dangerous_files_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    import os

    canary = tmp_path / "canary"
    path = saved(tmp_path / "bad.pt", {"w": torch.ones(2), "x": Attack(os.mkdir, str(canary))})
    with pytest.raises(DangerousArtefact, match=r"posix\.mkdir|nt\.mkdir"):
        convert(path)
    assert not canary.exists()
    assert not (tmp_path / "bad.safetensors").exists()


def planted(canary: str) -> torch.Tensor:
    Path(canary).mkdir()
    return torch.ones(1)


def test_unknown_functions_are_not_called_but_stood_in_for(tmp_path: Path) -> None:
    """The module is importable here and its function would leave a folder: neither happens."""
    canary = tmp_path / "canary"
    path = saved(tmp_path / "odd.pt", {"w": torch.ones(2), "x": Attack(planted, str(canary))})
    done = convert(path)
    assert done.tensors == 1
    assert not canary.exists()
    torch.load(path, weights_only=False)
    assert canary.exists(), "the attack is real"


def test_files_unknown_for_other_reasons_are_refused(tmp_path: Path) -> None:
    content = saved(tmp_path / "a.pt", {"w": torch.ones(2)}).read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[:-30])
    (tmp_path / "ext.pkl").write_bytes(b"\x80\x02\x82\x01.")
    (tmp_path / "text.pt").write_text("hello")
    for name in ("cut.pt", "ext.pkl", "text.pt"):
        with pytest.raises(ArtefactError, match=r"want a checkpoint|more than the classes"):
            convert(tmp_path / name)


@pytest.mark.slow
def test_views_that_unfold_beyond_the_file_are_refused(tmp_path: Path) -> None:
    huge = torch.ones(1).expand(1 << 32)
    with pytest.raises(ArtefactError, match="unfold"):
        convert(saved(tmp_path / "bomb.pt", {"w": huge}))
    assert not (tmp_path / "bomb.safetensors").exists()


@pytest.mark.slow
def test_nothing_is_overwritten_or_written_in_the_wrong_place(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(2)})
    convert(path)
    with pytest.raises(SettingsError, match="--force"):
        convert(path)
    with pytest.raises(SettingsError, match="cannot be written"):
        convert(path, tmp_path / "missing" / "b.safetensors")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pt", "a.safetensors"]


@pytest.mark.slow
def test_holding_no_tensors_and_doubled_names_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="holds no tensors"):
        convert(saved(tmp_path / "none.pt", {"epoch": 1}))
    with pytest.raises(ArtefactError, match="two leaves"):
        convert(saved(tmp_path / "twice.pt", {"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}))


def test_too_deep_trees_and_cycles_end(tmp_path: Path) -> None:
    tree: list[Any] = []
    tree.append(tree)
    with pytest.raises(ArtefactError, match="containers deep"):
        flatten.Leaves.of(tree)


def test_names_that_hide_are_not_imported() -> None:
    replaced: set[str] = set()
    for stream in (b"cveriward.cli.app\nmain\n.", b"cthis\ns\n.", b"cantigravity\nfly\n."):
        try:
            inert.unpickler(replaced)(io.BytesIO(stream)).load()
        except ArtefactError:
            continue
    assert "this" not in sys.modules
    assert "antigravity" not in sys.modules


CONFINED = """
import ctypes, os, socket, subprocess, sys
from veriward.adapters.convert.confine import confine
raw = ctypes.CDLL(None, use_errno=True).socket
walls = confine(more_memory_bytes=1 << 28, cpu_seconds=20, file_bytes=1 << 20)
def refused(work):
    try:
        work()
    except (OSError, MemoryError, RuntimeError):
        return True
    return False
tried = {
    "socket": lambda: socket.socket(),
    "program": lambda: subprocess.run(["true"]),
    "system": lambda: os.system("true"),
    "fork": lambda: os.fork(),
    "write": lambda: open("made", "w"),
    "remove": lambda: os.remove(__file__),
    "memory": lambda: bytearray(1 << 30),
}
print(*[name for name, work in tried.items() if not refused(work)], "raw" if raw(2, 1, 0) >= 0 else "", *walls)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="seccomp and address-space limits are Linux's")
def test_the_walls_hold(tmp_path: Path) -> None:
    script = tmp_path / "confined.py"
    script.write_text(CONFINED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split() == ["limits", "seccomp", "audit"], done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["confined.py"]
