"""What is refused, by name; what bad rows do; and that the caller's module stays as it was."""

from collections.abc import Callable
from typing import cast

import pytest
import torch
from tests.privacy.clipping_cases import Attend, First, classes, drawn, integers, loop, normal, norms_of, squares
from torch import Tensor, nn
from torch.nn import functional

from veriward.core.errors import ModelError, SettingsError
from veriward.core.streams import Stream
from veriward.privacy.clipping import Adaptive, Automatic, Flat, LoRA, PerLayer, PerRow, fix

X, Y = normal(6, 4), normal(6, name="y")


class Forward(nn.Module):
    """A linear layer and a function that uses it."""

    def __init__(self, function: Callable[[nn.Linear, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(4, 4), function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function(self.layer, x)
        return out


def clipped(module: nn.Module, x: Tensor = X, y: Tensor = Y) -> None:
    PerRow(drawn(module), squares).clipped(x, y, 1.0)


def test_tied_or_functionally_used_weights_are_refused_by_name() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    with pytest.raises(ModelError, match=r"0\.weight, 1\.weight: one weight in several modules"):
        PerRow(tied, squares)
    view = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    view[1].weight = nn.Parameter(cast(Tensor, view[0].weight).detach().t())  # another parameter on the same numbers
    with pytest.raises(ModelError, match=r"0\.weight, 1\.weight: one weight"):
        PerRow(view, squares)
    with pytest.raises(ModelError, match=r"layer\.weight: per-row gradients differ .* F\.linear"):
        clipped(Forward(lambda layer, x: functional.linear(layer(x).tanh(), layer.weight.t())))
    with pytest.raises(ModelError, match=r"layer\.bias: per-row gradients differ"):
        clipped(Forward(lambda layer, x: cast(Tensor, layer(x) * layer.bias)))


def test_a_functional_use_that_zeros_hide_at_the_start_of_training_is_found() -> None:
    def hidden(layer: nn.Linear, x: Tensor) -> Tensor:
        return cast(Tensor, layer(x) + layer.weight.sum() ** 2 * layer.bias.sum())

    module = Forward(hidden).double()
    nn.init.zeros_(module.layer.weight)
    nn.init.zeros_(module.layer.bias)
    with pytest.raises(ModelError, match=r"layer\.weight, layer\.bias: per-row gradients differ"):
        PerRow(module, squares).clipped(X, Y, 1.0)


def test_batch_norm_is_refused_by_name_and_fixed() -> None:
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 2))
    with pytest.raises(
        ModelError,
        match=r"^1 \(BatchNorm2d\) has no per-row gradients: it lets rows influence each other.*fix\(module\)",
    ):
        PerRow(module, squares)
    fixed = fix(module)
    assert isinstance(fixed[1], nn.GroupNorm) and isinstance(module[1], nn.BatchNorm2d)  # type: ignore[index]
    assert fixed.get_parameter("0.weight").data_ptr() != module.get_parameter("0.weight").data_ptr()
    PerRow(drawn(fixed), squares).clipped(normal(3, 1, 4, 4), Y[:3], 1.0)
    frozen = nn.Sequential(nn.BatchNorm1d(4).eval().requires_grad_(False), nn.Linear(4, 2))
    engine = PerRow(drawn(frozen), squares)
    engine.clipped(X, Y, 1.0)
    frozen.train()
    with pytest.raises(ModelError, match="BatchNorm1d"):
        engine.clipped(X, Y, 1.0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda output, y: functional.mse_loss(output[:, 0], y),
        lambda output, y: functional.mse_loss(output, y[:, None].expand_as(output), reduction="none"),
        lambda output, y: squares(output, y)[:, None],
        lambda output, y: 1.0,
    ],
)
def test_a_loss_already_reduced_is_refused(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    engine = PerRow(drawn(nn.Linear(4, 3)), loss)
    for call in (
        lambda: engine.clipped(X, Y, 1.0),
        lambda: engine.clipped(X[:1], Y[:1], 1.0),
        lambda: engine.rows(X, Y),
    ):
        with pytest.raises(SettingsError, match=r"loss: returned .* want one loss per row"):
            call()


def test_a_loss_divided_by_the_number_of_rows_is_refused() -> None:
    with pytest.raises(ModelError, match="depends on the rows beside it or on their number"):
        PerRow(drawn(nn.Linear(4, 3)), lambda output, y: squares(output, y) / len(y)).clipped(X, Y, 1.0)


@pytest.mark.parametrize(
    "mix", [lambda x: x - x.mean(0), lambda x: x.softmax(0), lambda x: x + x.flip(0), lambda x: x.cumsum(0)]
)
def test_layers_that_mix_rows_are_refused(mix: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ModelError, match="depends on the rows beside it"):
        clipped(Forward(lambda layer, x: mix(layer(x))))


def test_one_example_with_inf_turns_all_weights_nan_elsewhere_and_is_zeroed_and_counted_here() -> None:
    module = drawn(nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)))
    x = X.clone()
    x[1, 2], x[4, 0] = torch.inf, torch.nan
    good = torch.tensor([0, 2, 3, 5])
    engine = PerRow(module, squares)
    for clip in (0.5, (0.1, 0.2, 0.3), Automatic(), Adaptive(0.5), Flat(0.5, order=1)):
        found, alone = engine.clipped(x, Y, clip), engine.clipped(x[good], Y[good], clip)
        assert found.bad == 2 and found.clipped == alone.clipped + 2
        assert found.norms[[1, 4]].tolist() == [torch.inf] * 2
        for name, sums in found.sums.items():
            torch.testing.assert_close(sums, alone.sums[name], rtol=1e-12, atol=1e-14)
    rule = Adaptive(1e9)
    assert rule.within(engine.norms(x, Y)) == 4  # bad rows count as clipped


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (nn.Conv2d(2, 3, 2), normal(4, 2, 3, 3)),
        (nn.Linear(30, 40), normal(4, 3, 30)),
        (nn.Sequential(nn.Linear(3, 3), nn.PReLU(3)), normal(4, 3)),
        (nn.GroupNorm(1, 2), normal(4, 2, 3)),
    ],
)
def test_a_bad_row_leaves_no_nan_in_the_sums_of_any_kind(module: nn.Module, x: Tensor) -> None:
    x = x.clone()
    x[2].flatten()[0] = torch.inf
    found = PerRow(drawn(module), squares).clipped(x, Y[:4], 1.0)
    assert found.bad == 1
    assert all(bool(s.isfinite().all()) and float(s.abs().max()) > 0 for s in found.sums.values())


