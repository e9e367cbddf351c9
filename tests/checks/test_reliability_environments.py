"""The same model elsewhere: what rounds away is found, what does not run is told, the caller's model stays as it was."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from veriward.adapters.elsewhere import ask, places
from veriward.adapters.opened import open_subject
from veriward.checks.registry import registry
from veriward.checks.reliability.environments import compare
from veriward.core.errors import ModelError
from veriward.core.estimate import Estimate
from veriward.core.evidence import Evidence
from veriward.core.subject import Subject
from veriward.run.assess import assess
from veriward.run.control import run_controls
from veriward.run.job import Forgetful

from .measure import Linear, drawn, measure, subject_of

NAME = "reliability/environments"


def value(found: Evidence, metric: str, environment: str) -> Estimate:
    (one,) = (e for e in found.estimates if e.metric == metric and e.at["environment"] == environment)
    return one


def test_answers_are_compared_row_by_row() -> None:
    here = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    there = np.array([[0.8, 0.2], [0.6, 0.4], [np.nan, np.nan]])
    found = compare(here, there, numbers=False)
    assert found["same"].tolist() == [1, 0, 0]
    assert found["difference"] == pytest.approx(0.2)
    numbers = compare(np.array([[100.0], [100.0]]), np.array([[100.9], [101.1]]), numbers=True)
    assert numbers["same"].tolist() == [1, 0]
    assert compare(here, np.full((3, 2), np.nan), numbers=False)["difference"] == 0.0


def test_a_module_in_other_formats_and_batches() -> None:
    x, weight = drawn(0, 300, 6, 3)
    model = Linear(weight).train()
    before = copy.deepcopy(model.state_dict())
    found = measure(NAME, subject_of(model, x, (torch.as_tensor(x) @ weight.T).argmax(1).numpy()))
    names = {e.at["environment"] for e in found.estimates}
    assert {"float64", "bfloat16", "float16", "two_threads", "one_row_at_a_time", "reversed_rows"} <= names
    assert (value(found, "agreement", "float64").value or 0) > 0.99
    assert 0 < (value(found, "largest_score_difference", "bfloat16").value or 0) < 0.2
    assert value(found, "largest_score_difference", "reversed_rows").value == 0.0
    assert value(found, "agreement", "one_row_at_a_time").n == 200
    assert model.training
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in model.state_dict().items())


class Picky(nn.Module):
    """Runs in float32 alone; overflows to infinity in float16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float64:
            raise RuntimeError("no float64 here")
        return self.layer(x * 1e5)


def test_what_does_not_run_elsewhere_is_named_and_what_overflows_disagrees() -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    found = measure(NAME, subject_of(Picky(), x, np.arange(200) % 2))
    (refused,) = (n for n in found.untested if n.code == "reliability.environments_refused")
    assert refused.values["environments"] == ["float64"]
    assert (value(found, "agreement", "float16").value or 0) < 0.9


def test_rows_that_lean_on_their_batch_are_found() -> None:
    def by_company(rows: Any) -> np.ndarray:
        return np.eye(2)[(rows[:, 0] > rows[:, 0].mean()).astype(int)]

    x = np.stack([np.linspace(-1, 1, 200), np.zeros(200)], axis=1)
    found = measure(
        NAME, subject_of(by_company, x, np.arange(200) % 2, output="probabilities", input={"kind": "tabular"})
    )
    assert (value(found, "agreement", "small_batches").value or 1) < 0.6
    assert value(found, "agreement", "reversed_rows").value == 1.0


def test_thresholds_between_two_float32_numbers_are_found() -> None:
    cut = 1 + 2.0**-30
    x = np.stack([np.where(np.arange(200) % 2, 1 + 2.0**-29, 1.0), np.zeros(200)], axis=1)
    model = lambda rows: np.eye(2)[(rows[:, 0] > cut).astype(int)]  # noqa: E731
    found = measure(NAME, subject_of(model, x, np.arange(200) % 2, output="probabilities", input={"kind": "tabular"}))
    assert value(found, "agreement", "float32_inputs").value == 0.5
    assert value(found, "agreement", "small_batches").value == 1.0


