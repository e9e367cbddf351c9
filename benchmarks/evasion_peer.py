"""AutoAttack as torchattacks has it, in an interpreter of its own: no line of this file imports veriward.

    $TORCHATTACKS benchmarks/evasion_peer.py JOB.json OUT.json

JOB.json: {"models": [{"name", "file", "rows", "eps", "norm"}], "seeds": [0], "steps": [null, 100], "queries": null,
"batch": 540, "threads": 1}. "file" is a model saved by torch.export (.pt2) or by torch.jit, "rows" a .npz with
x (n, c, h, w) in [0, 1] and y (n,). OUT.json: a list of {"name", "eps", "norm", "seed", "steps", "robust": [0 or 1 per
row], "clean": [...], "cpu_seconds"}.

torchattacks runs APGD, APGD-T and FAB for 10 steps unless told otherwise; the paper runs them for 100. `steps` null
leaves what it ships with, a number sets that of its members; so `queries`, of Square.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch


def read_model(path: str) -> Any:
    """Return the model in a file of torch.export (.pt2) or of torch.jit."""
    if path.endswith(".pt2"):
        return torch.export.load(path).module()
    return torch.jit.load(path).eval()


class Wrapped(torch.nn.Module):
    """A model as torchattacks wants it: an exported program refuses the `eval` that it calls."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.asked = [model]  # in a list, so that it is no part of this module
        self.place = torch.nn.Parameter(torch.zeros(1))  # tells the device

    def forward(self, x: Any) -> Any:
        return self.asked[0](x)


def auto_attack(
    model: Any, norm: str, eps: float, classes: int, seed: int, effort: tuple[int | None, int | None]
) -> Any:
    """Return torchattacks' AutoAttack, version standard, on the CPU."""
    import torchattacks

    known = {"linf": "Linf", "l2": "L2"}[norm]
    attack = torchattacks.AutoAttack(Wrapped(model).eval(), known, eps, "standard", classes, seed)
    for member in attack._autoattack.attacks:
        for name, value in zip(("steps", "n_queries"), effort, strict=True):
            if value and hasattr(member, name):
                setattr(member, name, value)
    return attack


def measured(task: dict[str, Any], seed: int, effort: tuple[int | None, int | None], batch: int) -> dict[str, Any]:
    """Attack the rows of one model; wrong rows count as broken."""
    model, data = read_model(task["file"]), np.load(task["rows"])
    x, y = torch.as_tensor(data["x"]), torch.as_tensor(data["y"]).long()
    with torch.no_grad():
        scores = model(x)
    clean = scores.argmax(1) == y
    attack = auto_attack(model, task["norm"], task["eps"], scores.shape[1], seed, effort)
    begun, robust = time.process_time(), clean.clone()
    for part in clean.nonzero().squeeze(1).split(batch):
        moved = attack(x[part], y[part])
        inside = _length(moved - x[part], task["norm"]) <= task["eps"] * (1 + 1e-5)
        with torch.no_grad():
            robust[part] = (model(moved).argmax(1) == y[part]) | ~inside
    spent = time.process_time() - begun
    flags = {"robust": robust.int().tolist(), "clean": clean.int().tolist()}
    return {
        **{k: task[k] for k in ("name", "eps", "norm")},
        "seed": seed,
        "steps": effort[0],
        **flags,
        "cpu_seconds": spent,
    }


def _length(delta: Any, norm: str) -> Any:
    return delta.flatten(1).abs().amax(1) if norm == "linf" else delta.flatten(1).norm(dim=1)


def main(job: str, out: str) -> None:
    """Run every model, seed and number of steps of a job; what is done is written at once."""
    todo = json.loads(Path(job).read_text(encoding="utf-8"))
    torch.set_num_threads(todo.get("threads", 1))
    found = []
    for task in todo["models"]:
        for seed in todo.get("seeds", [0]):
            for steps in todo.get("steps", [None]):
                found.append(measured(task, seed, (steps, todo.get("queries")), todo.get("batch", 540)))
                Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