def test_a_bad_row_in_an_embedding_is_zeroed() -> None:
    def loss(output: Tensor, y: Tensor) -> Tensor:
        return squares(output, y) / y  # 1 / 0

    y = torch.tensor([1.0, 0.0, 2.0]).double()
    found = PerRow(drawn(nn.Embedding(5, 2)), loss).clipped(integers(5, 3, 4), y, 1.0)
    assert found.bad == 1 and bool(found.sums["weight"].isfinite().all())


def test_a_row_whose_norm_overflows_is_zeroed() -> None:
    x = X.float()
    x[0] *= 1e25
    found = PerRow(drawn(nn.Linear(4, 3)).float(), squares).clipped(x, Y.float(), 1.0)
    assert found.bad == 1 and bool(found.sums["weight"].isfinite().all())


def test_microbatching_doubles_no_sensitivity() -> None:
    module = drawn(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    engine, clip = PerRow(module, squares), 0.7
    whole = engine.clipped(X, Y, clip).sums
    parts = [engine.clipped(X[rows], Y[rows], clip).sums for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]
    without = engine.clipped(X[1:], Y[1:], clip).sums
    added = torch.cat([(whole[name] - without[name]).flatten() for name in whole])
    assert float(added.norm()) <= clip * (1 + 1e-12)  # one row more or less
    for name, sums in whole.items():  # physical batches add up to the logical one
        torch.testing.assert_close(sums, torch.stack([part[name] for part in parts]).sum(0))


def test_an_empty_batch_answers_zeros_without_running_the_module() -> None:
    module = Forward(lambda layer, x: 1 / 0)  # type: ignore[arg-type, return-value]
    found = PerRow(module, squares).clipped(X[:0], Y[:0], 1.0)
    assert {name: tuple(s.shape) for name, s in found.sums.items()} == {"layer.weight": (4, 4), "layer.bias": (4,)}
    assert all(float(s.abs().max()) == 0 for s in found.sums.values())
    assert (len(found.norms), len(found.losses), found.bad, found.clipped) == (0, 0, 0, 0)


def test_an_all_zero_gradient_clips_to_zero() -> None:
    found = PerRow(drawn(nn.Linear(4, 3, bias=False)), squares).clipped(torch.zeros(3, 4).double(), Y[:3], 1.0)
    assert found.clipped == found.bad == 0 and float(found.sums["weight"].abs().max()) == 0


def test_rows_that_do_not_come_first_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"layer \(Linear\): shapes \(5, 3, 4\) in"):
        clipped(Forward(lambda layer, x: layer(x.transpose(0, 1)).transpose(0, 1)), normal(6, 5, 4))
    with pytest.raises(
        ModelError, match=r"layer \(Linear\): shapes \(15, 4\) in and \(15, 4\) out for a batch of 3 rows"
    ):
        clipped(Forward(lambda layer, x: layer(x.flatten(0, 1)).view(len(x), -1)), normal(6, 5, 4))


