"""opacus on the job of benchmarks/dp_accuracy.py, in an interpreter of its own: no line of this file imports veriward.

    $OPACUS -m benchmarks.dp_accuracy_peer JOB.pt

prints a test accuracy for each of the job's first weights. opacus takes the per-row gradients (hooks), clips them and adds
its noise; the batches are coins at the job's rate.
"""

import sys
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn


def network() -> nn.Module:
    """Return the digits network, as veriward.examples.digits builds it."""
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(128, 100), nn.ReLU(), nn.Linear(100, 10))


def accuracy(job: dict[str, Any], weights: dict[str, torch.Tensor], rows: dict[str, Any]) -> float:
    """Train once and return the test accuracy."""
    net = network()
    net.load_state_dict(weights)
    model = GradSampleModule(net)
    optimiser = DPOptimizer(
        torch.optim.Adam(model.parameters(), job["lr"]),
        noise_multiplier=job["noise_multiplier"],
        max_grad_norm=job["clip"],
        expected_batch_size=int(job["divisor"]),
    )
    x, y = rows["train"]
    for _ in range(job["steps"]):
        drawn = torch.rand(len(x)) < job["rate"]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[drawn]), y[drawn]).backward()
        optimiser.step()
    x, y = rows["test"]
    with torch.no_grad():
        return float((net(x).argmax(1) == y).double().mean())


if __name__ == "__main__":
    torch.set_num_threads(1)
    task = torch.load(sys.argv[1])
    for number, (start, split) in enumerate(zip(task["weights"], task["splits"], strict=True)):
        torch.manual_seed(number)
        print(accuracy(task, start, split), flush=True)
