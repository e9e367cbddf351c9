"""Weights with a factory: safetensors and clean checkpoints of torch.save give the same model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from veriward.adapters.load import load
from veriward.adapters.loading import Loading
from veriward.core.errors import ArtefactError, UnknownArtefact
from veriward.core.subject import Subject

FACTORY = "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))\n"
HOW = Loading(device="cpu")


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def subject(folder: Path, name: str, factory: str | None = "net:build") -> Subject:
    (folder / "net.py").write_text(FACTORY)
    values: dict[str, Any] = {"model": {"path": name, "factory": factory}, "data": {"test": ([[0.0]], [0])}}
    return Subject.model_validate({**values, "folder": folder})


class Config:
    """A class that no loader of weights needs."""


def test_all_forms_of_the_same_weights_answer_the_same(tmp_path: Path) -> None:
    weights = net().state_dict()
    save_file(weights, tmp_path / "a.safetensors")
    torch.save(weights, tmp_path / "b.pt")
    torch.save(weights, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": weights, "optimizer": {}}, tmp_path / "d.ckpt")
    x = torch.as_tensor(np.random.default_rng(0).normal(size=(5, 3))).float()
    for name in ("a.safetensors", "b.pt", "c.pt", "d.ckpt"):
        loaded = load(subject(tmp_path, name), HOW)
        assert torch.equal(loaded.backend.raw(x), net().eval()(x).detach()), name
        assert loaded.scanned is not None
        assert loaded.scanned.outcome == "clean"


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = net().state_dict()
    weights["more"] = weights.pop("0.bias")
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(ArtefactError, match=r"missing 0\.bias, surplus more"):
        load(subject(tmp_path, "a.pt"), HOW)
    with pytest.raises(ArtefactError, match=r"name model\.factory"):
        load(subject(tmp_path, "a.pt", None), HOW)


def test_names_that_a_wrapper_prefixed_are_told(tmp_path: Path) -> None:
    """Lightning, DataParallel and torch.compile leave such names; only where nothing else differs is it said."""
    weights = {f"model.{name}": value for name, value in net().state_dict().items()}
    save_file(weights, tmp_path / "a.safetensors")
    with pytest.raises(ArtefactError, match=r"all names differ by 'model\.' alone: .* attribute model"):
        load(subject(tmp_path, "a.safetensors"), HOW)
    save_file(weights | {"more": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ArtefactError, match=r"surplus more$|surplus model") as told:
        load(subject(tmp_path, "b.safetensors"), HOW)
    assert "alone" not in str(told.value)


def test_checkpoints_with_classes_are_refused_and_pointed_to_convert(tmp_path: Path) -> None:
    torch.save({"state_dict": net().state_dict(), "config": Config()}, tmp_path / "a.pt")
    with pytest.raises(UnknownArtefact, match="veriward convert"):
        load(subject(tmp_path, "a.pt"), HOW)
    with pytest.raises(ArtefactError, match="veriward convert"):
        load(subject(tmp_path, "a.pt"), Loading(device="cpu", trust=True))
    torch.save({"epoch": 1}, tmp_path / "b.pt")
    with pytest.raises(ArtefactError, match="holds no state dict"):
        load(subject(tmp_path, "b.pt"), HOW)
