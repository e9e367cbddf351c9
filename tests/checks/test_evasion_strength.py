"""What a weak search would miss, and what must raise an alarm. The exact answers come from outside the engine."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import veriward
from veriward.core.finding import Finding

ROWS = 300


def assess(tmp_path: Any, model: Any, x: Any, y: Any, **subject: Any) -> Finding:
    tmp_path.mkdir(exist_ok=True)
    described = veriward.Subject(model=model, data={"test": (x, y), "train": (x, y)}, **subject)
    with veriward.assess(described, checks=["evasion/linf"], out=tmp_path / "x.ward") as dossier:
        finding = dossier["evasion/linf"]
        assert finding.error is None, finding.error
        return finding


def codes(finding: Any) -> set[str]:
    return {alarm.code for alarm in finding.evidence.alarms}


def leaves(tree: Any, columns: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Return (low, high, class) of each leaf: it holds the rows with low < x <= high."""
    found = []

    def walk(node: int, low: np.ndarray, high: np.ndarray) -> None:
        if tree.children_left[node] < 0:
            found.append((low, high, int(tree.value[node].argmax())))
            return
        column, cut = tree.feature[node], tree.threshold[node]
        left, right = high.copy(), low.copy()
        left[column], right[column] = min(high[column], cut), max(low[column], cut)
        walk(tree.children_left[node], low, left)
        walk(tree.children_right[node], right, high)

    walk(0, np.full(columns, -np.inf), np.full(columns, np.inf))
    return found


def test_a_single_tree_against_the_exact_answer(tmp_path: Any) -> None:
    from sklearn.tree import DecisionTreeClassifier

    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 6))
    y = (x[:, 0] + x[:, 1] * x[:, 2] + generator.normal(0, 0.3, ROWS) > 0).astype(int)
    model = DecisionTreeClassifier(random_state=0).fit(x, y)
    eps = 0.2
    finding = assess(tmp_path, model, x, y, input={"bounds": (-9, 9)}, threat={"evasion": {"eps": eps}})
    cells = leaves(model.tree_, 6)
    reachable = np.array(
        [
            any(
                c != label and (np.maximum(low, row - eps) < np.minimum(high, row + eps)).all()
                for low, high, c in cells
            )
            for row, label in zip(x, y, strict=True)
        ]
    )
    broken = finding.outcomes["broken"] == 1
    assert not (broken & ~reachable).any(), "a success outside every leaf of another class"
    assert (reachable & ~broken).sum() <= 0.1 * reachable.sum()


def test_a_tie_counts_as_the_model_decides(tmp_path: Any) -> None:
    def model(x: np.ndarray) -> np.ndarray:
        high = np.asarray(x)[:, :1] > 0.5
        return np.where(high, [[0.5, 0.5]], [[0.1, 0.9]])

    x, y = np.full((40, 2), 0.48), np.ones(40, dtype=int)
    x[0], y[0] = 0.9, 0  # the other class must occur
    finding = assess(tmp_path, model, x, y, input={"bounds": (0, 1)}, threat={"evasion": {"eps": 0.1}})
    assert (finding.outcomes["broken"][1:] == 1).all()


class Crowd(nn.Module):
    """Adds fixed noise by the place in the batch: the same batch gets the same answer, the same row does not."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        return self.inner(x + 0.5 * noise)


def network(columns: int, classes: int = 2) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(columns, 16), nn.ReLU(), nn.Linear(16, classes)).eval()


def test_rows_that_influence_each_other_raise_an_alarm(tmp_path: Any) -> None:
    x = np.random.default_rng(1).normal(size=(ROWS, 5)).astype(np.float32)
    model = network(5)
    y = model(torch.from_numpy(x)).argmax(1).numpy()
    settings = {"input": {"bounds": (-9, 9)}, "threat": {"evasion": {"eps": 0.1}}}
    assert "evasion.random_model" in codes(assess(tmp_path / "a", Crowd(model), x, y, **settings))
    assert not codes(assess(tmp_path / "b", model, x, y, **settings))


def test_gradients_move_whole_numbers(tmp_path: Any) -> None:
    x = np.random.default_rng(2).integers(0, 30, size=(ROWS, 8))
    model = network(8)
    y = model(torch.from_numpy(x).float()).argmax(1).numpy()
    features = {f"x{i}": {"kind": "integer", "change": "2"} for i in range(8)}
    finding = assess(tmp_path, model, x, y, input={"kind": "tabular"}, features=features)
    assert not codes(finding), "the black box must not have to do what gradients can"
    assert (finding.outcomes["broken"] == 1).any()


def test_numbers_never_wrap_around(tmp_path: Any) -> None:
    def model(x: Any) -> np.ndarray:
        low = np.asarray(x, dtype=np.float64)[:, :1] < 100
        return np.where(low, [[0.9, 0.1]], [[0.1, 0.9]])

    import pandas as pd

    x = pd.DataFrame({"a": np.full(40, 250, np.uint8), "b": np.arange(40, dtype=np.uint8)})
    y = np.ones(40, dtype=int)
    x.loc[0, "a"], y[0] = 5, 0
    features = {"a": {"kind": "integer", "range": (0, 300), "change": "8"}}
    subject = veriward.Subject(model=model, data={"test": {"x": x, "y": y}}, features=features)
    with veriward.assess(subject, checks=["evasion/linf"], out=tmp_path / "x.ward", budget="quick") as dossier:
        assert not (dossier["evasion/linf"].outcomes["broken"] == 1).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (64, 1), (3, 4, 9), (1, 1, 32)])
def test_windows_fit_any_picture(tmp_path: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(3).random((80, *shape)).astype(np.float32)
    model = nn.Sequential(nn.Flatten(), network(int(np.prod(shape))))
    y = model(torch.from_numpy(x)).argmax(1).numpy()
    y[:2] = (0, 1)
    finding = assess(tmp_path, model, x, y, input={"kind": "image", "bounds": (0, 1)})
    assert finding.estimate("robust_accuracy").n == 80
