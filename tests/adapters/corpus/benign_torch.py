"""Honest files of torch: what torch.save, torch.export and their like write on an ordinary day."""

import argparse
import datetime
import io
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .artefact import Artefact

Value = Callable[[], Any]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator())


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def views() -> dict[str, torch.Tensor]:
    whole = torch.arange(24.0)
    return {"whole": whole, "half": whole[12:], "square": whole[:16].view(4, 4).t(), "step": whole[::3]}


def trained(kind: type[torch.optim.Optimizer], **settings: float) -> dict[str, Any]:
    model = mlp()
    optimiser = kind(model.parameters(), **settings)
    model(drawn(6, 4)).sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2)
    return {
        "epoch": 3,
        "loss": 0.25,
        "model": model.state_dict(),
        "optimizer": optimiser.state_dict(),
        "scheduler": schedule.state_dict(),
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000},
        "rng": torch.random.get_rng_state(),
    }


def averaged() -> dict[str, Any]:
    model = mlp()
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    return {"ema": average.state_dict(), "decay": 0.999}


def lightning() -> dict[str, Any]:
    return {
        "epoch": 4,
        "global_step": 1000,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict((f"model.{name}", value) for name, value in mlp().state_dict().items()),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5, "completed": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.5), "best_k": {}}},
        "optimizer_states": [trained(torch.optim.Adam)["optimizer"]],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 1e-3, "layers": [4, 8, 3], "dropout": None, "tags": ("a", "b")},
    }


def config() -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "hidden_size": 768,
        "hidden_dropout_prob": 0.1,
        "id2label": {0: "no", 1: "yes"},
        "torch_dtype": "float32",
        "use_cache": True,
        "bos_token_id": None,
    }


def parameters() -> dict[str, Any]:
    return {"frozen": nn.Parameter(drawn(3), requires_grad=False), "free": nn.Parameter(drawn(2, 2))}


def containers() -> dict[str, Any]:
    return {
        "default": defaultdict(list, a=[1]),
        "counter": Counter("abca"),
        "set": {1, 2},
        "frozen": frozenset({"a"}),
        "queue": deque([1, 2], maxlen=5),
        "range": range(5),
        "complex": 1 + 2j,
        "nested": OrderedDict(a=OrderedDict(b=OrderedDict(c=(1, [2.0, {"d": b"e"}])))),
    }


def quantised() -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"w": torch.quantize_per_tensor(drawn(4, 4), 0.1, 0, torch.qint8)}


def with_numpy() -> dict[str, Any]:
    return {"mean": np.arange(3.0), "best": np.float64(0.5), "steps": np.int64(7), "weights": drawn(3)}


STATES: dict[str, Value] = {
    "mlp": lambda: mlp().state_dict(),
    "cnn": lambda: Net().state_dict(),
    "transformer": lambda: nn.TransformerEncoderLayer(8, 2, 16).state_dict(),
    "recurrent": lambda: nn.LSTM(4, 8, 2).state_dict(),
    "half": lambda: mlp().half().state_dict(),
    "bfloat16": lambda: mlp().bfloat16().state_dict(),
    "double": lambda: mlp().double().state_dict(),
    "views": views,
    "parameters": parameters,
    "parameter dict": lambda: nn.ParameterDict({"a": drawn(3), "b": drawn(2)}).state_dict(),
    "adam": lambda: trained(torch.optim.Adam),
    "momentum": lambda: trained(torch.optim.SGD, lr=0.1, momentum=0.9),
    "average": averaged,
    "lightning": lightning,
    "containers": containers,
    "numpy": with_numpy,
    "config": config,
    "list of tensors": lambda: [drawn(2), drawn(3)],
    "one tensor": lambda: drawn(3, 3),
    "empty tensor": lambda: torch.empty(0, 3),
    "scalar": lambda: torch.tensor(3),
    "device and sizes": lambda: {"device": torch.device("cpu"), "size": torch.Size([1, 2]), "dtype": torch.float32},
    **{
        str(dtype).removeprefix("torch."): (lambda dtype=dtype: {"w": torch.ones(5, dtype=dtype)})
        for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64)
    },
    "float8": lambda: {"w": torch.ones(4).to(torch.float8_e4m3fn)},
    "date": lambda: {"when": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "took": datetime.timedelta(hours=1)},
}

# Harmless, but with classes that nobody can vouch for from outside: never dangerous, clean or not.
OBJECTS: dict[str, Value] = {
    "whole module": mlp,
    "sparse": lambda: {"w": torch.eye(3).to_sparse()},
    "quantised": quantised,
    "namespace": lambda: {"args": argparse.Namespace(lr=0.1, layers=3), "model": mlp().state_dict()},
    "path": lambda: {"from": __import__("pathlib").PurePosixPath("a/b"), "model": drawn(2)},
    "generator state": lambda: {"rng": np.random.RandomState(0).get_state(), "w": drawn(2)},
}


def saved(value: object, modern: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=modern)
    return buffer.getvalue()


def exported(model: nn.Module, *shape: int) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model.eval(), (drawn(*shape),)), buffer)
    return buffer.getvalue()


def scripted(model: nn.Module) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(model.eval()), buffer)
    return buffer.getvalue()


def _saved(name: str, value: Value, modern: bool, clean: bool) -> Artefact:
    kind = "checkpoint" if modern else "old checkpoint"
    return Artefact(f"{kind} {name}", "torch", lambda _: saved(value(), modern), ending=".pt", clean=clean)


BENIGN_TORCH: tuple[Artefact, ...] = (
    *(_saved(name, value, True, True) for name, value in STATES.items()),
    *(_saved(name, STATES[name], False, True) for name in ("mlp", "cnn", "half", "views", "adam", "lightning", "bool")),
    *(_saved(name, value, True, False) for name, value in OBJECTS.items()),
    Artefact("program mlp", "export", lambda _: exported(mlp(), 5, 4), ending=".pt2", clean=True),
    Artefact("program cnn", "export", lambda _: exported(Net(), 2, 3, 8, 8), ending=".pt2", clean=True),
    Artefact("torchscript mlp", "torchscript", lambda _: scripted(mlp()), ending=".pt", clean=True),
    Artefact("torchscript cnn", "torchscript", lambda _: scripted(Net()), ending=".pt", clean=True),
)
