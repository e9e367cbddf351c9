"""One change for all rows, and patches: closed forms, planted weaknesses, refusals, and what is counted."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import veriward
from veriward.adapters.opened import open_subject
from veriward.checks.evasion.patches import PatchDomain, patch_size
from veriward.checks.registry import registry
from veriward.core.threat import Threat
from veriward.run.control import run_controls
from veriward.run.job import Forgetful

from .measure import Linear, measure, measure_opened, subject_of

ROWS = 120


def lopsided(seed: int, columns: int = 20) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """Rows of which nine in ten are of class 1, the weights, and the labels."""
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=columns).astype(np.float32)
    x = generator.normal(size=(ROWS, columns)).astype(np.float32)
    x += (1.3 * weight / np.sqrt((weight**2).sum())).astype(np.float32)
    return x, torch.as_tensor(weight), (x @ weight > 0).astype(int)


def universal(model: Any, x: Any, y: Any, eps: float, **more: Any) -> Any:
    settings = {"kind": "image" if x.ndim > 2 else "tabular", "bounds": (-100.0, 100.0)}
    return subject_of(model, x, y, input=settings, threat={"evasion": {"eps": eps, "universal": True}}, **more)


@pytest.mark.parametrize("access", ["gradients", "scores", "labels"])
def test_one_change_turns_the_larger_class_of_a_linear_model(access: str) -> None:
    x, weight, y = lopsided(0)
    margin = np.abs(x.astype(np.float64) @ weight.double().numpy()) / weight.abs().double().sum().item()
    eps = float(np.median(margin))
    model: Any = Linear(torch.stack([torch.zeros_like(weight), weight]))
    output = "logits"
    if access != "gradients":
        w, output = weight.double().numpy(), "labels" if access == "labels" else "logits"

        def model(rows: Any) -> np.ndarray:
            score = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1) @ w
            return (score > 0).astype(int) if access == "labels" else np.stack([0 * score, score], 1)

    shaped = x.reshape(-1, 1, 4, 5)
    subject = universal(model, shaped, y, eps, output=output, data={"train": (shaped, y)})
    found = measure("evasion/universal", subject)
    fallen = (margin < eps) & (y == 1)  # a change against the weights: near rows of class 1 and no others
    broken = found.outcomes["broken"] == 1
    assert not (broken & (margin > eps * (1 + 1e-6))).any()
    assert broken.sum() >= (0.97 if access == "gradients" else 0.6) * fallen.sum()
    if access == "gradients":
        assert np.array_equal(broken, fallen)
    assert "evasion.no_gradients" not in {n.code for n in found.untested} or access != "gradients"


def test_it_is_measured_on_rows_it_was_not_found_on() -> None:
    x, weight, y = lopsided(1)
    model = Linear(torch.stack([torch.zeros_like(weight), weight]))
    found = measure("evasion/universal", universal(model, x, y, 0.3))
    assert (found.outcomes["correct"] >= 0).sum() == ROWS // 2
    noise = np.random.default_rng(2).normal(size=(ROWS, 20)).astype(np.float32)
    with_train = universal(model, x, y, 0.3, data={"train": (noise, (noise @ weight.numpy() > 0).astype(int))})
    assert (measure("evasion/universal", with_train).outcomes["correct"] >= 0).sum() == ROWS


def test_the_same_rows_and_seed_find_the_same_change_in_any_batch() -> None:
    x, weight, y = lopsided(3)
    model = Linear(torch.stack([torch.zeros_like(weight), weight]))
    subject = universal(model, x, y, 0.3, data={"train": (x, y)})
    found = [measure("evasion/universal", subject, batch_size=size) for size in (1, 64)]
    assert found[0].outcomes["broken"].tobytes() == found[1].outcomes["broken"].tobytes()


def test_both_run_only_where_the_subject_asks_for_them() -> None:
    pictures = np.random.default_rng(0).random((40, 1, 8, 8)).astype(np.float32)
    y = np.arange(40) % 2
    plain = open_subject(
        subject_of(lambda r: np.zeros((len(r), 2)), pictures, y, input={"bounds": (0, 1)}), device="cpu"
    )
    assert registry()["evasion/universal"].refuse(plain).code == "evasion.universal_not_asked"
    assert registry()["evasion/patch"].refuse(plain).code == "evasion.patch_not_asked"
    asked = {"evasion": {"universal": True, "patch": 0.05}}
    table = subject_of(
        lambda r: np.zeros((len(r), 2)), np.arange(80).reshape(40, 2), y, input={"kind": "tabular"}, threat=asked
    )
    opened = open_subject(table, device="cpu")
    assert registry()["evasion/universal"].refuse(opened).code == "evasion.universal_needs_numbers"
    assert registry()["evasion/patch"].refuse(opened).code == "evasion.patch_needs_pictures"


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_of_the_picture_lies_between_nothing_and_all(share: float) -> None:
    with pytest.raises(veriward.VeriwardError, match="patch"):
        veriward.Subject(model=len, data={"test": ([[0.0]], [0])}, threat={"evasion": {"patch": share}})


@pytest.mark.parametrize("name", ["evasion/universal", "evasion/patch"])
@pytest.mark.parametrize("white", [True, False])
def test_controls_hold(name: str, white: bool) -> None:
    x = np.random.default_rng(0).random((40, 1, 4, 5)).astype(np.float32)
    weight = torch.randn(2, 20, generator=torch.Generator().manual_seed(0))
    model: Any = Linear(weight) if white else (lambda rows: np.asarray(rows).reshape(len(rows), -1) @ weight.numpy().T)
    opened = open_subject(subject_of(model, x, np.arange(40) % 2, input={"bounds": (0.0, 1.0)}), device="cpu")
    results = run_controls(registry()[name], opened, Forgetful())
    assert len(results) == 2
    assert all(result.holds for result in results), results


class Spot(nn.Module):
    """Decides by the brightness of one pixel, deep in a picture of three channels."""

    def __init__(self, row: int, column: int, *, last: bool = False) -> None:
        super().__init__()
        self.row, self.column, self.last = row, column, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 2) logits."""
        value = x[:, self.row, self.column].mean(1) if self.last else x[:, :, self.row, self.column].mean(1)
        return torch.stack([0.5 - value, value - 0.5], 1)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("white", [True, False])
