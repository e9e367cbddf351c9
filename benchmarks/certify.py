"""Certificates: against an exact program, against attacks that skip nothing, and what they cost on the demo's digits.

1. 200 tiny ReLU networks, for which a mixed integer program gives the exact least margin: interval <= CROWN <= alpha-CROWN
   <= exact <= attack must hold on every one; the mean gaps are told.
2. 10 000 pairs of a random network and a point, three norms, every pair bounded and attacked in float32, also at the very
   budget up to which it is certified: a certified pair that an attack turns is a contradiction, and there must be none.
3. The demo's digits: what is certified, turned and open at several eps, and CPU milliseconds per row.
"""

import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from tests.checks.tiny_nets import attacked, bounds, exact, tiny
from torch import Tensor, nn

from veriward.checks.certify.decide import Effort, decide
from veriward.checks.certify.region import Region
from veriward.checks.certify.trace import read
from veriward.core.ball import Ball, flat_ball
from veriward.examples import digits

TINY, NETS, POINTS = 200, 200, 50
NORMS = ("linf", "l2", "l1")
SLACK = 1e-6
HALVINGS = 6  # towards the largest certified budget


def run() -> dict[str, object]:
    """Measure all three; prints as it goes."""
    torch.set_num_threads(1)
    return {"tiny": _tiny(), "contradictions": _contradictions(), "digits": _digits()}


def _tiny() -> dict[str, Any]:
    gaps, wrong = [], []
    for seed in range(TINY):
        case = tiny(seed, "linf" if seed % 4 else "l1")
        found, truth = bounds(case), exact(case)
        chain = [found["interval"], found["crown"], found["alpha"], truth, attacked(case)]
        wrong += [seed] if any(a > b + SLACK for a, b in pairwise(chain)) else []
        gaps.append([truth - value for value in chain])
    names = ("interval", "crown", "alpha", "exact", "attack")
    means = dict(zip(names, np.mean(gaps, axis=0).round(5).tolist(), strict=True))
    print(f"{TINY} tiny networks: out of order {len(wrong)}; mean distance below the exact margin {means}")
    return {"networks": TINY, "out_of_order": wrong, "mean_gap_to_exact": means}


def _network(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Draw a network: plain, convolutional with pooling, or with large weights that nearly cancel."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if seed % 3 == 0:
            width = int(torch.randint(4, 40, (1,), generator=generator))
            net, shape = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()), (6,)
            net.append(nn.Linear(width, 2 + seed % 4))
        else:
            net, shape = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), (1, 6, 6)
            net.extend([nn.Conv2d(4, 4, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 3)])
    if seed % 3 == 2:
        net[0].weight.data *= 1e4
        net[3].weight.data /= 1e4
    return net.eval().requires_grad_(False), shape


def _contradictions() -> dict[str, Any]:
    pairs = certified = 0
    found: list[tuple[int, int]] = []
    for seed in range(NETS):
        net, shape = _network(seed)
        generator = torch.Generator().manual_seed(1000 + seed)
        x = torch.rand((POINTS, *shape), generator=generator)
        y, norm = net(x).argmax(1), NORMS[seed % 3 if seed % 2 else 0]
        graph = read(net, x[:3])
        eps = 0.3 * torch.rand((POINTS,), generator=generator)
        for turn in range(HALVINGS):  # up where it holds, down where it does not
            ball = _ball(x, eps, norm)
            margin = decide(graph, Region.of(ball, torch.float32), y, Effort(5, 500)).margin
            broken = _broken(net, ball, y)
            both = (margin > 0) & broken
            found += [(seed, int(i)) for i in both.nonzero().flatten()]
            eps = torch.where(margin > 0, eps * (1 + 0.5**turn), eps * (1 - 0.5 ** (turn + 1)))
        pairs, certified = pairs + POINTS, certified + int((margin > 0).sum())
    print(f"{pairs} pairs, {HALVINGS} budgets each: certified at the last {certified}, contradictions {len(found)}")
    return {"pairs": pairs, "budgets": HALVINGS, "certified_at_last": certified, "contradictions": found}


def _ball(x: Tensor, eps: Tensor, norm: str) -> Ball:
    radii = eps.view(-1, *[1] * (x.ndim - 1)).expand_as(x).contiguous()
    return Ball(x, (x - radii).clamp(min=0), (x + radii).clamp(max=1), radii, norm)  # type: ignore[arg-type]


def _broken(net: nn.Module, ball: Ball, y: Tensor, steps: int = 20) -> Tensor:
    """Attack every row from its own place and from another, in float32; nothing is skipped."""
    broken = torch.zeros(len(y), dtype=torch.bool)
    noise = torch.randn(ball.clean.shape, generator=torch.Generator().manual_seed(7))
    for start in (ball.clean, ball.draw(noise)):
        z = start
        for step in range(steps + 1):
            z = z.detach().requires_grad_()
            with torch.enable_grad():
                scores = net(z)
                margin = scores.gather(1, y[:, None])[:, 0] - scores.scatter(1, y[:, None], -torch.inf).amax(1)
                (slope,) = torch.autograd.grad(margin.sum(), z)
            broken |= scores.argmax(1) != y
            # the first step goes as far as the budget does: to the corner
            z = ball.clamp(ball.step(z.detach(), -slope, 2.0 if step == 0 else 0.5 * 0.85**step))
    return broken


def _digits() -> list[dict[str, Any]]:
    splits = digits.load()
    net = digits.train(*splits["train"], seed=0).requires_grad_(False)
    x, y = (torch.from_numpy(part) for part in splits["test"])
    right = net(x).argmax(1) == y
    x, y = x[right], y[right]
    graph = read(net, x[:3])
    told = []
    for eps in (0.15, 0.08, 0.05, 0.03, 0.02, 0.01):
        ball = flat_ball(x, eps, "linf", 0.0, 1.0)

        def turned(rows: Tensor, z: Tensor, ball: Ball = ball) -> Tensor:
            return net(ball[rows].clamp(z.float())).argmax(1) != y[rows]

        start = time.process_time()
        found = decide(graph, Region.of(ball, torch.float32), y, Effort(20, 2048), turned)
        seconds = time.process_time() - start
        counts = torch.bincount(found.method.int(), minlength=5).tolist()
        told.append(
            {
                "eps": eps,
                "rows": len(y),
                "certified": int((found.margin > 0).sum()),
                "by_interval_crown_alpha": counts[1:4],
                "turned": int(found.turned.sum()),
                "open": int(((found.margin <= 0) & ~found.turned).sum()),
                "cpu_ms_per_row": round(1000 * seconds / len(y), 2),
            }
        )
        print(told[-1])
    return told
