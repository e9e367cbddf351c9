"""Linear models: the least margin inside a ball is a formula, and so is the distance to the nearest other decision."""

import torch
from torch import Tensor

from veriward.checks.certify.graph import Graph
from veriward.checks.certify.ibp import responses
from veriward.checks.certify.region import Region
from veriward.core.ball import Norm

DUAL: dict[Norm, float] = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}


def is_linear(graph: Graph) -> bool:
    """Whether the scores are an affine function of the row; then the bounds of CROWN are exact but for rounding."""
    return graph.linear[-1]


def minimal_distance(graph: Graph, x: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """Return how far each row is from another decision, (n,), without regard to bounds; 0 where it is wrong already.

    The margin over the dual norm of the weights' difference, least over the other classes. Raises ValueError for networks.
    """
    if not is_linear(graph):
        raise ValueError("minimal_distance: want a linear model")
    scores = graph.values(x)
    outputs = scores.shape[1]
    weight = responses(graph, len(graph.ops) - 1, torch.arange(outputs, device=x.device))
    margins = scores.gather(1, y[:, None]) - scores
    steep = torch.linalg.vector_norm(weight[y][:, None] - weight[None], DUAL[norm], dim=2)
    far = torch.where(steep > 0, margins / steep.clamp(min=1e-300), torch.inf * margins.sign())
    far[torch.arange(len(y)), y] = torch.inf
    return far.amin(1).clamp(min=0)


def exact_margins(graph: Graph, region: Region, functions: Tensor, rows: Tensor) -> Tensor:
    """Return the exact least values of functions of the scores (pairs, outputs) over the rows' regions, (pairs,)."""
    weight = responses(graph, len(graph.ops) - 1, torch.arange(functions.shape[1], device=functions.device))
    offset = graph.values(torch.zeros_like(region.clean[:1]))[0]
    return functions @ offset + region[rows].minimum((functions @ weight).view(-1, *region.clean.shape[1:]))
