"""certify/bounds on subjects: closed forms of linear models, trees, probabilities, refusals, and attacks beside."""

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from veriward.adapters.opened import open_subject
from veriward.checks.balls import ball_threat
from veriward.checks.certify.decide import functions
from veriward.checks.certify.exact_linear import DUAL, exact_margins, minimal_distance
from veriward.checks.certify.region import Region
from veriward.checks.certify.trace import read
from veriward.checks.registry import registry
from veriward.core.ball import Norm, flat_ball
from veriward.core.errors import ModelError
from veriward.core.subject import Subject
from veriward.run.control import run_controls
from veriward.run.job import Forgetful

from .measure import Linear, drawn, measure, measure_opened, subject_of

ROWS, COLUMNS = 150, 20
NAME = "certify/bounds"
IMAGE = {"kind": "image", "bounds": (-100.0, 100.0)}


def linear(classes: int, norm: Norm, kind: str = "image") -> tuple[Any, np.ndarray[Any, Any]]:
    """A linear subject, some labels of which are wrong, and each row's distance from another decision."""
    x, weight = drawn(classes, ROWS, COLUMNS, classes)
    y = (torch.as_tensor(x) @ weight.T).argmax(1)
    y[:15] = (y[:15] + 1) % classes
    scores, w = torch.as_tensor(x).double() @ weight.double().T, weight.double()
    gaps = (scores.gather(1, y[:, None]) - scores) / torch.linalg.vector_norm(
        w[y][:, None] - w[None], DUAL[norm], dim=2
    ).clamp(min=1e-30)
    gaps[torch.arange(ROWS), y] = torch.inf
    settings = {"kind": kind, "bounds": (-100.0, 100.0)}
    rows = x.reshape(-1, 1, 4, 5) if kind == "image" else x
    subject = subject_of(Linear(weight), rows, y.numpy(), input=settings, threat={"evasion": {"norm": [norm]}})
    return subject, gaps.amin(1).numpy()


