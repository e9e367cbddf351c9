"""Bounds of networks against the exact least margin, against points, and against what deployed arithmetic answers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from veriward.checks.certify.crown import tightened
from veriward.checks.certify.decide import Effort, decide
from veriward.checks.certify.graph import Graph, Unreadable
from veriward.checks.certify.ibp import interval
from veriward.checks.certify.region import Region
from veriward.checks.certify.trace import read
from veriward.core.ball import Norm, flat_ball

from .tiny_nets import attacked, bounds, exact, tiny

SLACK = 1e-6  # of the exact program and of float32 margins


def filled(net: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network drawn weights and moving averages, and freeze it."""
    generator = np.random.default_rng(seed)
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if value.is_floating_point():
            drawn = torch.as_tensor(generator.normal(size=tuple(value.shape))).to(value.dtype)
            fan = value[0].numel() if value.ndim > 1 else 4
            value.data = drawn.abs() + 0.5 if name.endswith("var") else drawn / fan**0.5
    return net.eval().requires_grad_(False)


class Residual(nn.Module):
    """Normalisation inside, batch normalisation, two branches, max and mean pooling: what small vision models have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.third = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 1, bias=False)
        self.pool, self.last = nn.MaxPool2d(3, 2, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 3) logits."""
        x = self.norm(self.first((x - 0.4) / 0.3)).relu_()
        x = nn.functional.leaky_relu(self.second(x) + self.third(x), 0.1)
        return self.last(self.pool(x).mean((2, 3)))


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, stride=2, dilation=1),
        nn.ReLU6(),
        nn.AvgPool2d(1),
        nn.Dropout(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


class Wave(nn.Module):
    """One-dimensional convolutions, concatenated, with absolute values and a slice."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Conv1d(1, 2, 3), nn.Conv1d(1, 2, 3, bias=False), nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 2) logits."""
        x = x[:, :, :8] * 2
        both = torch.cat([self.left(x).abs(), nn.functional.max_pool1d(self.right(x), 3, 2), self.right(x)[..., :1]], 2)
        return self.last(both.flatten(1))


NETS = {"residual": (Residual, (1, 6, 6)), "pooled": (pooled, (1, 8, 8)), "wave": (Wave, (1, 9))}


def opened(name: str) -> tuple[nn.Module, Tensor, Graph]:
    make, shape = NETS[name]
    with torch.random.fork_rng(devices=[]):
        net = filled(make())
    x = torch.as_tensor(np.random.default_rng(1).uniform(size=(4, *shape))).float()
    return net, x, read(net, x[:3])


@pytest.mark.parametrize("seed", [*range(6), pytest.param(range(6, 60), marks=pytest.mark.slow)])
def test_bounds_stand_in_order_around_the_exact_margin(seed: int | range) -> None:
    for number in seed if isinstance(seed, range) else (seed,):
        case = tiny(number, "linf" if number % 4 else "l1")
        found = bounds(case, steps=15)
        chain = [found["interval"], found["crown"], found["alpha"], exact(case), attacked(case)]
        assert all(a <= b + SLACK for a, b in pairwise(chain)), (number, chain)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", sorted(NETS))
def test_bounds_enclose_what_points_of_the_ball_give(name: str, norm: Norm) -> None:
    net, x, graph = opened(name)
    assert torch.allclose(graph.values(x).float(), net(x), atol=1e-5)
    ball = flat_ball(x, {"linf": 0.1, "l2": 0.5, "l1": 1.0}[norm], norm, 0.0, 1.0)
    region = Region.of(ball, torch.float32)
    loose, tight = interval(graph, region), tightened(graph, region, 1000)
    many = torch.arange(4).repeat(2500)
    noise = torch.as_tensor(np.random.default_rng(2).normal(size=(10_000, *x.shape[1:]))).float()
    spread = ball[many]
    z = spread.draw(noise)
    z[::2] = spread.clamp(spread.step(spread.clean, noise, 1.0))[::2]  # the surface, where the extremes are
    scores = net(z).view(2500, 4, -1)
    for found in (loose, tight):
        assert bool((found.low[-1] <= scores.amin(0)).all()) and bool((found.high[-1] >= scores.amax(0)).all())
    assert bool((tight.low[-1] >= loose.low[-1] - 1e-9).all()) and bool((tight.high[-1] <= loose.high[-1] + 1e-9).all())


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e-4])
@pytest.mark.parametrize("seed", range(4))
def test_deployed_arithmetic_stays_within_the_rounding_margin(seed: int, scale: float) -> None:
    """Layers that blow up and shrink again, and weights that nearly cancel: float32 answers stay within the bounds."""
    generator = np.random.default_rng(seed)
    net = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    filled(net, seed)
    net[0].weight.data[:, 1::2] = -net[0].weight.data[:, ::2] * (1 + 1e-6)
    net[0].weight.data *= scale
    net[2].weight.data /= scale
    x = torch.as_tensor(generator.normal(size=(50, 30))).float()
    x[:, 1::2] = x[:, ::2]
    graph = read(net, x[:3])
    found = interval(graph, Region.of(flat_ball(x, 0.0, "linf"), torch.float32))
    low, high, middle = found.low[-1], found.high[-1], graph.values(x)
    for order in (net(x), torch.cat([net(row[None]) for row in x]), net(x.flip(0)).flip(0)):
        assert bool(((low <= order) & (order <= high)).all())
    assert bool((net(x).double() != middle).any())  # there is rounding to be covered
    small = net.double()(x.double()).abs().max()
    assert float((high - low).max()) < (1e-3 if scale == 1 else 1.0) * max(1.0, float(small))