def test_a_patch_finds_the_spot_that_decides(white: bool, last: bool) -> None:
    shape = (12, 16, 3) if last else (3, 12, 16)
    pictures = np.random.default_rng(0).random((50, *shape)).astype(np.float32)
    net = Spot(7, 11, last=last)
    y = net(torch.as_tensor(pictures)).argmax(1).numpy()
    model: Any = net if white else (lambda rows: net(torch.as_tensor(np.asarray(rows))).numpy())
    subject = subject_of(
        model, pictures, y, input={"kind": "image", "bounds": (0, 1)}, threat={"evasion": {"patch": 0.05}}
    )
    found = measure("evasion/patch", subject)
    tall, wide = patch_size(shape, 0.05)
    assert (tall, wide) == (3, 3)
    assert (found.outcomes["broken"] == 1).mean() >= (1.0 if white else 0.9)
    for witness in found.witnesses:
        changed = witness.details["clean"] != witness.details["adversarial"]
        where = np.argwhere(changed.any(axis=2 if last else 0))
        assert (np.ptp(where, axis=0) < (tall, wide)).all()
        assert witness.details["adversarial"].min() >= 0
        assert witness.details["adversarial"].max() <= 1


def test_two_spots_far_apart_are_no_patch() -> None:
    domain, threat = PatchDomain(0.0, 1.0), Threat("misclassify", "scores", {"norm": "patch", "area": 0.1})
    clean = torch.full((4, 1, 10, 10), 0.5)
    z = clean.clone()
    z[0, 0, 2:5, 2:5] = 1.0
    z[1, 0, 0, 0] = z[1, 0, 9, 9] = 1.0
    z[2, 0, 2:6, 2:5] = 1.0
    z[3, 0, 4, 4] = 1.1
    assert domain.allowed(z, clean, threat).tolist() == [True, False, False, False]
    assert domain.allowed(clean, clean, threat).all()