def test_positions_shared_by_all_rows_are_refused_by_name() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Embedding(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x + self.places(torch.arange(x.shape[1]))
            return out

    with pytest.raises(ModelError, match=r"places \(Embedding\): shapes \(5,\) in .* positions\.expand"):
        clipped(Placed(), normal(6, 5, 4))


def test_an_input_changed_in_place_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"layer \(Linear\): its input was changed in place"):
        clipped(Forward(lambda layer, x: (z := x * 1, layer(z), z.mul_(2))[1]))


def test_an_output_changed_in_place_is_handled_exactly() -> None:
    module = drawn(Forward(lambda layer, x: layer(x).mul_(2).relu_()))
    x = normal(6, 3, 4)
    torch.testing.assert_close(PerRow(module, squares).norms(x, Y), norms_of(loop(module, squares, x, Y)))


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (nn.Linear(4, 3).requires_grad_(False), "no trainable parameter"),
        (nn.ReLU(), "no trainable parameter"),
        (nn.LazyLinear(3), "not initialised yet"),
        (nn.LSTM(4, 3), r"\(LSTM\) has no per-row gradients: it uses its weights inside one fused call; use .*fix"),
        (nn.MultiheadAttention(4, 2), r"\(MultiheadAttention\) has no per-row gradients: it uses its weights"),
        (nn.InstanceNorm1d(4, affine=True, track_running_stats=True), "running statistics"),
        (nn.Embedding(4, 3, max_norm=1.0), "max_norm rewrites weights"),
        (nn.Embedding(4, 3, scale_grad_by_freq=True), "scale_grad_by_freq counts over the whole batch"),
    ],
)
def test_modules_without_per_row_gradients_are_refused(module: nn.Module, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        PerRow(module, squares)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Flat(0.0),
        lambda: Flat(float("nan")),
        lambda: Flat(float("inf")),
        lambda: Flat(1.0, order=3),
        lambda: PerLayer(()),
        lambda: PerLayer((1.0, -1.0)),
        lambda: Automatic(gamma=0.0),
        lambda: Adaptive(1.0, quantile=1.0),
        lambda: Adaptive(1.0).updated(3.0, divisor=0.0),
        lambda: PerRow(nn.Linear(2, 1), squares, compute=torch.float16),
        lambda: PerRow(nn.Linear(4, 1).double(), squares).clipped(X, Y, (1.0, 2.0)),
        lambda: PerRow(nn.Linear(4, 1).double(), squares).clipped(X, Y[:5], 1.0),
        lambda: PerRow(nn.Linear(4, 1).double(), squares).clipped([1.0], Y, 1.0),  # type: ignore[arg-type]
        lambda: PerRow(nn.Linear(4, 1).double(), lambda output, y: y * 2).clipped(X, Y, 1.0),
        lambda: LoRA(nn.Linear(4, 3), 4, stream=Stream.of(0, "t")),
    ],
)
def test_settings_that_cannot_be_used_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(SettingsError, match=r"want|loss"):
        make()


