"""Run one check on one subject, as the run would, without a dossier."""

from typing import Any

import numpy as np
import torch
from torch import nn

from veriward.adapters.opened import Opened, open_subject
from veriward.checks.registry import registry
from veriward.core.evidence import Evidence
from veriward.core.subject import Subject
from veriward.core.threat import Threat
from veriward.run.engine import InProcess
from veriward.run.job import RunJob


def measure(
    name: str,
    subject: Subject,
    *,
    threat: Threat | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> Evidence:
    """Open the subject and run the check at the quick budget."""
    return measure_opened(name, open_subject(subject, device="cpu", batch_size=batch_size), threat, seed, **settings)


def measure_opened(name: str, opened: Opened, threat: Threat | None = None, seed: int = 0, **settings: Any) -> Evidence:
    """Run the check at the quick budget."""
    check = registry()[name]
    chosen = threat or check.threats(opened)[0]
    job = RunJob(opened, name, {**check.settings("quick"), **settings}, "key", seed, InProcess(opened))
    return check.run(opened.subject, chosen, job=job)


class Linear(nn.Module):
    """Scores of a linear model on flattened rows."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.layer.weight.data = weight.clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, classes)."""
        return self.layer(x.flatten(1))


def subject_of(model: Any, x: Any, y: Any, **more: Any) -> Subject:
    """Return a live classifier with test rows."""
    values = {"model": {"live": model, "output": more.pop("output", "logits")}, "task": "classification"}
    data = {"test": (x, y), **more.pop("data", {})}
    return Subject.model_validate({**values, "data": data, "input": {"bounds": (-100.0, 100.0)}, **more})


def drawn(seed: int, rows: int, columns: int, classes: int) -> tuple[np.ndarray, torch.Tensor]:
    """Return normal rows (n, columns) and weights (classes, columns), float32."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, columns)).astype(np.float32)
    return x, torch.as_tensor(generator.normal(size=(classes, columns)).astype(np.float32))
