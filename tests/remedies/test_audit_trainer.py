"""The audit of a private trainer: what it says of the honest one, and which planted faults it sees."""

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from veriward.core.errors import SettingsError
from veriward.core.streams import Stream
from veriward.privacy.clipping import Adaptive, Automatic, PerLayer
from veriward.privacy.dp import SimulatedSource
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.sampling import Fixed, Full, Shuffled
from veriward.remedies import Audit, TrainerSettings, replay, self_audit
from veriward.remedies.audit_canaries import Planted, planted_loss, planted_rows, planted_settings
from veriward.remedies.audit_planted import FAULTS
from veriward.remedies.audit_trainer import _scores

from .trained import DELTA, STEPS, STREAM, X, Y, cross_entropy, network, settings


def audited(way: TrainerSettings, **other: Any) -> Audit:
    known: dict[str, Any] = {"steps": STEPS, "delta": DELTA, "canaries": 2000, "runs": 1}
    return self_audit(way, network(), cross_entropy, X, Y, **(known | other))


def planted_sum(way: TrainerSettings, coins: torch.Tensor, relation: Relation, x: torch.Tensor = X) -> torch.Tensor:
    """Return what one step on planted rows adds to the canaries' coordinates, noise of 1e-6 of the clip."""
    y = torch.zeros(len(x), dtype=torch.long)
    way = planted_settings(replace(way, noise_multiplier=1e-6), len(x))
    rows, targets = planted_rows(x, y, coins, relation)
    source = SimulatedSource(Stream.of(0, "planted"))
    training = way.training(Planted(network(), x, len(coins)), planted_loss(cross_entropy), rows, targets, source)
    training.step()
    grad = training.module.canary.weight.grad  # type: ignore[union-attr]
    return grad[:, 0] * training.terms.divisor  # type: ignore[index, no-any-return]


COINS = torch.tensor([True, False] * 10)


@pytest.mark.parametrize("x", [X, (X > 0), (X > 0).to(torch.uint8), X.bfloat16()], ids=lambda x: str(x.dtype))
def test_a_canary_moves_its_own_coordinate_by_the_clip_and_nothing_else(x: torch.Tensor) -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.inner(rows.to(next(self.parameters()).dtype))  # type: ignore[no-any-return]

    way = TrainerSettings(sampler=Full(), clip=0.5, noise_multiplier=1e-6, divisor=10)
    rows, targets = planted_rows(x, Y, COINS, Relation.ADD_OR_REMOVE)
    planted, source = Planted(Cast(), x, len(COINS)), SimulatedSource(Stream.of(0, "planted"))
    training = way.training(planted, planted_loss(cross_entropy), rows, targets, source)
    training.step()
    assert torch.allclose(training.module.canary.weight.grad[:, 0] * 10, 0.5 * COINS, atol=1e-3)  # type: ignore
    assert training.seen.rows == len(X) + 10


def test_what_stands_for_an_absent_canary_depends_on_the_relation() -> None:
    public = TrainerSettings(sampler=Fixed(60, rows=60), clip=0.5, noise_multiplier=1.0)
    assert torch.allclose(planted_sum(public, COINS, Relation.ZERO_OUT), 0.5 * COINS, atol=1e-3)
    assert torch.allclose(planted_sum(public, COINS, Relation.REPLACE), COINS.float() - 0.5, atol=1e-3)


def test_bounds_per_layer_keep_their_sensitivity() -> None:
    way = TrainerSettings(sampler=Full(), clip=(0.3, 0.4), noise_multiplier=1.0, divisor=10)
    rule = planted_settings(way, 10).clip
    assert isinstance(rule, PerLayer)
    assert rule.sensitivity == pytest.approx(0.5)
    moved = planted_sum(way, COINS, Relation.ADD_OR_REMOVE)
    assert torch.allclose(moved, 0.99**0.5 * 0.5 * COINS, atol=1e-3)


