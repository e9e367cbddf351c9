"""Votes under noise against closed forms, and the bracket of the smoothed model against models whose truth is known."""

import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from sklearn.ensemble import RandomForestClassifier
from torch import nn

from veriward.adapters.opened import open_subject
from veriward.checks.certify.eot import EOT, Soft
from veriward.checks.certify.smoothed import CHUNK, Smoothed
from veriward.checks.certify.smoothed_bracket import SmoothedBracket
from veriward.checks.certify.smoothing import Smoothing, best_sigma
from veriward.checks.certify.smoothing_rows import Attack, Certify, needed, smoothed, unit
from veriward.checks.certify.votes import chance_at_least, prediction, radius
from veriward.core import basis
from veriward.core.ball import Ball, flat_ball
from veriward.core.streams import Stream
from veriward.core.subject import Subject

from .measure import Linear, drawn, measure, subject_of

ALPHA = 0.001
L2 = {"evasion": {"norm": ["l2"]}}


def planes(classes: int = 2, rows: int = 60, columns: int = 12) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """Rows, weights, and each row's exact L2 distance from the nearest other class."""
    x, weight = drawn(7, rows, columns, classes)
    w, scores = weight.double().numpy(), x.astype(np.float64) @ weight.double().numpy().T
    y = scores.argmax(1)
    apart = np.linalg.norm(w[y][:, None] - w[None], axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = (scores[np.arange(rows), y][:, None] - scores) / apart
    return x, weight, np.where(np.arange(classes) == y[:, None], np.inf, needed).min(1)


def linear_subject(eps: float, *, classes: int = 2, kind: str = "image", **more: Any) -> tuple[Subject, np.ndarray]:
    x, weight, reach = planes(classes)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    shaped = x.reshape(-1, 1, 3, 4) if kind == "image" else x
    threat = {"evasion": {"norm": ["l2"], "eps": [eps]}}
    settings = {"kind": "tabular" if kind == "table" else kind, "bounds": (-100.0, 100.0)}
    return subject_of(Linear(weight), shaped, y, input=settings, threat=threat, **more), reach


class TestVotes:
    """The statistics, on their own."""

    def test_published_radii(self) -> None:
        # Cohen et al. 2019, section 3.2.2: with 100 000 unanimous draws at alpha = .001 the radius is 3.8 sigma
        assert radius(np.array([100_000]), 100_000, ALPHA)[0] == pytest.approx(3.81, abs=0.01)
        assert radius(np.array([1000]), 1000, ALPHA)[0] == pytest.approx(norm.ppf(ALPHA ** (1 / 1000)), rel=1e-6)

    @pytest.mark.parametrize("n", [20, 100])
    def test_the_limit_is_above_the_chance_in_at_most_alpha_of_all_cases(self, n: int) -> None:
        low = chance_at_least(np.arange(n + 1), n, 0.01)
        assert (np.diff(low) > 0).all()
        for chance in np.linspace(0.01, 0.99, 99):
            assert binom.pmf(np.arange(n + 1), n, chance)[low > chance].sum() <= 0.01

    def test_predictions_are_wrong_in_at_most_alpha_of_all_cases(self) -> None:
        n = 60
        votes = np.stack([np.arange(n + 1), n - np.arange(n + 1)], axis=1)
        told = prediction(votes, 0.05)
        for chance in np.linspace(0.01, 0.499, 50):  # of class 0: class 1 is the truth
            assert binom.pmf(np.arange(n + 1), n, chance)[told == 0].sum() <= 0.05 / 2 + 1e-12

    def test_ties_and_near_ties_abstain(self) -> None:
        assert prediction(np.array([[500, 500], [510, 490], [0, 0]]), ALPHA).tolist() == [-1, -1, -1]
        assert prediction(np.array([[334, 333, 333], [600, 400, 0]]), ALPHA).tolist() == [-1, 0]
        assert (radius(np.array([0, 400, 500, 510]), 1000, ALPHA) == 0).all()

    def test_a_row_is_sure_only_beyond_half(self) -> None:
        hits = np.arange(1001)
        sure = radius(hits, 1000, ALPHA)
        assert ((sure > 0) == (chance_at_least(hits, 1000, ALPHA) > 0.5)).all()
        assert (np.diff(sure[sure > 0]) > 0).all()


class TestTested:
    """Shares of rows that were told by tests which err."""

    KIND: ClassVar = {"kind": "tested", "k": 60, "n": 100}

    @pytest.mark.parametrize(("false_yes", "false_no"), [(0.1, 0.0), (0.0, 0.1), (0.05, 0.2)])
    def test_the_interval_covers_the_truth_whatever_the_errors_do(self, false_yes: float, false_no: float) -> None:
        n = 40
        ends = [
            basis.interval({"kind": "tested", "k": k, "n": n, "false_yes": false_yes, "false_no": false_no})
            for k in range(n + 1)
        ]
        for truth in np.linspace(0, 1, 21):
            for q in np.linspace(truth * (1 - false_no), truth + (1 - truth) * false_yes, 7):
                covered = [low - 1e-12 <= truth <= high + 1e-12 for low, high in ends]
                assert binom.pmf(np.arange(n + 1), n, q)[covered].sum() >= 0.95 - 1e-9

    def test_without_errors_it_is_the_binomial(self) -> None:
        plain, tested = {"kind": "binomial", "k": 60, "n": 100}, {**self.KIND, "false_yes": 0.0, "false_no": 0.0}
        for ask in (basis.value, basis.interval, basis.rows):
            assert ask(plain) == ask(tested)
        assert basis.p_above(plain, 0.5) == basis.p_above(tested, 0.5)
        assert basis.p_below(plain, 0.7) == basis.p_below(tested, 0.7)

    def test_errors_cost_p_values_and_reach(self) -> None:
        tested = {**self.KIND, "false_yes": 0.02, "false_no": 0.02}
        plain = {**self.KIND, "false_yes": 0.0, "false_no": 0.0}
        assert basis.p_above(tested, 0.5) > basis.p_above(plain, 0.5)
        assert basis.p_below(tested, 0.7) > basis.p_below(plain, 0.7)
        settings = {"level": 0.05, "power": 0.9}
        assert basis.reach(tested, 0.5, upwards=True, **settings) > basis.reach(plain, 0.5, upwards=True, **settings)
        assert basis.reach(tested, 0.5, upwards=False, **settings) < basis.reach(plain, 0.5, upwards=False, **settings)

    def test_p_value_and_interval_agree(self) -> None:
        tested = {**self.KIND, "false_yes": 0.03, "false_no": 0.0}
        low, _ = basis.interval(tested)
        assert basis.p_above(tested, low) == pytest.approx(0.025, rel=1e-6)


class TestSmoothed:
    """The model itself."""

    @staticmethod
    def model(sigma: float = 0.5, seed: int = 0) -> Smoothed:
        return Smoothed(lambda z: (z.flatten(1).sum(1) > 0).long(), 2, torch.tensor(sigma), Stream.of(seed, "votes"))

    def test_a_rows_votes_do_not_hang_on_its_company(self) -> None:
        z = Stream.of(1, "z").normal(torch.arange(50), (3, 5)) / 4
        numbers = torch.arange(50) + 100
        whole = self.model().votes(z, numbers, 150, "estimate")
        part = torch.tensor([44, 3, 17])
        assert torch.equal(self.model().votes(z[part], numbers[part], 150, "estimate"), whole[part])
        assert not torch.equal(self.model().votes(z, numbers + 1, 150, "estimate"), whole)
        assert not torch.equal(self.model(seed=1).votes(z, numbers, 150, "estimate"), whole)

    def test_more_draws_only_add_to_fewer(self) -> None:
        z, numbers = torch.zeros(4, 3), torch.arange(4)
        few, many = (
            [noisy for _, noisy in self.model().disturbed(z, numbers, draws, "estimate")] for draws in (70, 200)
        )
        assert torch.equal(torch.cat(few, 1), torch.cat(many, 1)[:, :70])
        assert torch.cat(many, 1).shape == (4, 200, 3)

    def test_choosing_and_estimating_use_independent_noise(self) -> None:
        z, numbers = torch.zeros(8, 100), torch.arange(8)
        first, second = (
            torch.cat([n for _, n in self.model(1.0).disturbed(z, numbers, 256, name)], 1).flatten()
            for name in ("choose", "estimate")
        )
        assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 4 / math.sqrt(len(first))
        assert float(first.mean()) == pytest.approx(0, abs=4 / math.sqrt(len(first)))
        assert float(first.std()) == pytest.approx(1, abs=0.01)

    def test_votes_follow_the_normal_law(self) -> None:
        z = torch.linspace(-1, 1, 9)[:, None]
        share = self.model(0.5).votes(z, torch.arange(9), 4000, "estimate")[:, 1] / 4000
        expected = norm.cdf(z[:, 0].numpy() / 0.5)
        assert np.abs(share.numpy() - expected).max() < 4.5 * 0.5 / math.sqrt(4000)

    def test_numbers_with_no_noise_stay(self) -> None:
        model = Smoothed(lambda z: z[:, 0].long(), 2, torch.tensor([0.0, 1.0]), Stream.of(0, "still"))
        _, noisy = next(model.disturbed(torch.tensor([[1.0, 2.0]]), torch.arange(1), CHUNK, "estimate"))
        assert (noisy[..., 0] == 1).all()
        assert noisy[..., 1].std() > 0.5

    def test_it_is_a_model_that_can_be_assessed(self) -> None:
        x, weight, _ = planes()
        y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
        live = Smoothed(
            lambda z: (z.float() @ weight.T).argmax(1), 2, torch.tensor(0.3), Stream.of(0, "live"), draws=128
        )
        again = live(x[::-1].copy()).flip(0)
        assert torch.equal(live(x), again)
        opened = open_subject(subject_of(live, x, y, output="probabilities"), device="cpu")
        assert opened.access == "scores"
        found = measure("reliability/accuracy", subject_of(live, x, y, output="probabilities"))
        accuracy = next(e for e in found.estimates if e.metric == "clean_accuracy")
        assert accuracy.value is not None
        assert accuracy.value > 0.8


class TestClosedForm:
    """For two classes and a plane, the smoothed model is the plane."""

    def test_radii_stay_below_the_distances_and_come_near(self) -> None:
        eps = 1.0
        subject, reach = linear_subject(eps)
        opened = open_subject(subject, device="cpu")
        threat = Smoothing().threats(opened)[0]
        work = Certify(threat, Stream.of(0, "noise"), 100, 1000, ALPHA)
        for sigma in (0.5, 1.0):
            found = work(opened, (sigma, list(range(60))))
            got = found["radius"] * eps
            assert (got <= reach).sum() >= 59  # each is false with a chance of .001
            fewest = binom.ppf(1e-5, 1000, norm.cdf(reach / (sigma * eps)))  # votes, but for bad luck
            assert (got >= sigma * eps * radius(fewest, 1000, ALPHA)).all()

    @pytest.mark.slow
    def test_with_many_draws_radii_are_the_distances(self) -> None:
        subject, reach = linear_subject(1.0)
        opened = open_subject(subject, device="cpu")
        work = Certify(Smoothing().threats(opened)[0], Stream.of(0, "noise"), 100, 100_000, ALPHA)
        rows = np.flatnonzero((reach > 0.4) & (reach < 2.5))[:25]
        got = work(opened, (1.0, rows.tolist()))["radius"]
        assert (got <= reach[rows]).all()
        assert (got >= 0.95 * reach[rows]).all()

    @pytest.mark.parametrize("kind", ["image", "table"])
    def test_the_bracket_holds_the_truth_row_by_row(self, kind: str) -> None:
        eps = float(np.quantile(planes()[2], 0.5))
        subject, reach = linear_subject(eps, kind=kind)
        found = measure("certify/smoothing", subject, rows=60, steps=10)
        certified, robust = found.outcomes["certified"] == 1, found.outcomes["robust"] == 1
        assert not (certified & (reach <= eps)).any()
        assert not (~robust & (reach > eps)).any()
        assert certified.sum() >= 0.6 * (reach > eps).sum()
        assert (~robust).sum() >= 0.7 * (reach < eps).sum()
        values = {e.metric: e for e in found.estimates}
        truth = float((reach > eps).mean())
        assert values["certified_accuracy"].value <= truth <= values["robust_accuracy"].value
        assert values["certified_accuracy"].value == pytest.approx(certified.mean())
        assert {e.metric: e.bound for e in found.estimates} == {
            "certified_accuracy": "lower",
            "robust_accuracy": "upper",
            "clean_accuracy": "lower",
            "abstained_share": "exact",
        }
        assert not found.alarms

    def test_several_classes_are_certified_no_farther_than_the_smoothed_model_stands(self) -> None:
        eps = 0.4
        subject, _ = linear_subject(eps, classes=4)
        opened = open_subject(subject, device="cpu")
        threat = Smoothing().threats(opened)[0]
        found = measure("certify/smoothing", subject, rows=60)
        rows = np.flatnonzero(found.outcomes["certified"] == 1)
        assert len(rows) > 10
        sigma = found.estimates[0].at["sigma"]
        model = smoothed(opened, threat, sigma, Stream.of(5, "other noise"))
        clean, y = opened.encoded("test", rows.tolist()), opened.targets["test"][rows]
        for step in range(4):  # at random points of the sphere the answer is the same, by votes of other noise
            way = Stream.of(0, "way").normal(torch.arange(len(rows)), clean.shape[1:], step)
            z = clean + eps * way / way.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            told = prediction(model.votes(z, torch.as_tensor(rows), 400, "sphere").numpy(), ALPHA)
            assert ((told == y.numpy()) | (told == -1)).all()
            assert (told == y.numpy()).mean() > 0.8


class TestColumns:
    """Budgets of their own in tables."""

    def test_certificates_reach_over_the_widest_budget(self) -> None:
        clean = torch.zeros(2, 3)
        radii = torch.tensor([[1.0, 2.0, 0.0], [4.0, 1.0, 0.0]])
        ball = Ball(clean, clean - radii, clean + radii, radii, "l2")
        assert needed(ball, torch.tensor([1.0, 1.0, 0.0])).tolist() == [2.0, 4.0]
        assert needed(ball, torch.tensor([0.0, 1.0, 0.0]))[0] == math.inf
        corners = torch.nn.functional.normalize(Stream.of(0, "way").normal(torch.arange(2), (500, 3)), dim=2)
        moved = (corners * radii[:, None] / torch.tensor([1.0, 1.0, 1.0])).norm(dim=2).amax(1)
        assert (moved <= torch.as_tensor(needed(ball, torch.ones(3)))).all()

    def test_shares_of_the_rows_own_values_get_one_noise_for_all_rows(self) -> None:
        x, weight, _ = planes()
        y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
        features = {f"x{i}": {"change": "20%"} for i in range(12)} | {"x3": {"mutable": False}}
        settings = {"kind": "tabular"}
        subject = subject_of(Linear(weight), x, y, input=settings, features=features, threat=L2)
        opened = open_subject(subject, device="cpu")
        scale = unit(opened, Smoothing().threats(opened)[0])
        assert scale.shape == (12,)
        assert scale[3] == 0
        assert (scale > 0).sum() == 11
        assert torch.allclose(scale[:3], torch.as_tensor(np.abs(x[:, :3]).mean(0) * 0.2).double(), rtol=1e-5)
        found = measure("certify/smoothing", subject, rows=60)
        assert set(found.outcomes["certified"].tolist()) <= {0, 1}

    def test_a_forest_is_certified_without_gradients(self) -> None:
        generator = np.random.default_rng(0)
        x = generator.normal(size=(200, 4))
        y = (x[:, 0] > 0).astype(int)
        forest = RandomForestClassifier(10, random_state=0).fit(x, y)
        threat = {"evasion": {"norm": ["l2"], "eps": [0.3]}}
        subject = subject_of(forest.predict_proba, x, y, output="probabilities", threat=threat)
        found = measure("certify/smoothing", subject, rows=40, draws=300)
        assert found.outcomes["certified"].max() == 1
        assert (found.outcomes["broken"] <= 0).all()
        assert "smoothing.not_attacked" in [item.code for item in found.untested]


class TestAttack:
    """Ascent in expectation over the noise."""

    def test_it_goes_straight_for_a_plane_and_stays_in_the_ball(self) -> None:
        x, weight, reach = planes()
        clean = torch.as_tensor(x)
        y = (clean @ weight.T).argmax(1)
        eps = float(np.median(reach))
        ball = flat_ball(clean, eps, "l2")
        soft = Soft(lambda z: z @ weight.T, "logits", torch.tensor(0.5 * eps))
        found, margin = EOT(16, 20).run(soft, ball, y, torch.arange(60), Stream.of(0, "attack"))
        assert (ball.share(found) <= 1 + 1e-9).all()
        fell = ((found @ weight.T).argmax(1) != y).numpy()
        assert not fell[reach > eps * 1.001].any()
        assert fell[reach < eps * 0.8].all()
        assert (margin[torch.as_tensor(reach < eps * 0.6)] > 0).all()

    def test_company_changes_nothing(self) -> None:
        eps = float(np.median(planes()[2]))
        opened = open_subject(linear_subject(eps)[0], device="cpu")
        threat = Smoothing().threats(opened)[0]
        attack = Attack(threat, Stream.of(0, "noise"), EOT(8, 6, 2), 50, 200, ALPHA)
        certify = Certify(threat, Stream.of(0, "noise"), 50, 200, ALPHA)
        whole, every = attack(opened, (0.5, list(range(60)), 0)), certify(opened, (0.5, list(range(60))))
        assert 0 < whole["broken"].sum() < 60
        for rows in ([7], [50, 3, 20]):
            assert attack(opened, (0.5, rows, 0))["broken"].tolist() == whole["broken"][rows].tolist()
            part = certify(opened, (0.5, rows))
            for name, values in part.items():
                assert values.tobytes() == every[name][rows].tobytes(), name

    def test_saturated_scores_still_have_a_slope(self) -> None:
        x, weight, _ = planes()
        clean = torch.as_tensor(x)
        y = (clean @ weight.T).argmax(1)
        soft = Soft(lambda z: 300 * (z @ weight.T), "logits", torch.tensor(0.01))
        _, gradient = soft.slope(clean, torch.zeros(60, 4, 12), y)
        assert (gradient.flatten(1).norm(dim=1) > 0).all()


class Hidden(nn.Module):
    """Tells noisy inputs, which are rarely whole numbers, from clean ones, and answers each kind as it likes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 2)."""
        noisy = (x != x.round()).flatten(1).any(1)
        return torch.stack([noisy.float(), 1 - noisy.float()], dim=1) + 0 * x.flatten(1).sum(1, keepdim=True)


class TestCheck:
    """What the check promises around the maths."""

    @staticmethod
    def bracket(broken: list[int], n: int = 100) -> SmoothedBracket:
        y = np.zeros(n, np.int64)
        flags = np.zeros(n, np.int8)
        flags[broken] = 1
        sure = SmoothedBracket(y, y, np.full(n, 2.0), y, ALPHA)
        return sure.after(np.arange(n), [{"broken": flags, "witnesses": []}])

    def test_broken_certificates_are_withdrawn_and_more_than_chance_allows_are_an_alarm(self) -> None:
        one, many = self.bracket([4]), self.bracket([4, 8, 15])
        assert one.alarms(np.arange(100)) == ()
        (alarm,) = many.alarms(np.arange(100) + 1000)
        assert alarm.values == {"count": 3, "allowed": 0.1, "rows": "1004, 1008, 1015"}
        assert int(many.certified.sum()) == int(many.possible.sum()) == 97

    def test_rows_that_abstain_are_no_success_of_the_attacker(self) -> None:
        y = np.zeros(4, np.int64)
        told = np.array([0, -1, 1, -1])
        found = SmoothedBracket(y, y, np.array([2.0, 0.0, 0.0, 0.0]), told, ALPHA)
        values = {e.metric: e.value for e in found.estimates({})}
        assert values == {
            "certified_accuracy": 0.25,
            "robust_accuracy": 0.75,
            "clean_accuracy": 0.25,
            "abstained_share": 0.5,
        }
        where = found.to_attack(np.random.default_rng(0), 0.05, 50)
        assert where.tolist() == [0, 1, 3]

    def test_the_smoothed_model_is_judged_not_the_base(self) -> None:
        x = np.random.default_rng(0).integers(0, 3, size=(40, 4)).astype(np.float32)
        threat = {"evasion": {"norm": ["l2"], "eps": [0.5]}}
        y = np.ones(40, np.int64)
        y[0] = 0
        found = measure("certify/smoothing", subject_of(Hidden(), x, y, threat=threat))
        values = {e.metric: e.value for e in found.estimates}
        assert values["clean_accuracy"] == values["robust_accuracy"] == 1 / 40  # the base alone is right on all others
        assert found.assumptions[0].code == "smoothing.another_model"

    def test_noise_is_chosen_on_training_rows(self) -> None:
        x, weight, reach = planes(rows=120)
        y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
        threat = {"evasion": {"norm": ["l2"], "eps": [float(np.quantile(reach, 0.2))]}}
        data = {"train": (x[60:], y[60:])}
        found = measure("certify/smoothing", subject_of(Linear(weight), x[:60], y[:60], data=data, threat=threat))
        told = next(item for item in found.assumptions if item.code == "smoothing.sigma_chosen")
        assert told.values["rows"] == 24
        assert found.estimates[0].at["sigma"] in (0.5, 1.0, 2.0)
        assert best_sigma([9, 9, 9], 8) == 0.5

    def test_it_refuses_what_it_cannot_certify(self) -> None:
        x, weight, _ = planes()
        y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
        check = Smoothing()
        linf = open_subject(subject_of(Linear(weight), x, y), device="cpu")
        assert check.refuse(linf).code == "evasion.other_norm"  # type: ignore[union-attr]  # refused
        x[:, 2] = x[:, 2] > 0
        features = {"x2": {"kind": "boolean", "change": "any"}}
        settings = {"kind": "tabular"}
        jumps = subject_of(Linear(weight), x, y, threat=L2, features=features, input=settings)
        told = check.refuse(open_subject(jumps, device="cpu"))
        assert told is not None
        assert (told.code, told.values["columns"]) == ("smoothing.jumps", "x2")

    def test_each_eps_is_a_finding_about_another_model_than_evasion_attacks(self) -> None:
        subject, _ = linear_subject(0.5)
        both = subject.model_copy(update={"threat": Subject.model_validate({**_bare(), "threat": _two()}).threat})
        threats = Smoothing().threats(open_subject(both, device="cpu"))
        assert [t.knobs for t in threats] == [{"norm": "l2", "eps": 0.2}, {"norm": "l2", "eps": 0.4}]
        assert {t.goal for t in threats} == {"misclassify_smoothed"}


def _bare() -> dict[str, Any]:
    return {"model": len, "data": {"test": ([[0.0]], [0])}}


def _two() -> dict[str, Any]:
    return {"evasion": {"norm": ["l2"], "eps": [0.2, 0.4]}}