def test_the_callers_module_stays_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.PReLU(4), nn.Linear(4, 3))
    drawn(module)
    module[0].weight.requires_grad_(False)
    module[3].weight.grad = torch.ones(3, 4).double()
    module[2].eval()
    before = [(p.detach().clone(), p.requires_grad) for p in module.parameters()]
    state = torch.get_rng_state()
    engine = PerRow(module, squares)
    assert engine.slow == ("2",)
    engine.norms(X, Y)
    drew = torch.get_rng_state()
    torch.set_rng_state(state)
    module(X)
    assert torch.equal(drew, torch.get_rng_state())  # dropout's draws alone, none of the probe's
    with pytest.raises(SettingsError):
        PerRow(module, lambda output, y: output.sum()).clipped(X, Y, 1.0)
    assert not any(m._forward_hooks for m in module.modules())
    assert [m.training for m in module] == [True, True, False, True]
    assert torch.equal(module[3].weight.grad, torch.ones(3, 4).double()) and module[0].bias.grad is None
    for parameter, (values, trains) in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, values) and parameter.requires_grad == trains


def test_what_fix_builds_computes_the_same() -> None:
    x = normal(3, 5, 8)
    layers = [
        First(nn.LSTM(8, 4, num_layers=2, bidirectional=True, batch_first=True)),
        First(nn.GRU(8, 4)),
        First(nn.RNN(8, 4, bias=False)),
        Attend(),
        nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval(),
    ]
    for module in layers:
        torch.testing.assert_close(fix(drawn(module))(x), module(x))
    hidden = torch.tensor([[False] * 4 + [True]] * 3)
    heads = nn.MultiheadAttention(8, 2, batch_first=True)
    causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    options = {"key_padding_mask": hidden, "attn_mask": causal == -torch.inf}
    for ours, theirs in zip(fix(drawn(heads))(x, x, x, **options), heads(x, x, x, **options), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_fix_cannot_build_is_refused_by_name() -> None:
    for module in (nn.MultiheadAttention(8, 2), nn.LSTM(8, 4, proj_size=2)):
        with pytest.raises(ModelError, match=r"^0 \((MultiheadAttention|LSTM)\): "):
            fix(nn.Sequential(module))
    with pytest.raises(ModelError, match="not packed"):
        fix(nn.GRU(8, 4))(nn.utils.rnn.pack_sequence([normal(3, 8)]))


def test_dropout_in_the_caller_s_own_code_is_no_mixing_of_rows() -> None:
    module = drawn(Forward(lambda layer, x: functional.dropout(layer(x), 0.5, layer.training)))
    PerRow(module, squares).clipped(X, Y, 1.0)


def test_a_class_index_target_and_whole_number_rows_are_probed() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(7, 3)

        def forward(self, ids: Tensor) -> Tensor:
            z: Tensor = self.words(ids).sum(1)
            return z - z.mean(0)

    y = integers(3, 5, name="y")
    PerRow(drawn(nn.Sequential(nn.Linear(4, 3))), classes).clipped(X[:5], y, 1.0)
    engine = PerRow(drawn(Mixing()), classes)
    engine.clipped(integers(7, 5, 4)[:1], y[:1], 1.0)  # alone a row is itself: nothing to see yet
    with pytest.raises(ModelError, match="depends on the rows beside it"):
        engine.clipped(integers(7, 5, 4), y, 1.0)
