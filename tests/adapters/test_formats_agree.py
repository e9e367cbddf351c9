"""One network in four formats: the same scores, the same gradients and the same verdict."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import veriward as vw
from veriward.adapters.load import load_backend
from veriward.adapters.loading import Loading
from veriward.adapters.modules import ModuleBackend
from veriward.examples import digits

pytestmark = pytest.mark.slow
if find_spec("keras") is None or find_spec("onnxruntime") is None:
    pytest.skip("Keras or onnxruntime is not installed", allow_module_level=True)


def trained(x: Any, y: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimiser.step()
    return net.eval()


def write_export(net: nn.Module, path: Path) -> None:
    rows = torch.export.Dim("rows", min=1)
    torch.export.save(torch.export.export(net, (torch.zeros(8, 1, 8, 8),), dynamic_shapes=({0: rows},)), path)


def write_script(net: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(net), path)


def write_keras(net: nn.Module, path: Path) -> None:
    from veriward.adapters.keras import keras_on_torch

    keras = keras_on_torch()
    twin = keras.Sequential(
        [keras.Input((1, 8, 8)), keras.layers.Flatten(), keras.layers.Dense(32, "relu"), keras.layers.Dense(10)]
    )
    for i, values in enumerate(net.state_dict().values()):
        twin.weights[i].assign(values.numpy().T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin.save(path)


def write_onnx(net: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            net, (torch.zeros(2, 1, 8, 8),), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "rows"}}
        )


WRITERS = {"model.pt2": write_export, "model.pt": write_script, "model.keras": write_keras, "model.onnx": write_onnx}


@pytest.fixture(scope="module")
def splits() -> Any:
    return digits.load()


@pytest.fixture(scope="module")
def folder(splits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, net = tmp_path_factory.mktemp("digits"), trained(*splits["train"])
    for name, write in WRITERS.items():
        write(net, folder / name)
    return folder


def subject(folder: Path, name: str, splits: Any) -> vw.Subject:
    (x, y), (seen, known) = splits["test"], splits["train"]
    return vw.Subject(
        name=name,
        model=str(folder / name),
        data={"train": (seen[:300], known[:300]), "test": (x[:300], y[:300])},
        input={"kind": "image", "bounds": (0, 1)},
        threat={"evasion": {"eps": 0.06}},
    )


def opened(folder: Path, name: str, splits: Any) -> ModuleBackend:
    backend = load_backend(subject(folder, name, splits), Loading(device="cpu"))
    assert isinstance(backend, ModuleBackend)
    return backend


def gradient(backend: ModuleBackend, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(backend.forward(x).logsumexp(1).sum(), x)
    return found


def test_scores_and_gradients_agree(folder: Path, splits: Any) -> None:
    x = torch.from_numpy(splits["test"][0])
    first, *others = (opened(folder, name, splits) for name in WRITERS)
    assert (first.raw(x).argmax(1).numpy() == splits["test"][1]).mean() > 0.9
    for other in others:
        assert (first.raw(x) - other.raw(x)).abs().max() <= 1e-5
        wanted = gradient(first, x)
        assert (wanted - gradient(other, x)).abs().max() <= 1e-5 * wanted.abs().max()


def test_verdicts_agree(folder: Path, splits: Any, tmp_path: Path) -> None:
    found = []
    for name in WRITERS:
        out = tmp_path / f"{name}.ward"
        with vw.assess(subject(folder, name, splits), out=out, budget="quick", seed=0) as dossier:
            found.append({finding.id: finding for finding in dossier})
    assert {"artefact/scan", "evasion/linf", "leakage/loss", "reliability/accuracy"} <= set(found[0])
    for other in found[1:]:
        assert {name: f.verdict for name, f in other.items()} == {name: f.verdict for name, f in found[0].items()}
    attacked = [findings["evasion/linf"] for findings in found]
    accuracies = [finding.estimate("robust_accuracy").value for finding in attacked]
    assert 0.05 < accuracies[0] < 0.95
    assert max(accuracies) - min(accuracies) <= 0.01
    for other in attacked[1:]:
        assert np.mean(attacked[0].outcomes["broken"] != other.outcomes["broken"]) <= 0.01