def test_the_module_and_the_rows_stay_as_they_are() -> None:
    net, x, y = network(), X.clone(), Y.clone()
    before = copy.deepcopy(net.state_dict())
    self_audit(settings(), net, cross_entropy, x, y, steps=2, delta=DELTA, canaries=100, runs=1)
    replay(settings(), net, cross_entropy, x, y, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    assert torch.equal(x, X)
    assert torch.equal(y, Y)
    assert all(p.grad is None for p in net.parameters())


def test_the_result_says_what_it_is_about() -> None:
    found = audited(settings(), steps=5, canaries=200, runs=2)
    assert (found.canaries, found.guesses, found.steps, found.confidence) == (200, 30, 5, 0.999)
    assert len(found.correct) == 2
    assert (found.relation, found.unit, found.source) == ("add-or-remove-one", "row", "simulation")
    assert found == audited(settings(), steps=5, canaries=200, runs=2)
    assert found != audited(settings(), steps=5, canaries=200, runs=2, seed=1)


ROWS = STREAM.child("rows").normal(torch.arange(2400), (4,))
WAYS: dict[str, TrainerSettings] = {
    "full": TrainerSettings(sampler=Full(), clip=1.0, noise_multiplier=6.0, divisor=1000),
    "fixed": TrainerSettings(sampler=Fixed(240, rows=2400), clip=1.0, noise_multiplier=2.0),
    "shuffled": TrainerSettings(sampler=Shuffled(240, rows=2400), clip=1.0, noise_multiplier=1.0),
    "per layer": replace(settings(), clip=(0.5, 0.5)),
    "automatic": replace(settings(), clip=Automatic(0.5)),
    "adaptive": replace(settings(), clip=Adaptive(1.0), divisor=300),
    "Adam": replace(settings(), optimiser=lambda parameters: torch.optim.Adam(parameters, lr=0.1)),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_honest_trainer_is_not_accused_however_it_samples_and_clips(name: str) -> None:
    x = ROWS if "f" in name and name != "full" else X
    y = (x[:, 0] > 0).long()
    found = self_audit(WAYS[name], network(), cross_entropy, x, y, steps=10, delta=DELTA, canaries=2000, runs=1)
    assert found.verdict == "holds"
    assert found.lower < found.claimed
    assert found.canaries == 2000
    half = found.guesses // 2
    assert found.correct[0] > half  # the canaries do show
    assert replay(WAYS[name], network(), cross_entropy, X, Y).problems == ()


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_canaries_do_not_drive_an_adaptive_bound_away(quantile: float) -> None:
    way = replace(settings(), clip=Adaptive(1.0, quantile=quantile))
    coins = torch.arange(4000) % 2 == 0
    rows, targets = planted_rows(X, Y, coins, Relation.ADD_OR_REMOVE)
    source = SimulatedSource(Stream.of(0, "adaptive"))
    way = planted_settings(way, len(rows))
    assert way.count_noise == 15  # of the settings's own divisor
    training = way.training(Planted(network(), X, 4000), planted_loss(cross_entropy), rows, targets, source)
    _scores(training, 200, Relation.ADD_OR_REMOVE)
    assert isinstance(training.rule, Adaptive)
    assert 0.05 < training.rule.clip < 20


def test_a_small_public_set_has_as_many_canaries_as_rows() -> None:
    way = TrainerSettings(sampler=Shuffled(20, rows=60), clip=1.0, noise_multiplier=1.0)
    assert audited(way, steps=3).canaries == 60


@pytest.mark.parametrize("fault", ["no clip", "half noise"])
def test_audit_catches_what_every_canary_shows(fault: str) -> None:
    found = audited(FAULTS[fault](settings()), canaries=5000, runs=3)
    assert found.verdict == "broken"
    assert found.lower > found.claimed
    assert found.mu > 0


def test_layers_without_canaries_are_out_of_the_audits_sight() -> None:
    assert audited(FAULTS["one layer without noise"](settings())).verdict == "holds"


@pytest.mark.slow
def test_audit_catches_missing_noise_in_nine_of_ten_seeds() -> None:
    """A missing clip in the benchmark, too."""
    found = [audited(FAULTS["half noise"](settings()), seed=seed, canaries=5000, runs=3) for seed in range(10)]
    assert sum(each.verdict == "broken" for each in found) >= 9


@pytest.mark.slow
def test_the_honest_trainer_is_never_accused_in_twenty_audits() -> None:
    """A hundred are in the benchmark."""
    assert {audited(settings(), seed=seed, runs=3).verdict for seed in range(20)} == {"holds"}


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"canaries": 1}, "canaries = 1"),
        ({"canaries": 20_000}, "canaries = 20000"),
        ({"steps": 0}, "steps = 0"),
        ({"runs": 0}, "runs = 0"),
        ({"delta": 0.0}, "delta = 0"),
        ({"confidence": 1.0}, "confidence = 1"),
    ],
)
def test_settings_out_of_range_are_refused(other: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        audited(settings(), **other)


def test_an_audit_needs_a_row() -> None:
    with pytest.raises(SettingsError, match="want at least one row"):
        self_audit(settings(), network(), cross_entropy, X[:0], Y[:0], steps=1, delta=DELTA)


def test_a_reduced_loss_is_refused() -> None:
    with pytest.raises(SettingsError, match="one loss per row"):
        self_audit(settings(), network(), nn.functional.cross_entropy, X, Y, steps=1, delta=DELTA)


def test_the_examples_of_the_guide_run() -> None:
    guide = (Path(__file__).parents[2] / "docs/dp-audit.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        exec(block, names)
    assert names["audit"].verdict == "holds"
    assert names["audit"].claimed <= 3.0
    assert names["replayed"].problems == ()