def test_labels_alone_show_no_score() -> None:
    x, weight = drawn(0, 100, 4, 3)
    subject = subject_of(Linear(weight), x, np.arange(100) % 3)
    closed = subject.model_copy(update={"model": subject.model.model_copy(update={"access": "labels"})})
    assert {e.metric for e in measure(NAME, closed).estimates} == {"agreement"}


def test_threads_are_put_back_and_what_is_asked_is_counted() -> None:
    x, weight = drawn(0, 100, 4, 3)
    opened = open_subject(subject_of(Linear(weight), x, np.arange(100) % 3), device="cpu")
    before = torch.get_num_threads()
    opened.model.counter.take()
    plain = ask(opened.model, torch.as_tensor(x))
    threaded = ask(opened.model, torch.as_tensor(x), "two_threads")
    assert torch.allclose(plain, threaded)
    assert torch.get_num_threads() == before
    assert opened.model.counter.take().queries == 200
    assert "cuda" in places(opened.model) or not torch.cuda.is_available()


def test_a_twin_that_cannot_be_made_is_a_model_error() -> None:
    class Once(Linear):
        copies = 0

        def __deepcopy__(self, memo: Any) -> "Once":
            Once.copies += 1
            if Once.copies > 1:
                raise RuntimeError("one copy only")
            return self

    x, weight = drawn(0, 80, 4, 3)
    opened = open_subject(subject_of(Once(weight), x, np.arange(80) % 3), device="cpu")
    with pytest.raises(ModelError, match="cannot be made"):
        ask(opened.model, torch.as_tensor(x), "bfloat16")


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("form", ["module", "callable", "picture"])
@pytest.mark.parametrize("name", [n for n in registry() if n.startswith("reliability/")])
def test_controls_hold_for_every_kind_of_subject(name: str, task: str, form: str) -> None:
    x, weight = drawn(0, 90, 4, 1 if task == "regression" else 2)
    x = x.reshape(90, 1, 2, 2) if form == "picture" else x
    net = Linear(weight)
    model: Any = net
    if form != "module":
        model = lambda rows: net(torch.as_tensor(np.asarray(rows)).float()).detach().numpy()  # noqa: E731
    y = np.arange(90.0) if task == "regression" else np.arange(90) % 2
    values = {"live": model, "output": "value" if task == "regression" else "logits"}
    subject = Subject.model_validate(
        {
            "task": task,
            "model": values,
            "data": {"test": (x, y)},
            "input": {"bounds": (-100.0, 100.0), "kind": "image" if form == "picture" else "tabular"},
        }
    )
    opened = open_subject(subject, device="cpu")
    results = run_controls(registry()[name], opened, Forgetful())
    assert len(results) == 2
    assert all(result.holds for result in results), results


def test_onnxruntime_answers_beside_our_reading_of_the_graph(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    x, weight = drawn(1, 200, 5, 3)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 5])],
        [helper.make_tensor_value_info("p", kind, ["n", 3])],
        [onnx.numpy_helper.from_array(weight.T.contiguous().numpy(), "w")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(path))
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    subject = Subject.model_validate({"model": str(path), "data": {"test": (x, y)}, "input": {"kind": "tabular"}})
    found = measure(NAME, subject)
    assert value(found, "agreement", "onnxruntime").value == 1.0
    assert (value(found, "largest_score_difference", "onnxruntime").value or 0) < 1e-5


def test_a_finished_run_answers_from_the_dossier(tmp_path: Path) -> None:
    x, weight = drawn(0, 150, 5, 3)
    subject = subject_of(
        Linear(weight), x, (torch.as_tensor(x) @ weight.T).argmax(1).numpy(), input={"kind": "tabular"}
    )
    path = tmp_path / "a.ward"
    first = assess(subject, checks=["reliability/*"], out=path, budget="quick")
    rows = path.stat().st_size
    again = assess(subject, checks=["reliability/*"], out=path, budget="quick")
    assert path.stat().st_size == rows
    for finding in first:
        assert finding.error is None
        assert again[finding.id].estimates == finding.estimates
