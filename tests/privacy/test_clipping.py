"""Norms and clipped sums against a loop over single rows: every layer kind, every rule."""

import math
from collections.abc import Sequence

import pytest
import torch
from tests.privacy.clipping_cases import CASES, STREAM, classes, drawn, integers, loop, normal, norms_of, squares
from torch import Tensor, nn

from veriward.privacy.clipping import Adaptive, Automatic, Flat, PerLayer, PerRow, Rule
from veriward.privacy.clipping.gradients import gradients
from veriward.privacy.clipping.held import Rows, square_of
from veriward.privacy.clipping.outer import Outer

# torch says once that an even kernel under padding="same" copies its input
pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same.")


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def weighted(rows: dict[str, Tensor], factors: Tensor) -> dict[str, Tensor]:
    return {name: torch.einsum("n,n...->...", factors, r) for name, r in rows.items()}


@pytest.mark.parametrize("name", CASES)
def test_norms_and_clipped_sums_are_those_of_a_loop_over_single_rows(name: str) -> None:
    case = CASES[name]
    module, y = drawn(case.module()), normal(len(case.x), name="y")
    rows = loop(module, squares, case.x, y)
    norms, clip = norms_of(rows), 1.001 * float(norms_of(rows).median())
    found = PerRow(module, squares).clipped(case.x, y, clip)
    close(found.norms, norms)
    expected = weighted(rows, (clip / norms).clamp(max=1))
    assert list(found.sums) == list(rows)
    for key, sums in expected.items():
        torch.testing.assert_close(found.sums[key], sums, rtol=1e-12, atol=1e-12 * float(norms.max()))
    assert found.bad == 0 and found.clipped == int((norms > clip).sum()) > 0


@pytest.mark.parametrize("name", CASES)
def test_in_float32_they_are_within_1e_6_of_the_largest_gradient(name: str) -> None:
    case = CASES[name]
    module, y = drawn(case.module()), normal(len(case.x), name="y")
    rows = loop(module, squares, case.x, y)
    x = case.x.float() if case.x.is_floating_point() else case.x
    norms = norms_of(rows)
    found = PerRow(module.float(), squares).clipped(x, y.float(), 1e9)
    torch.testing.assert_close(found.norms.double(), norms, rtol=2e-6, atol=0)
    scale = max(float(r.sum(0).abs().max()) for r in rows.values())
    for key, sums in found.sums.items():
        assert sums.dtype == torch.float32
        assert float((sums - rows[key].sum(0)).abs().max()) <= 1e-6 * max(scale, float(norms.sum()) / 3)


def test_every_way_to_hold_a_weight_is_among_the_cases() -> None:
    def held(name: str) -> type:
        case = CASES[name]
        return type(gradients(drawn(case.module()), squares, case.x, normal(len(case.x), name="y")).layers[0]["weight"])

    assert held("linear, written out") == held("conv2d, depthwise") == Rows
    ghosts = ("linear, ghost", "conv2d, ghost", "conv2d, ghost, groups", "conv2d, same, ghost", "conv3d, ghost")
    assert {held(name) for name in ghosts} == {Outer}


@pytest.mark.parametrize("seed", range(12))
def test_random_convolutions_agree_with_the_loop(seed: int) -> None:
    pick = [int(v) for v in STREAM.child(f"conv {seed}").integers(torch.arange(1), 1 << 20, (8,))[0]]
    groups = 1 + pick[0] % 3
    module = nn.Conv2d(
        *(groups * (1 + pick[1] % 3), groups * (1 + pick[2] % 9), (1 + pick[3] % 3, 1 + pick[4] % 3)),
        stride=1 + pick[5] % 2, padding=pick[6] % 3, dilation=1 + pick[7] % 2, groups=groups,
    )  # fmt: skip
    x, y = normal(4, module.in_channels, 7, 6, name=f"x{seed}"), normal(4, name="y")
    rows = loop(drawn(module), squares, x, y)
    engine = PerRow(module, squares)
    close(engine.norms(x, y), norms_of(rows))
    (layer,) = gradients(module, squares, x, y).layers
    torch.testing.assert_close(layer["weight"].total(torch.ones(4).double(), None), rows["weight"].sum(0))