def test_a_patch_leaves_alone_what_does_not_depend_on_one() -> None:
    """A model that reads the mean of a picture moves by the patch's share of it at most."""
    pictures = np.random.default_rng(0).random((60, 1, 20, 20)).astype(np.float32) * 0.2
    pictures[::2] += 0.8
    y = (pictures.mean((1, 2, 3)) > 0.5).astype(int)

    def model(rows: Any) -> np.ndarray:
        value = np.asarray(rows).reshape(len(rows), -1).mean(1)
        return np.stack([0.5 - value, value - 0.5], 1)

    subject = subject_of(
        model, pictures, y, input={"kind": "image", "bounds": (0, 1)}, threat={"evasion": {"patch": 0.05}}
    )
    assert not (measure("evasion/patch", subject).outcomes["broken"] == 1).any()


def test_company_changes_nothing_for_patches() -> None:
    from veriward.checks.evasion.patch import patch_threat
    from veriward.checks.evasion.patches import PatchAscent, PatchRows, PatchSearch
    from veriward.core.streams import Stream

    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(40, 1, 8, 8, generator=generator)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    pictures, net[3].bias.data = pictures - 0.5, torch.zeros(3)
    y = net(pictures).argmax(1).numpy()
    subject = subject_of(net, pictures.numpy(), y, input={"kind": "image", "bounds": (-0.5, 0.5)})
    opened = open_subject(subject, device="cpu")
    work = PatchRows(patch_threat(opened, 0.05), Stream.of(0, "p"), (PatchAscent(9, 2), PatchSearch(30)))
    whole = work(opened, (list(range(40)), 0))
    assert 0 < (whole["by"] >= 0).sum() < 40
    for rows in ([7], [30, 2, 11]):
        part = work(opened, (rows, 0))
        assert all(part[name].tobytes() == whole[name][rows].tobytes() for name in ("correct", "by", "spent"))


def test_both_from_end_to_end(tmp_path: Any) -> None:
    pictures = np.random.default_rng(0).random((60, 1, 8, 8)).astype(np.float32) - 0.5
    net = nn.Sequential(nn.Flatten(), Linear(torch.randn(3, 64, generator=torch.Generator().manual_seed(1))))
    y = net(torch.as_tensor(pictures)).argmax(1).numpy()
    subject = subject_of(
        net,
        pictures,
        y,
        input={"kind": "image", "bounds": (-0.5, 0.5)},
        threat={"evasion": {"eps": 0.05, "universal": True, "patch": 0.05}},
    )
    names = ["evasion/universal", "evasion/patch"]
    with veriward.assess(subject, checks=names, out=tmp_path / "x.ward", budget="quick") as dossier:
        for name in names:
            finding = dossier[name]
            assert finding.error is None, finding.error
            assert finding.estimate("robust_accuracy").bound == "upper"
        assert dossier["evasion/patch"].evidence.threat.knobs["area"] == 0.05


def test_patches_respect_a_mask() -> None:
    pictures = np.random.default_rng(0).random((40, 3, 12, 16)).astype(np.float32)
    net = Spot(7, 11)
    y = net(torch.as_tensor(pictures)).argmax(1).numpy()
    mask = np.ones((3, 12, 16), np.float32)
    mask[:, 7, 11] = 0
    subject = subject_of(
        net, pictures, y, input={"kind": "image", "bounds": (0, 1)}, threat={"evasion": {"patch": 0.05, "mask": mask}}
    )
    opened = open_subject(subject, device="cpu")
    assert not (measure_opened("evasion/patch", opened).outcomes["broken"] == 1).any()
