"""Models that raise, answer nonsense, or have moods: named when opened, or an error of the one check that meets them."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import veriward as vw
from veriward.checks.evasion import plans
from veriward.core.dossier import Dossier
from veriward.core.errors import ArtefactError, DataError, ModelError, SettingsError, VeriwardError
from veriward.core.finding import exit_code

Assess = Callable[..., Dossier]


def rows(n: int = 60, seed: int = 0) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).random((n, 4)).astype(np.float32)
    return x, (x.sum(1) > 2).astype(np.int64)


X, Y = rows()
IMAGES = np.random.default_rng(0).random((60, 1, 8, 8)).astype(np.float32)
KINDS = (IMAGES.mean((1, 2, 3)) > IMAGES.mean()).astype(np.int64)


def filled(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def net(outputs: int = 2) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return filled(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))).eval()


def flat() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return filled(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))


class Bent(nn.Module):
    """The network with something done to its answer."""

    def __init__(self, bend: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.bend = net(), bend

    def forward(self, x: Tensor) -> Any:
        return self.bend(self.net(x), x)


@pytest.fixture
def assess_with_controls(tmp_path: Path) -> Any:
    opened: list[Dossier] = []

    def assessed(live: Any, test: Any = (X, Y), *, train: Any = None, checks: Any = None, **sections: Any) -> Dossier:
        data = {"test": test, "train": train, **sections.pop("data", {})}
        model = {"live": live, **sections.pop("model", {})}
        subject = vw.Subject.model_validate({"name": "live", "model": model, "data": data, **sections})
        path = tmp_path / f"{len(opened)}.ward"
        opened.append(vw.assess(subject, out=path, budget="quick", checks=checks or ["evasion/*"]))
        return opened[-1]

    yield assessed
    for dossier in opened:
        dossier.close()


@pytest.fixture
def assess(assess_with_controls: Assess, monkeypatch: pytest.MonkeyPatch) -> Assess:
    """Without controls and with little effort: what the attacks find is tested elsewhere."""
    monkeypatch.setattr("veriward.run.assess.run_controls", lambda *_: ())
    monkeypatch.setitem(plans.EFFORTS, "quick", plans.Effort(200, 5, 1, 20, 50))  # type: ignore[arg-type]  # a dict
    return assess_with_controls


def robust(dossier: Dossier) -> Any:
    return dossier["evasion/linf"].outcomes["robust"]


# --- answers that are none


WRONG: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "raises": (lambda out, x: 1 / 0, "raised ZeroDivisionError on 60 rows of shape (4,): division by zero"),
    "leaves": (lambda out, x: exit(0), "raised SystemExit"),
    "NaN": (lambda out, x: out * float("nan"), "answered NaN or inf for row 0"),
    "inf": (lambda out, x: out.abs() / 0, "answered NaN or inf for row 0"),
    "nothing": (lambda out, x: None, "answered NoneType"),
    "empty tuple": (lambda out, x: (), "answered tuple ()"),
    "words": (lambda out, x: ("yes", out), "answered str"),
    "another key": (lambda out, x: {"out": out}, "['out']"),
    "fewer rows": (lambda out, x: out[:3], "answered shape (3, 2) for 64 rows"),
    "one number": (lambda out, x: out.mean(), "answered shape ()"),
    "three dimensions": (lambda out, x: out[:, None], "want (60, 2)"),
    "complex": (lambda out, x: out.to(torch.complex64), "complex64"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_told_before_anything_is_measured(case: str, assess: Assess, tmp_path: Path) -> None:
    bend, wanted = WRONG[case]
    with pytest.raises(ModelError) as told:
        assess(Bent(bend))
    assert wanted in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda x: ["yes"] * len(x), "answered <U3"),
        (lambda x: None, "answered object"),
        (lambda x: np.zeros((len(x), 7)), "no class"),
        (lambda x: np.zeros((2, 2)), "want (60, 2)"),
    ],
)
def test_wrong_answers_of_functions(function: Any, wanted: str, assess: Assess) -> None:
    classes = {"favourable": 9} if wanted == "no class" else {}
    with pytest.raises((ModelError, SettingsError)) as told:
        assess(function, data=classes)
    assert wanted in str(told.value)


def test_what_is_no_model(assess: Assess) -> None:
    for thing, wanted in ((3, "int cannot be asked"), (nn.LazyLinear(2), "cannot be copied"), (nn.Linear, "raised")):
        with pytest.raises(VeriwardError) as told:
            assess(thing)
        assert wanted in str(told.value)


def test_the_subject_is_refused_without_quoting_rows(assess: Assess) -> None:
    for data in (None, (X, Y, Y), {"x": X, "y": Y[:7]}, {}, 3.25):
        with pytest.raises((SettingsError, DataError)) as told:
            assess(net(), data)
        assert "0." not in str(told.value)


def test_contradictions_between_subject_and_model(assess: Assess) -> None:
    detached = Bent(lambda out, x: out.detach())
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (net(), {"model": {"output": "probabilities"}}, "say 'logits'"),
        (net(), {"task": "regression"}, "one finite number per row"),
        (net(), {"task": "regression", "model": {"output": "logits"}}, "output is 'logits'"),
        (detached, {"model": {"access": "gradients"}}, "at most scores"),
        (lambda x: x @ np.ones((4, 2)), {"model": {"access": "gradients"}}, "at most scores"),
    ]
    for model, sections, wanted in cases:
        with pytest.raises(VeriwardError) as told:
            assess(model, **sections)
        assert wanted in str(told.value)


# --- errors of one check


class Rarely(Bent):
    """Wrong for one training row alone, which evasion never asks about."""

    def __init__(self, bend: Callable[[Tensor, Tensor], Any], row: Any) -> None:
        super().__init__(bend)
        self.row = torch.from_numpy(row)

    def forward(self, x: Tensor) -> Any:
        out = self.net(x)
        return self.bend(out, x) if bool((x == self.row).all(1).any()) else out


def stumble(out: Tensor, x: Tensor) -> Tensor:
    raise ValueError("in the middle")


@pytest.mark.parametrize(("bend", "wanted"), [(stumble, "in the middle"), (lambda out, x: out * np.nan, "NaN")])
def test_a_model_that_fails_in_the_middle_is_an_error_of_one_check(bend: Any, wanted: str, assess: Assess) -> None:
    train = rows(300, seed=5)
    dossier = assess(Rarely(bend, train[0][280]), train=train, checks=["evasion/*", "leakage/*"])
    assert {f.id: f.verdict for f in dossier} == {"evasion/linf": "inconclusive", "leakage/loss": "error"}
    assert wanted in str(dossier["leakage/loss"].error)
    assert "ModelError" in dossier.traceback("leakage/loss")
    assert (wanted in dossier.traceback("leakage/loss"), dossier.traceback("evasion/linf")) == (True, "")
    assert exit_code([f.verdict for f in dossier]) == 3
    assert len(robust(dossier)) == 60


def test_a_check_that_raises_is_tried_again(tmp_path: Path) -> None:
    train = rows(300, seed=5)
    model = Rarely(stumble, train[0][280])
    values = {"name": "moody", "model": {"live": model}, "data": {"test": (X, Y), "train": train}}
    subject = vw.Subject.model_validate(values)

    def run() -> dict[str, str]:
        with vw.assess(subject, out=tmp_path / "m.ward", budget="quick", checks=["evasion/*", "leakage/*"]) as dossier:
            return {f.id: f.verdict for f in dossier}

    assert run()["leakage/loss"] == "error"
    model.bend = lambda out, x: out
    assert run() == {"evasion/linf": "inconclusive", "leakage/loss": "inconclusive"}


# --- models of other makes


LIKE: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda out, x: (out, x),
    "list": lambda out, x: [out, x],
    "logits by name": lambda out, x: {"logits": out, "loss": None},
    "class ruled out": lambda out, x: torch.cat([out, torch.full_like(out[:, :1], -torch.inf)], 1),
    "softmax": lambda out, x: out.softmax(1),
    "writes into its input": lambda out, x: (x.mul_(0), out)[1],
}


@pytest.mark.parametrize("case", LIKE)
def test_answers_in_another_dress_give_the_same_outcomes(case: str, assess: Assess) -> None:
    x, y = rows(128)  # two whole tiles: nothing is padded, so nothing is copied on the way
    np.testing.assert_array_equal(robust(assess(Bent(LIKE[case]), (x, y))), robust(assess(net(), (x, y))))


def test_one_column_is_two_classes_as_logit_and_as_probability(assess: Assess) -> None:
    bends = [
        lambda out, x: torch.stack([torch.zeros_like(out[:, 0]), out[:, 0]], 1),
        lambda out, x: out[:, :1],
        lambda out, x: out[:, 0],
        lambda out, x: torch.sigmoid(out[:, :1]),
        lambda out, x: torch.sigmoid(out[:, 0]),
    ]
    expected, *others = [robust(assess(Bent(bend))) for bend in bends]
    for other in others:
        np.testing.assert_array_equal(other, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_models_of_other_precision(dtype: torch.dtype, assess: Assess) -> None:
    difference = robust(assess(net().to(dtype))) != robust(assess(net()))
    assert difference.mean() <= (0 if dtype == torch.float64 else 0.1)


def test_a_model_with_moods_raises_an_alarm(assess: Assess) -> None:
    stream = torch.Generator().manual_seed(0)
    dossier = assess(Bent(lambda out, x: out + torch.randn(out.shape, generator=stream) * 0.1))
    evidence = dossier["evasion/linf"].evidence
    assert evidence is not None
    assert "evasion.answers_by_chance" in {alarm.code for alarm in evidence.alarms}
    assert dossier["evasion/linf"].verdict != "pass"


def test_probabilities_that_pose_as_logits_raise_an_alarm(assess: Assess) -> None:
    evidence = assess(Bent(lambda out, x: out.softmax(1)), model={"output": "logits"})["evasion/linf"].evidence
    assert evidence is not None
    assert "evasion.probabilities_as_logits" in {alarm.code for alarm in evidence.alarms}


def test_a_model_without_slope_is_attacked_by_its_scores(assess: Assess) -> None:
    for bend in (lambda out, x: out.detach(), lambda out, x: torch.from_numpy(out.detach().numpy())):
        assert assess(Bent(bend)).subject["access"] == "scores"


def test_a_model_that_answers_class_numbers(assess: Assess) -> None:
    sections = {"data": {"groups": ["g"]}, "checks": ["fairness/*"]}
    data = {"x": X, "y": Y, "g": np.where(X[:, 0] > 0.5, "a", "b").astype(object)}
    for model in (Bent(lambda out, x: out.argmax(1)), lambda x: (x.sum(1) > 2).astype(int)):
        dossier = assess(model, data, **sections)
        assert (dossier.subject["output"], dossier.subject["access"]) == ("labels", "labels")
        assert dossier["fairness/groups"].evidence is not None


def test_functions_get_copies_and_may_answer_frames(assess: Assess) -> None:
    import pandas as pd

    def writing(x: Any) -> Any:
        answer = pd.DataFrame({"no": 2 - x.sum(1), "yes": x.sum(1) - 2})
        x[:] = 0
        return answer

    before = X.copy()
    dossier = assess(writing)
    clean = dossier["evasion/linf"].estimate("clean_accuracy").value
    np.testing.assert_array_equal(before, X)
    assert clean == 1.0


# --- pictures


def test_pictures_of_bytes_and_without_a_channel(assess: Assess) -> None:
    pixels = (IMAGES * 255).astype(np.uint8)
    by_bounds = assess(flat(), (pixels, KINDS), input={"bounds": (0, 255)})
    inferred = assess(flat(), (pixels, KINDS))
    np.testing.assert_array_equal(robust(by_bounds), robust(inferred))
    (eps,) = {f.evidence.threat.knobs["eps"] for f in inferred if f.evidence and f.evidence.check == "evasion/linf"}
    assert eps == pytest.approx(0.03 * 255)
    without = assess(flat(), (IMAGES[:, 0], KINDS))
    np.testing.assert_array_equal(robust(without), robust(assess(flat(), (IMAGES, KINDS))))


def test_wrong_pictures(assess: Assess) -> None:
    gap = IMAGES.copy()
    gap[3, 0, 0, 0] = np.nan
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ((IMAGES * 3, KINDS), {"input": {"bounds": (0, 1)}}, "outside input.bounds [0, 1]"),
        ((gap, KINDS), {}, "data.test: row 3 holds NaN or inf"),
        ((gap, KINDS), {"input": {"bounds": (0, 1)}}, "data.test: row 3 holds NaN or inf"),
        ((IMAGES, KINDS), {"train": (IMAGES[:, :, :4], KINDS)}, "(1, 8, 8), data.train an array x with rows of shape (1, 4"),
        ((IMAGES, KINDS), {"input": {"kind": "tabular"}}, "want (rows, columns)"),
        ((IMAGES[:, :, :4], KINDS), {}, "60 rows of shape (1, 4, 8)"),
    ]  # fmt: skip
    for test, sections, wanted in cases:
        with pytest.raises(VeriwardError) as told:
            assess(flat(), test, **sections)
        assert wanted in str(told.value)


@pytest.mark.parametrize(("norm", "eps", "most"), [("linf", 8.0, "1 "), ("l2", 9.0, "8 "), ("l1", 65.0, "64 ")])
def test_a_budget_beyond_the_range_is_most_often_in_another_unit(
    assess: Assess, norm: str, eps: float, most: str
) -> None:
    threat = {"evasion": {"norm": norm, "eps": eps}}
    with pytest.raises(SettingsError, match=f"at most {most}under {norm} .8 of 255 is 0.0314"):
        assess(flat(), (IMAGES, KINDS), input={"bounds": (0, 1)}, threat=threat)


# --- what is the caller's stays as it was


def test_a_module_in_training_is_left_as_it_was(assess_with_controls: Assess) -> None:
    with torch.random.fork_rng(devices=[]):
        first = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        model = nn.Sequential(*first, nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2)).train()
        model(torch.from_numpy(IMAGES)).sum().backward()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    flags = [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), torch.get_num_threads())
    images = IMAGES.copy()
    dossier = assess_with_controls(model, (images, KINDS), train=(images, KINDS), checks=["evasion/*", "leakage/*"])
    assert all(f.evidence for f in dossier), "nothing ended in an error"
    assert flags == [(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, parameter in model.named_parameters():
        grad = grads[name]
        assert (parameter.grad is None) == (grad is None)
        assert grad is None or torch.equal(parameter.grad, grad)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert (random.getstate(), torch.get_num_threads()) == states[2:]
    assert torch.is_grad_enabled()
    np.testing.assert_array_equal(images, IMAGES)


def test_a_factory_draws_nothing_from_the_callers_generator(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    (tmp_path / "net.py").write_text("from torch import nn\ndef build(): return nn.Linear(4, 2)\n")
    model = {"path": "model.safetensors", "factory": "net:build"}
    subject = vw.Subject.model_validate({"model": model, "data": {"test": (X, Y)}, "folder": tmp_path})
    before = torch.get_rng_state()
    with pytest.raises(ArtefactError, match="missing weight"):
        vw.assess(subject)
    assert torch.equal(torch.get_rng_state(), before)
