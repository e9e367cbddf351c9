"""Random ReLU networks so small that a mixed integer program gives the exact least margin, and every bound beside it."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import Bounds as Box
from scipy.optimize import LinearConstraint, milp
from torch import Tensor, nn

from veriward.checks.certify.alpha import improved
from veriward.checks.certify.crown import Held, lower, tightened
from veriward.checks.certify.decide import functions
from veriward.checks.certify.graph import Graph
from veriward.checks.certify.ibp import interval
from veriward.checks.certify.region import Region
from veriward.checks.certify.trace import read
from veriward.core.ball import Ball, flat_ball

SHAPES = ((12,), (6, 6), (4, 4, 4), (8, 4), (5, 3), (3, 3, 3, 3))


@dataclass(frozen=True, eq=False)
class Tiny:
    """A network, one row of it with the class that it gets, and a ball around it."""

    net: nn.Sequential
    x: Tensor
    y: Tensor
    ball: Ball

    @property
    def graph(self) -> Graph:
        return read(self.net, self.x.expand(3, -1))

    @property
    def region(self) -> Region:
        """The ball, not widened: what is compared with is not either."""
        parts = (self.ball.clean, self.ball.low, self.ball.high, self.ball.radii)
        return Region(*(part.double() for part in parts), self.ball.norm)


def tiny(seed: int, norm: str = "linf") -> Tiny:
    """Draw network number `seed`."""
    generator = np.random.default_rng(seed)
    inputs, outputs = int(generator.integers(2, 6)), int(generator.integers(2, 5))
    sizes = [inputs, *SHAPES[seed % len(SHAPES)], outputs]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, before, after)
        layer.weight.data = torch.as_tensor(generator.normal(size=(after, before)) * (2 / before) ** 0.5).float()
        layer.bias.data = torch.as_tensor(generator.normal(size=after) * 0.3).float()
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).eval().requires_grad_(False)
    x = torch.as_tensor(generator.uniform(-1, 1, (1, inputs))).float()
    eps = float(generator.uniform(0.02, 0.3)) * (1.0 if norm == "linf" else 2.0)
    return Tiny(net, x, net(x).argmax(1), flat_ball(x, eps, norm, -1.0, 1.0))


def exact(case: Tiny) -> float:
    """Return the least margin over the ball and all wrong classes: one program for each of them (Tjeng et al. 2019)."""
    y, outputs = int(case.y), case.net[-1].out_features
    return min(_solved(case, y, k) for k in range(outputs) if k != y)


def _solved(case: Tiny, y: int, k: int) -> float:
    """Solve with wider and wider ends of the ReLUs, all of them exact: HiGHS gives up on a few programs."""
    for pad in (1e-6, 1e-3, 1e-2, 0.1, 1.0):
        found = _least(case, y, k, pad)
        if found is not None:
            return found
    raise AssertionError("HiGHS solves none of the programs")


def _least(case: Tiny, y: int, k: int, pad: float) -> float | None:
    """Minimise score y minus score k. Variables: x, shares of the budget, and for each ReLU its value and its sign."""
    weights = [(m.weight.double().numpy(), m.bias.double().numpy()) for m in case.net if isinstance(m, nn.Linear)]
    low, high = (part.double().numpy()[0] for part in (case.ball.low, case.ball.high))
    inputs, units = len(low), [len(b) for _, b in weights[:-1]]
    size = 2 * inputs + 2 * sum(units)
    rows, least, most = [], [], []
    ends_low, ends_high, whole = np.zeros(size), np.zeros(size), np.zeros(size)
    ends_low[:inputs], ends_high[:inputs], ends_high[inputs : 2 * inputs] = low, high, 2.0

    def say(entries: dict[int, float], lower_end: float, upper_end: float) -> None:
        row = np.zeros(size)
        for at, value in entries.items():
            row[at] += value
        rows.append(row)
        least.append(lower_end)
        most.append(upper_end)

    clean, radii = (part.double().numpy()[0] for part in (case.ball.clean, case.ball.radii))
    if case.ball.norm == "l1":
        for i in range(inputs):
            say({inputs + i: radii[i], i: -1.0}, -clean[i], np.inf)
            say({inputs + i: radii[i], i: 1.0}, clean[i], np.inf)
        say({inputs + i: 1.0 for i in range(inputs)}, -np.inf, 1.0)
    before, begin, down, up = list(range(inputs)), 2 * inputs, low, high
    for (weight, bias), count in zip(weights[:-1], units, strict=True):
        middle, radius = weight @ (down + up) / 2 + bias, np.abs(weight) @ (up - down) / 2
        down, up = middle - radius - pad, middle + radius + pad
        for j in range(count):
            a, sign = begin + j, begin + count + j
            ends_high[a] = max(up[j], 0.0)
            row = {at: -w for at, w in zip(before, weight[j], strict=True)}
            if up[j] <= 0:
                ends_high[a] = 0.0
                continue
            say({a: 1.0, **row}, bias[j], np.inf if down[j] < 0 else bias[j])  # a >= z, or a = z
            if down[j] < 0:
                say({a: 1.0, **row, sign: -down[j]}, -np.inf, bias[j] - down[j])  # a <= z - down (1 - sign)
                say({a: 1.0, sign: -up[j]}, -np.inf, 0.0)  # a <= up sign
                whole[sign] = ends_high[sign] = 1.0
        before, begin, down, up = (
            list(range(begin, begin + count)),
            begin + 2 * count,
            np.maximum(down, 0),
            np.maximum(up, 0),
        )
    weight, bias = weights[-1]
    cost = np.zeros(size)
    cost[before] = weight[y] - weight[k]
    program = {"constraints": LinearConstraint(np.array(rows), least, most), "bounds": Box(ends_low, ends_high)}
    found = milp(cost, **program, integrality=whole, options={"mip_rel_gap": 0.0})
    return float(found.fun) + float(bias[y] - bias[k]) if found.status == 0 else None


def bounds(case: Tiny, steps: int = 40) -> dict[str, float]:
    """Return the least margin by intervals, by CROWN and by alpha-CROWN."""
    graph, region = case.graph, case.region
    rows, _, pairs = functions(graph, case.y)

    def start(part: slice) -> tuple[Held, Tensor]:
        return {len(graph.ops) - 1: pairs[part]}, torch.zeros(len(rows[part]), dtype=torch.float64)

    everything = slice(0, len(rows))
    plain = lower(graph, region, interval(graph, region), rows, *start(everything), intervals=True).value
    tight = tightened(graph, region, 1000)
    crown = torch.maximum(plain, lower(graph, region, tight, rows, *start(everything), intervals=True).value)
    crown = torch.maximum(crown, lower(graph, region, tight, rows, *start(everything)).value)
    alpha = improved(graph, region, tight, rows, start, crown, steps, stop=False)
    return {name: float(v.min()) for name, v in (("interval", plain), ("crown", crown), ("alpha", alpha))}


def attacked(case: Tiny, steps: int = 30, starts: int = 8) -> float:
    """Return the smallest margin that a short projected gradient descent finds."""
    generator = torch.Generator().manual_seed(0)
    many = torch.zeros(starts, dtype=torch.int64)
    ball = case.ball[many]
    noise = torch.randn(ball.clean.shape, generator=generator)
    noise[0] = 0
    z, best = ball.draw(noise) if starts > 1 else ball.clean, torch.inf
    y = case.y.expand(starts)
    for step in range(steps + 1):
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            scores = case.net(z)
            margin = scores.gather(1, y[:, None])[:, 0] - scores.scatter(1, y[:, None], -torch.inf).amax(1)
            (slope,) = torch.autograd.grad(margin.sum(), z)
        best = min(best, float(margin.detach().min()))
        z = ball.clamp(ball.step(z.detach(), -slope, 0.5 * 0.9**step))
    return best