@pytest.mark.parametrize("kind", ["image", "tabular"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_linear_models_are_certified_exactly_as_far_as_they_stand(classes: int, norm: Norm, kind: str) -> None:
    subject, far = linear(classes, norm, kind)
    middle = np.sort(far[far > 0])[60:62]
    eps = float(middle.mean())  # between two rows
    found = measure(NAME, subject, threat=ball_threat(norm, "gradients", eps))
    sure = np.abs(far - eps) > 1e-4 * eps
    assert np.array_equal(found.outcomes["correct"], (far > 0).astype(np.int8))
    assert np.array_equal((found.outcomes["certified"] == 1)[sure], (far > eps)[sure])
    assert found.estimates[0].bound == "lower" and found.estimates[0].value == (found.outcomes["certified"] == 1).mean()
    assert [note.code for note in found.assumptions][:1] == ["certify.by_exact"]
    assert [note.code for note in found.untested] == ["certify.other_norms"]  # no row is left open


def test_the_nearest_other_decision_of_a_linear_model_is_a_formula() -> None:
    for norm in ("linf", "l2", "l1"):
        subject, far = linear(3, norm)
        net, x = subject.model.live, torch.as_tensor(subject.data.test[0])
        y = torch.as_tensor(subject.data.test[1])
        graph = read(net, x[:3])
        assert np.allclose(minimal_distance(graph, x, y, norm).numpy(), np.maximum(far, 0), rtol=1e-9)
        eps = float(far[20])
        region = Region.of(flat_ball(x[20:21], eps, norm), torch.float32)
        rows, _, pairs = functions(graph, y[20:21])
        assert abs(float(exact_margins(graph, region, pairs, rows).min())) < 1e-4


def test_without_a_budget_every_right_row_is_certified_and_no_other() -> None:
    subject, far = linear(3, "linf")
    found = measure(NAME, subject, threat=ball_threat("linf", "gradients", 0.0))
    assert np.array_equal(found.outcomes["certified"] == 1, far > 0)
    assert np.isnan(found.outcomes["margin"][far < 0]).all() and (found.outcomes["margin"][far > 0] > 0).all()


class Net(nn.Module):
    """A small network with what is wanted at its end."""

    def __init__(self, end: str, outputs: int = 3) -> None:
        super().__init__()
        generator = np.random.default_rng(0)
        self.end = end
        self.first, self.last = nn.utils.skip_init(nn.Linear, 8, 16), nn.utils.skip_init(nn.Linear, 16, outputs)
        for layer in (self.first, self.last):
            layer.weight.data = torch.as_tensor(generator.normal(size=layer.weight.shape)).float() / 3
            layer.bias.data = torch.as_tensor(generator.normal(size=layer.bias.shape)).float() / 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, outputs)."""
        scores = self.last(self.first(x).relu())
        if self.end in ("softmax", "log_softmax"):
            return getattr(torch, self.end)(scores, 1)
        return scores.sigmoid() if self.end == "sigmoid" else scores


def net_subject(end: str, output: str, outputs: int = 3, **more: Any) -> Any:
    net = Net(end, outputs)
    x = np.random.default_rng(1).normal(size=(120, 8)).astype(np.float32)
    scores = Net("", outputs)(torch.as_tensor(x))
    y = scores.argmax(1) if outputs > 1 else (scores[:, 0] > 0).long()
    more = {"input": {"kind": "tabular", "bounds": (-100.0, 100.0)}, **more}
    return subject_of(net, x, y.numpy(), output=output, **more)


@pytest.mark.parametrize("end", ["softmax", "log_softmax"])
def test_a_softmax_at_the_end_changes_no_certificate(end: str) -> None:
    threat = ball_threat("linf", "gradients", 0.03)
    plain = measure(NAME, net_subject("", "logits"), threat=threat)
    ended = measure(NAME, net_subject(end, "probabilities" if end == "softmax" else "logits"), threat=threat)
    assert 0 < (plain.outcomes["certified"] == 1).sum() < 120
    close = np.abs(plain.outcomes["margin"]) < 1e-4
    assert np.array_equal(plain.outcomes["certified"][~close], ended.outcomes["certified"][~close])


def test_a_single_score_decides_by_its_sign_and_a_single_probability_by_one_half() -> None:
    threat = ball_threat("linf", "gradients", 0.05)
    logit = measure(NAME, net_subject("", "logits", 1), threat=threat)
    share = measure(NAME, net_subject("sigmoid", "probabilities", 1), threat=threat)
    assert 0 < (logit.outcomes["certified"] == 1).sum() < 120
    assert np.array_equal(logit.outcomes["certified"], share.outcomes["certified"])
    wrong = registry()[NAME].refuse(open_subject(net_subject("sigmoid", "logits", 1), device="cpu"))
    assert wrong is not None and wrong.code == "certify.unsupported"


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_attacks_break_no_certified_row(norm: Norm) -> None:
    threat = ball_threat(norm, "gradients", {"linf": 0.08, "l2": 0.2, "l1": 0.4}[norm])
    subject = net_subject("", "logits", threat={"evasion": {"norm": [norm]}})
    proof = measure(NAME, subject, threat=threat, steps=20)
    attack = measure(f"evasion/{norm}", subject, threat=threat)
    assert 0 < (proof.outcomes["certified"] == 1).sum() < 120
    assert not ((proof.outcomes["certified"] == 1) & (attack.outcomes["broken"] == 1)).any()


def test_trees_are_certified_too() -> None:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.tree import DecisionTreeClassifier

    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 4))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    for model, code in (
        (DecisionTreeClassifier(max_depth=4, random_state=0), "certify.by_exact"),
        (GradientBoostingClassifier(n_estimators=10, max_depth=2, random_state=0), "certify.by_search"),
    ):
        subject = subject_of(model.fit(x, y), x, y, output="probabilities", input={"kind": "tabular"})
        proof = measure(NAME, subject, threat=ball_threat("linf", "scores", 0.1))
        attack = measure("evasion/linf", subject, threat=ball_threat("linf", "scores", 0.1))
        certified, broken = proof.outcomes["certified"] == 1, attack.outcomes["broken"] == 1
        assert 0 < certified.sum() < 200 and not (certified & broken).any()
        assert proof.assumptions[0].code == code


def test_what_cannot_be_read_is_refused_with_its_reason() -> None:
    check = registry()[NAME]
    x, weight = drawn(0, 40, 4, 2)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    callable_ = open_subject(subject_of(lambda rows: np.asarray(rows) @ weight.numpy().T, x, y), device="cpu")
    refused = check.refuse(callable_)
    assert refused is not None and refused.code == "certify.no_network"
    gelu = open_subject(subject_of(nn.Sequential(Linear(weight), nn.GELU()), x, y), device="cpu")
    refused = check.refuse(gelu)
    assert refused is not None and refused.values == {"what": "gelu.default × 1"}


class Counting(nn.Module):
    """Answers otherwise from the second export on: what is exported is not what answers."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = 1.0
        self.register_buffer("weight", torch.eye(4)[:2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 2) logits."""
        return self.sign * nn.functional.linear(x, self.get_buffer("weight"))


def test_a_model_that_answers_otherwise_than_its_graph_is_an_error() -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    opened = open_subject(subject_of(Counting(), x, x[:, :2].argmax(1)), device="cpu")
    assert registry()[NAME].refuse(opened) is None
    opened.network.sign = 1.01  # type: ignore[union-attr,assignment]
    with pytest.raises(ModelError, match="otherwise"):
        measure_opened(NAME, opened, ball_threat("linf", "gradients", 0.1))


def test_controls_tell_the_truth() -> None:
    check = registry()[NAME]
    for kind in ("image", "tabular"):
        subject, _ = linear(2, "linf", kind)
        opened = open_subject(
            subject.model_copy(
                update={"threat": type(subject.threat).model_validate({"evasion": {"norm": ["linf", "l2", "l1"]}})}
            ),
            device="cpu",
        )
        found = run_controls(check, opened, Forgetful())
        assert len(found) == 5 and all(control.holds for control in found), found


def pictures(channels_last: bool) -> np.ndarray[Any, Any]:
    shape = (40, 8, 8, 1) if channels_last else (40, 1, 8, 8)
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def certified_share(path: Any, x: Any, y: Any) -> float:
    """The share of rows of a file's model that is certified at a small eps; every row but one is decided correctly."""
    y = np.array(y)
    y[0] = (y[0] + 1) % 3  # there are at least two labels, one of them wrong
    values = {"name": "file", "task": "classification", "model": {"path": str(path)}, "data": {"test": (x, y)}}
    subject = Subject.model_validate({**values, "input": {"kind": "image", "bounds": (0.0, 1.0)}})
    opened = open_subject(subject, device="cpu")
    assert registry()[NAME].refuse(opened) is None
    found = measure_opened(NAME, opened, ball_threat("linf", "gradients", 0.002))
    assert found.estimates[1].value == 1 - 1 / len(y)
    return found.estimates[0].value or 0.0


class Branching(nn.Module):
    """Decides by a sum which of two answers to give."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 3)."""
        scores: torch.Tensor = self.body(x)
        return scores.flip(1) if bool(x.mean() > 0) else scores


@pytest.mark.parametrize("write", [torch.jit.script, lambda net: torch.jit.trace(net, torch.zeros(2, 1, 8, 8))])
def test_torchscript_programs_are_read(write: Any, tmp_path: Any) -> None:
    x = pictures(False)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript itself is
        first = (nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        net = nn.Sequential(*first, nn.Flatten(), nn.Linear(64, 3)).eval()
        write(net).save(str(tmp_path / "m.pt"))
    assert certified_share(tmp_path / "m.pt", x, net(torch.from_numpy(x)).argmax(1).numpy()) > 0.5


def test_a_torchscript_program_that_branches_is_refused(tmp_path: Any) -> None:
    x = pictures(False)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Branching().eval()).save(str(tmp_path / "m.pt"))
    values = {"name": "file", "task": "classification", "model": {"path": str(tmp_path / "m.pt")}}
    values |= {"data": {"test": (x, np.arange(40) % 3)}, "input": {"kind": "image", "bounds": (0.0, 1.0)}}
    refused = registry()[NAME].refuse(open_subject(Subject.model_validate(values), device="cpu"))
    assert refused is not None and refused.code == "certify.unsupported"


def test_keras_models_are_read(tmp_path: Any) -> None:
    if find_spec("keras") is None:  # importorskip would import it, on whatever backend
        pytest.skip("Keras is not installed")
    from veriward.adapters.keras import keras_on_torch

    keras, x = keras_on_torch(), pictures(True)
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras hands its weights to numpy in the way of old
        model.save(tmp_path / "m.keras")
    assert certified_share(tmp_path / "m.keras", x, model(x).detach().cpu().numpy().argmax(1)) > 0.5


def test_onnx_models_are_read(tmp_path: Any) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    from veriward.adapters.onnx_graph.graph import read_graph
    from veriward.adapters.onnx_graph.module import read_module

    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "g", "h"], ["y"], transB=1),
    ]
    drawn_ = {
        "w": generator.normal(size=(4, 1, 3, 3)),
        "m": generator.normal(size=4),
        "g": generator.normal(size=(3, 64)),
    }
    fixed = {"b": np.zeros(4), "s": np.ones(4), "v": 2 * np.ones(4), "h": np.zeros(3)}
    constants = {name: value.astype(np.float32) for name, value in {**drawn_, **fixed}.items()}
    given = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]),
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    read_, x = read_graph(model, "m.onnx"), pictures(False)
    scores = read_module(read_, read_.inputs[0], "y")(torch.from_numpy(x))
    assert certified_share(tmp_path / "m.onnx", x, scores.argmax(1).numpy()) > 0.5
