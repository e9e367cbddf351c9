"""PGD and Auto-PGD as foolbox and ART have them, in an interpreter of their own: no line of this file imports veriward.

    $FOOLBOX_ART benchmarks/evasion_peers.py JOB.json OUT.json

JOB.json is that of benchmarks/evasion_peer.py. foolbox: 100 steps from 4 random starts on cross-entropy, its one loss for
L-infinity; ART: Auto-PGD, 100 steps on cross-entropy and then on DLR. L-infinity alone.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

STEPS, STARTS = 100, 4
Attack = Callable[[Any, Tensor, Tensor, float], Tensor]


def by_foolbox(model: Any, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return foolbox's candidates; a row that fell at an earlier start keeps that one."""
    import foolbox

    wrapped = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfProjectedGradientDescentAttack(steps=STEPS, rel_stepsize=2.5 / STEPS)
    return attack.repeat(STARTS)(wrapped, x, y, epsilons=eps)[1]


def by_art(model: Any, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return ART's candidates of Auto-PGD, first on cross-entropy and then, where that failed, on DLR."""
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    found = x.clone()
    for kind in ("cross_entropy", "difference_logits_ratio"):
        left = (model(found).argmax(1) == y).nonzero().squeeze(1)
        shape, loss = tuple(x.shape[1:]), torch.nn.CrossEntropyLoss()
        wrapped = PyTorchClassifier(model, loss, shape, 10, clip_values=(0.0, 1.0), device_type="cpu")
        settings = {"eps": eps, "eps_step": 2 * eps, "max_iter": STEPS, "nb_random_init": 1, "batch_size": 128}
        attack = AutoProjectedGradientDescent(wrapped, loss_type=kind, verbose=False, **settings)
        if len(left):
            found[left] = torch.from_numpy(attack.generate(x[left].numpy(), y[left].numpy()))
    return found


ATTACKS: dict[str, Attack] = {"foolbox": by_foolbox, "art": by_art}


def measured(task: dict[str, Any], name: str) -> dict[str, Any]:
    """Attack the rows of one model; wrong rows count as broken, rows outside the ball as robust."""
    model, data, eps = torch.jit.load(task["file"]).eval(), np.load(task["rows"]), task["eps"]
    x, y = torch.as_tensor(data["x"]), torch.as_tensor(data["y"]).long()
    with torch.no_grad():
        robust = model(x).argmax(1) == y
    begun, left = time.process_time(), robust.nonzero().squeeze(1)
    torch.manual_seed(0)
    np.random.seed(0)
    moved = ATTACKS[name](model, x[left], y[left], eps).detach()
    spent = time.process_time() - begun
    inside = (moved - x[left]).flatten(1).abs().amax(1) <= eps * (1 + 1e-5)
    with torch.no_grad():
        robust[left] = (model(moved).argmax(1) == y[left]) | ~inside
    return {"name": task["name"], "peer": name, "eps": eps, "robust": robust.int().tolist(), "cpu_seconds": spent}


def main(job: str, out: str) -> None:
    """Run every model of a job; a peer that is not there is named."""
    todo = json.loads(Path(job).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for name in ATTACKS:
        try:
            __import__(name)
        except ImportError as error:
            found.append({"peer": name, "missing": str(error)})
            continue
        found += [measured(task, name) for task in todo["models"]]
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