def test_the_margin_for_rounding_is_small_on_ordinary_networks() -> None:
    case = tiny(4)
    found = interval(case.graph, Region.of(flat_ball(case.x, 0.0, "linf"), torch.float32))
    assert float((found.high[-1] - found.low[-1]).max()) < 1e-5 * float(found.high[-1].abs().max())


def test_proofs_hold_against_attacks_and_against_company() -> None:
    """What is proved is not broken, and a row's bound does not depend on the rows beside it."""
    net, x, graph = opened("residual")
    many = x.repeat(5, 1, 1, 1) + 0.05 * torch.as_tensor(np.random.default_rng(3).normal(size=(20, 1, 6, 6))).float()
    y = net(many).argmax(1)
    ball = flat_ball(many, 0.02, "linf", -1.0, 2.0)
    region, effort = Region.of(ball, torch.float32), Effort(10, 1000)

    def turned(rows: Tensor, z: Tensor) -> Tensor:
        return net(ball[rows].clamp(z.float())).argmax(1) != y[rows]

    together = decide(graph, region, y, effort, turned)
    assert int((together.method > 0).sum()) > 0
    assert not bool((together.turned & (together.method > 0)).any())
    for i in (0, 7, 19):
        row = torch.tensor([i])
        alone = decide(graph, region[row], y[row], effort, lambda rows, z, row=row: turned(row[rows], z))
        assert torch.allclose(alone.margin, together.margin[row], atol=1e-9)
        assert alone.method.item() == together.method[i].item()


class Product(nn.Module):
    """Numbers of the row times each other."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 2) scores."""
        return (x * x.sum(1, keepdim=True))[:, :2]


class Joined(nn.Module):
    """Rows that see each other."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 4) scores."""
        return x + x.flip(0)


class Choosing(nn.Module):
    """Another way for other numbers."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 4) scores."""
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("net", "named"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4)), "group_norm"),
        (nn.Sequential(nn.Linear(4, 4), nn.GELU()), "gelu"),
        (nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(1.5)), "slope outside"),
        (Product(), "both depend on the row"),
        (Joined(), "rows meet"),
        (Choosing(), "torch.export"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(net: nn.Module, named: str) -> None:
    with pytest.raises(Unreadable, match=named):
        read(net.eval(), torch.zeros(3, 4))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_least_value_over_ball_and_box_is_exact(norm: Norm) -> None:
    """Against a fine grid of the ball's surface and inside, in two dimensions."""
    generator = np.random.default_rng(0)
    a = torch.as_tensor(generator.normal(size=(40, 2)))
    clean = torch.as_tensor(generator.uniform(-0.9, 0.9, size=(40, 2)))
    radii = torch.as_tensor(generator.uniform(0.2, 1.0, size=(40, 2)))
    low, high = (clean - radii).clamp(min=-1), (clean + radii).clamp(max=1)
    region = Region(clean, low, high, radii, norm)
    side = torch.linspace(-1, 1, 161, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    length = torch.linalg.vector_norm(grid, {"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)
    points = clean[:, None] + grid[length <= 1] * radii[:, None]
    inside = ((points >= low[:, None]) & (points <= high[:, None])).all(2)
    seen = torch.where(inside, (points * a[:, None]).sum(2), torch.inf).amin(1)
    found = region.minimum(a)
    assert bool((found <= seen + 1e-12).all()) and bool((found >= seen - 0.1).all())