def net() -> tuple[nn.Module, Tensor, Tensor]:
    layers = (nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
    return drawn(nn.Sequential(*layers)), normal(9, 6), integers(3, 9)


def layer_norms(rows: dict[str, Tensor], order: int = 2) -> Tensor:
    names = dict.fromkeys(name.rpartition(".")[0] for name in rows)
    parts = [torch.cat([r.flatten(1) for k, r in rows.items() if k.startswith(f"{n}.")], 1) for n in names]
    return torch.stack([torch.linalg.vector_norm(part, order, dim=1) for part in parts])


RULES: dict[str, tuple[Rule | float | Sequence[float], int]] = {
    "number": (0.3, 2),
    "flat": (Flat(0.3), 2),
    "flat, L1": (Flat(0.5, order=1), 1),
    "per layer": ((0.1, 0.2, 0.3), 2),
    "per layer, even": (PerLayer.even(0.4, 3), 2),
    "per layer, L1": (PerLayer((0.1, 0.2, 0.3), order=1), 1),
    "automatic": (Automatic(0.7, gamma=0.05), 2),
    "automatic, L1": (Automatic(0.7, order=1), 1),
    "adaptive": (Adaptive(0.2), 2),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_scales_rows_as_its_formula_says_and_keeps_its_sensitivity(name: str) -> None:
    clip, order = RULES[name]
    module, x, y = net()
    rows = loop(module, classes, x, y)
    parts = layer_norms(rows, order)
    total = torch.linalg.vector_norm(parts, order, dim=0)
    if name == "number" or isinstance(clip, Flat | Adaptive):
        bound = clip.clip if isinstance(clip, Flat | Adaptive) else 0.3
        factors = torch.minimum(torch.ones(9), bound / total).expand(3, -1)
    elif isinstance(clip, Automatic):
        factors = (0.7 / (total + clip.gamma)).expand(3, -1)
    else:
        bounds = clip.clips if isinstance(clip, PerLayer) else clip
        factors = torch.minimum(torch.ones(3, 9), torch.tensor(bounds)[:, None] / parts)
    engine = PerRow(module, classes)
    found = engine.clipped(x, y, clip)
    close(found.norms, total)
    for place, layer in enumerate(("0", "2", "3")):
        for key in (f"{layer}.weight", f"{layer}.bias"):
            expected = torch.einsum("n,n...->...", factors[place].double(), rows[key])
            torch.testing.assert_close(found.sums[key], expected, rtol=1e-6, atol=1e-9)
    rule = Flat(clip) if isinstance(clip, float) else PerLayer(tuple(clip)) if isinstance(clip, tuple) else clip
    assert isinstance(rule, Flat | PerLayer | Automatic | Adaptive)
    for i in range(9):
        alone = engine.clipped(x[i : i + 1], y[i : i + 1], clip).sums.values()
        added = torch.linalg.vector_norm(torch.cat([s.flatten() for s in alone]), order)
        assert float(added) <= rule.sensitivity * (1 + 1e-12)


def test_rows_are_written_out_as_the_loop_has_them() -> None:
    module, x, y = net()
    found = PerRow(module, classes).rows(x, y)
    for key, rows in loop(module, classes, x, y).items():
        close(found[key], rows)


def test_a_quantile_of_norms_is_followed() -> None:
    norms = STREAM.child("norms").uniform(torch.arange(4000)) * 10
    rule = Adaptive(0.1, quantile=0.7, rate=0.2)
    for _ in range(200):
        rule = rule.updated(rule.within(norms), divisor=4000)
    assert math.isclose(rule.clip, float(norms.quantile(0.7)), rel_tol=0.01)


def test_what_noise_leaves_outside_the_count_is_taken_to_its_border() -> None:
    rule = Adaptive(1.0, quantile=0.5, rate=0.2)
    assert rule.updated(-1e9, 10).clip == rule.updated(0, 10).clip == pytest.approx(math.exp(0.1))
    assert rule.updated(math.inf, 10).clip == rule.updated(10, 10).clip == pytest.approx(math.exp(-0.1))


def test_a_ghost_norm_that_rounding_has_eaten_is_written_out() -> None:
    # the two positions have all but opposite output gradients: the true norm is 1e-4 of its terms
    module = drawn(nn.Linear(60, 50, bias=False)).float()
    a = normal(2, 1, 60).float().expand(-1, 2, -1).contiguous()

    def loss(output: Tensor, y: Tensor) -> Tensor:
        return (output[:, 0] * (1 + 1e-4) - output[:, 1]).sum(1)

    found = PerRow(module, loss).norms(a, torch.zeros(2))
    exact = norms_of(loop(module.double(), loss, a.double(), torch.zeros(2)))
    assert isinstance(gradients(module.float(), loss, a, torch.zeros(2)).layers[0]["weight"], Outer)
    torch.testing.assert_close(
        found.double(), exact, rtol=1e-3, atol=0
    )  # 1 - (1 + 1e-4) in float32 has this many digits


def test_a_unit_that_rounding_turns_off_takes_its_gradient_along() -> None:
    """(1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 in float64 and 0 in float32: another piece of the network, no rounding error."""
    x, y = torch.tensor([[1 + 2.0**-12]], dtype=torch.float64), torch.zeros(1)
    for dtype, on in ((torch.float64, 1.0), (torch.float32, 0.0)):
        net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).to(dtype)
        for parameter, value in zip(net.parameters(), (1 + 2.0**-12, 1.0, -1 - 2.0**-11, 1.0, 0.0), strict=True):
            nn.init.constant_(parameter, value)
        rows = loop(net, lambda out, _: out[:, 0], x.to(dtype), y)
        found = PerRow(net, lambda out, _: out[:, 0]).clipped(x.to(dtype), y, 1e9).sums
        for name, row in rows.items():
            torch.testing.assert_close(found[name], row[0], rtol=1e-6, atol=0)
        assert float(found["1.bias"]) == on


def test_the_norm_of_a_long_row_is_not_too_small() -> None:
    """torch's norm of four million numbers loses 1e-4 in float32: as much as the slack allows a row in all."""
    rows = STREAM.child("long").normal(torch.arange(2), (1 << 22,)).float()
    torch.testing.assert_close(square_of(rows).double(), rows.double().square().sum(1), rtol=1e-6, atol=0)


def test_bfloat16_computes_and_float32_bounds() -> None:
    module, x, y = net()
    module.float()
    engine = PerRow(module, classes, compute=torch.bfloat16)
    clip = 0.05
    exact = engine.norms(x.float(), y)
    torch.testing.assert_close(exact, norms_of(loop(module.double(), classes, x, y)).float(), rtol=0.05, atol=0)
    module.float()
    for i in range(len(x)):
        sums = engine.clipped(x[i : i + 1].float(), y[i : i + 1], clip).sums
        assert all(s.dtype == torch.float32 for s in sums.values())
        norm = torch.linalg.vector_norm(torch.cat([s.double().flatten() for s in sums.values()]))
        assert abs(float(norm) / clip - 1) <= engine.slack
