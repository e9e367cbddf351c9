"""One item of work: a block of rows, and what is proved of them, as plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.model import answer
from veriward.adapters.opened import Opened
from veriward.checks.certify.bounds import METHODS, Spending
from veriward.checks.certify.decide import Effort, decide
from veriward.checks.certify.graph import Graph
from veriward.checks.certify.ibp import interval
from veriward.checks.certify.readable import as_model, forest_of, network_of
from veriward.checks.certify.region import Region
from veriward.checks.certify.trees import certified_ball, other_classes
from veriward.core.ball import Ball
from veriward.core.errors import ModelError
from veriward.core.threat import Threat


@dataclass(frozen=True)
class BoundRows:
    """Bound a block of test rows under one threat."""

    threat: Threat
    spending: Spending

    def __call__(self, opened: Opened, rows: Sequence[int]) -> Mapping[str, Any]:
        """Return per row: correct, certified, turned (int8), the margin that is proved (float32), and what proved it."""
        clean = opened.encoded("test", list(rows))
        y = opened.targets["test"][list(rows)].to(clean.device)
        correct = _labels(opened, clean) == y
        right = correct.nonzero().squeeze(1)
        ball = opened.domain.ball(clean[right], self.threat)
        proved = self._network if opened.network is not None else self._trees
        margin, method, turned = proved(opened, ball, y[right])
        found = {
            "correct": correct.to(torch.int8),
            "certified": torch.zeros_like(correct, dtype=torch.int8),
            "turned": torch.zeros_like(correct, dtype=torch.int8),
            "method": torch.zeros_like(correct, dtype=torch.int8),
            "margin": torch.full((len(y),), torch.nan, device=y.device),
        }
        found["certified"][right], found["turned"][right] = (method > 0).to(torch.int8), turned.to(torch.int8)
        found["method"][right], found["margin"][right] = method, margin.float()
        return {name: values.cpu().numpy() for name, values in found.items()}

    def _network(self, opened: Opened, ball: Ball, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        graph, spending = network_of(opened), self.spending
        region = Region.of(ball, graph.dtype, table=hasattr(opened.domain, "columns"))
        check_reading(graph, opened, region)

        def turned(rows: Tensor, z: Tensor) -> Tensor:
            candidates = ball[rows].project(z.to(ball.clean.dtype))
            return _labels(opened, candidates) != y[rows]

        with torch.no_grad():
            found = decide(graph, region, y, Effort(spending.steps, spending.most, spending.hope), turned)
        return found.margin, found.method, found.turned

    def _trees(self, opened: Opened, ball: Ball, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        view = forest_of(opened)
        assert view is not None
        classes = y.cpu().numpy()
        wanted = other_classes(view.forest, classes)
        proved = torch.as_tensor(certified_ball(view, ball, wanted, y=classes, nodes=self.spending.nodes))
        kind = METHODS.index("exact" if view.forest.trees == 1 else "search")
        method = torch.where(proved, kind, 0).to(torch.int8)
        exact = view.forest.trees == 1 and not getattr(opened.domain, "rules", ())
        turned = ~proved if exact else torch.zeros_like(proved)  # exact: what is not proved falls
        return torch.full((len(y),), np.nan), method, turned


def _labels(opened: Opened, z: Tensor) -> Tensor:
    return torch.as_tensor(opened.model.labels(opened.domain.decode(z))).to(z.device)  # type: ignore[union-attr]


def check_reading(graph: Graph, opened: Opened, region: Region) -> None:
    """Raise ModelError unless the model answers the clean rows as its graph says, within what rounding explains."""
    if not len(region):
        return
    clean = region.clean
    points = Region(clean, clean, clean, torch.zeros_like(clean), "linf", region.cast)
    bounds = interval(graph, points)
    low, high = bounds.low[-1], bounds.high[-1]
    raw = answer(opened.model.backend.raw, as_model(opened, region.clean)).double()
    middle = _ended((low + high) / 2, graph.taken_off)
    allowed = (high - low).amax(1, keepdim=True) + graph.tail * (1 + middle.abs()) + 1e-30
    wrong = ((raw.reshape(middle.shape) - middle).abs() > allowed).any(1)
    if bool(wrong.any()):
        raise ModelError(
            f"model: its exported graph answers {int(wrong.sum())} of {len(wrong)} rows otherwise than the model itself, so "
            "nothing can be proved of it; does it depend on anything but the row?"
        )


def _ended(scores: Tensor, taken_off: str) -> Tensor:
    """Put back what was taken off the end."""
    ends = {"softmax": torch.softmax, "log_softmax": torch.log_softmax}
    if taken_off in ends:
        return ends[taken_off](scores, 1)
    return scores.sigmoid() if taken_off == "sigmoid" else scores
