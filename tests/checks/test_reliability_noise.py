"""Everyday trouble: each kind does what it says, inside the bounds, the same for a row in any company."""

from typing import Any

import numpy as np
import pytest
import torch

from veriward.adapters.opened import Opened, open_subject
from veriward.checks.registry import registry
from veriward.checks.reliability import cells, pictures
from veriward.checks.reliability.disturb import Disturb, deviations, suitable
from veriward.core.data import Table
from veriward.core.streams import Stream
from veriward.core.subject import Subject
from veriward.core.table_domain import Column

from .measure import Linear, measure, measure_opened, subject_of

NAME = "reliability/noise"
STREAM = Stream.of(0, "test")
SHAPES = [(1, 8, 8), (3, 16, 12), (16, 16, 3), (9, 9), (40,), (2, 3, 8, 8)]
COLUMNS = (
    Column("a", "numeric", 0.0, 10.0, span=10.0),
    Column("b", "integer", 0.0, 100.0, span=100.0, dtype="<i8"),
    Column("c", "category", 0.0, 1.0, vocabulary=("x", "y"), dtype="O"),
    Column("d", "integer", 0.0, 200.0, span=200.0, dtype="|u1"),
)


def picture(shape: tuple[int, ...], rows: int = 70) -> torch.Tensor:
    return STREAM.uniform(torch.arange(rows), shape) * 4 - 1  # in [-1, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_stay_in_their_bounds_and_rows_are_alike_in_any_company(shape: tuple[int, ...]) -> None:
    x, rows = picture(shape), torch.arange(70)
    for name in pictures.suitable(shape):
        for severity in (1, 5):
            moved = pictures.corrupt(name, severity, x, (-1.0, 3.0), STREAM, rows)
            assert moved.shape == x.shape
            assert moved.dtype == x.dtype
            assert bool(((moved >= -1) & (moved <= 3)).all())
            some = torch.tensor([69, 3, 40])
            alone = pictures.corrupt(name, severity, x[some], (-1.0, 3.0), STREAM, rows[some])
            assert torch.equal(moved[some], alone), name
        mild, strong = (pictures.corrupt(name, s, x, (-1.0, 3.0), STREAM, rows) for s in (1, 5))
        if name != "translate":  # of white noise, every shift is alike
            assert (strong - x).abs().mean() >= (mild - x).abs().mean(), name


def test_what_has_no_plane_gets_no_blur() -> None:
    assert "gaussian_blur" in pictures.suitable((1, 8, 8))
    assert "gaussian_blur" not in pictures.suitable((40,))
    assert "gaussian_blur" not in pictures.suitable((3, 1, 1))


def test_pictures_by_hand() -> None:
    grey, rows = torch.full((500, 1, 8, 8), 0.5), torch.arange(500)

    def of(name: str, severity: int = 1, x: torch.Tensor = grey) -> torch.Tensor:
        return pictures.corrupt(name, severity, x, (0.0, 1.0), STREAM, rows[: len(x)])

    assert torch.allclose(of("brightness", 2), torch.tensor(0.7))
    assert torch.allclose(of("darkness", 2), torch.tensor(0.3))
    for name in ("contrast", "gaussian_blur", "motion_blur", "pixelate", "translate"):
        assert torch.allclose(of(name, 3), grey), name
    assert of("gaussian_noise", 1).std() == pytest.approx(0.08, rel=0.02)
    assert of("speckle_noise", 1).std() == pytest.approx(0.075, rel=0.02)
    assert of("shot_noise", 3).var() == pytest.approx(0.5 / 12, rel=0.05)  # clipping at 1 is rare
    salted = of("impulse_noise", 5)
    assert ((salted == 0) | (salted == 1)).float().mean() == pytest.approx(0.27, rel=0.05)
    assert (of("occlusion", 5, torch.zeros(9, 1, 8, 8)) == 0.5).sum() == 9 * 16
    ramp = torch.linspace(0, 1, 8).expand(40, 1, 8, 8)
    assert set((of("translate", 5, ramp)[:, 0, 4, 3] * 7).round().tolist()) <= {1.0, 3.0, 5.0}


def world(z: torch.Tensor) -> cells.World:
    return cells.World(COLUMNS, cells.spread_of(COLUMNS, z), z.roll(1, 0))


def table(rows: int = 400) -> torch.Tensor:
    u = STREAM.child("table").uniform(torch.arange(rows), (4,)).double()
    return torch.stack([u[:, 0] * 10, (u[:, 1] * 100).round(), (u[:, 2] > 0.5).double(), (u[:, 3] * 200).round()], 1)


def test_cells_are_hit_as_often_as_it_says_and_alike_in_any_company() -> None:
    z, rows = table(), torch.arange(400)
    some = torch.tensor([399, 7, 80])
    for name, kind in cells.TROUBLES.items():
        moved = cells.disturb(name, 3, z, world(z), STREAM, rows)
        few = cells.World(COLUMNS, world(z).deviation, world(z).others[some])
        assert torch.equal(
            moved[some].nan_to_num(-1), cells.disturb(name, 3, z[some], few, STREAM, rows[some]).nan_to_num(-1)
        )
        if kind.words is None:
            assert not torch.equal(moved, z), name
    lost = torch.isnan(cells.disturb("missing_numbers", 5, z, world(z), STREAM, rows))
    assert lost[:, [0, 1, 3]].float().mean() == pytest.approx(0.4, abs=0.05)
    assert not lost[:, 2].any()


def test_whole_numbers_stay_whole_and_inside_their_type() -> None:
    z, rows = table(), torch.arange(400)
    for name in ("gaussian_noise", "unit_error", "out_of_range", "swapped_columns", "stale_cells"):
        moved = cells.disturb(name, 5, z, world(z), STREAM, rows)
        assert torch.equal(moved[:, 1], moved[:, 1].round()), name
        assert bool(((moved[:, 3] >= 0) & (moved[:, 3] <= 255)).all()), name


def test_one_number_of_a_row_gets_another_unit() -> None:
    z, rows = table() + 1, torch.arange(400)
    moved = cells.units(z, 100.0, world(z), STREAM, rows)
    assert ((moved != z).sum(1) == 1).all()
    ratio = (moved / z)[moved != z]
    assert set(ratio.round(decimals=6).tolist()) == {100.0, 0.01}


def test_values_leave_the_range_by_a_share_of_it() -> None:
    z = table()
    moved = cells.beyond(z, 0.5, world(z), STREAM, torch.arange(400))
    assert set(moved[:, 0][moved[:, 0] != z[:, 0]].tolist()) == {-5.0, 15.0}


def test_noise_has_the_size_of_the_training_spread() -> None:
    z = table(4000)
    middle = torch.full_like(z, 5.0)
    moved = cells.noise(middle, 0.05, world(z), STREAM, torch.arange(4000))
    assert (moved - middle)[:, 0].std() == pytest.approx(0.05 * float(z[:, 0].std()), rel=0.05)
    assert bool((moved[:, 0] >= 0).all())


def test_words_are_lost_or_never_seen() -> None:
    z, rows = table(), torch.arange(400)
    text = Table({"a": z[:, 0].numpy(), "c": np.array(["x", "y"] * 200, dtype=object)})
    places = cells.World((COLUMNS[0], COLUMNS[2]), torch.zeros(2), z)
    lost = cells.reword("missing_categories", 5, text, places, STREAM, rows)
    assert np.mean([v is None for v in lost.columns["c"]]) == pytest.approx(0.4, abs=0.08)
    strange = cells.reword("unseen_categories", 5, text, places, STREAM, rows)
    assert set(strange.columns["c"]) == {"x", "y", cells.STRANGER}
    assert set(text.columns["c"]) == {"x", "y"}, "the rows at hand stay as they are"


def frames(model: Any, **columns: Any) -> Opened:
    y = np.arange(300) % 2
    data = {"test": {"a": np.where(y, 1.0, -1.0), **columns, "y": y}, "label": "y"}
    values = {"task": "classification", "model": {"live": model, "output": "logits"}, "data": data}
    return open_subject(Subject.model_validate(values), device="cpu")


def test_a_model_that_refuses_gaps_is_told_as_one() -> None:
    def strict(frame: Any) -> np.ndarray:
        if frame["a"].isna().any():
            raise ValueError(f"NaN in row {int(frame['a'].isna().argmax())}")
        if not set(frame["c"]) <= {"u", "v"}:
            raise KeyError("private words")
        return np.stack([-frame["a"], frame["a"]], axis=1)

    found = measure_opened(NAME, frames(strict, c=np.array(["u", "v", "v"] * 100, dtype=object)))
    refused = {n.values["corruption"] for n in found.untested if n.code == "reliability.refused"}
    assert refused == {"missing_numbers", "missing_categories", "unseen_categories"}
    assert not refused & {e.at.get("corruption") for e in found.estimates}
    assert "private words" not in str(found.to_dict())


def test_a_model_that_fails_on_plain_noise_is_an_error() -> None:
    def broken(frame: Any) -> np.ndarray:
        if (frame["a"].abs() != 1.0).any():
            raise ValueError("never expected noise")
        return np.stack([-frame["a"], frame["a"]], axis=1)

    with pytest.raises(Exception, match="never expected noise"):
        measure_opened(NAME, frames(broken))


def test_a_tie_of_nothing_and_the_worst_trouble_are_told() -> None:
    weight = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    x = np.stack([np.where(np.arange(200) % 2, 1.0, -1.0), np.linspace(0, 1, 200)], axis=1).astype(np.float32)
    found = measure(NAME, subject_of(Linear(weight), x, np.arange(200) % 2, input={"kind": "tabular"}))
    drops = {e.at["corruption"]: e.value for e in found.estimates if e.metric == "accuracy_drop"}
    (worst,) = (n for n in found.assumptions if n.code == "reliability.worst_drop")
    assert worst.values["corruption"] == max(drops, key=lambda name: drops[name] or 0)
    assert all(0 <= w.row < 200 for w in found.witnesses)
    assert found.witnesses
    kept = found.outcomes["kept"]
    assert np.nanmin(kept) >= 0
    assert np.nanmax(kept) <= 1


@pytest.mark.parametrize("batch_size", [1, 64, 500])
def test_the_size_of_batches_changes_nothing(batch_size: int) -> None:
    x = picture((1, 8, 8), 150).numpy()
    weight = torch.as_tensor(np.random.default_rng(0).normal(size=(3, 64))).float()
    subject = subject_of(Linear(weight), x, np.arange(150) % 3, input={"bounds": (-1.0, 3.0)})
    for name in ("reliability/accuracy", NAME, "reliability/slices"):
        plain, other = measure(name, subject), measure(name, subject, batch_size=batch_size)
        assert plain.estimates == other.estimates
        assert all(np.array_equal(plain.outcomes[k], other.outcomes[k], equal_nan=True) for k in plain.outcomes)


def test_blocks_of_work_change_no_answer() -> None:
    opened = open_subject(
        subject_of(
            Linear(torch.eye(2)), table(200)[:, :2].float().numpy(), np.arange(200) % 2, input={"kind": "tabular"}
        ),
        device="cpu",
    )
    work = Disturb(STREAM, deviations(opened))
    for name in suitable(opened):
        whole = work(opened, (name, 3, list(range(200))))
        parts = [work(opened, (name, 3, list(range(i, i + 50)))) for i in range(0, 200, 50)]
        assert whole["answer"].tolist() == np.concatenate([part["answer"] for part in parts]).tolist()


def test_regressions_tell_by_which_share_the_error_grows() -> None:
    x = np.stack([np.linspace(0, 10, 300), np.zeros(300)], axis=1)
    subject = Subject.model_validate(
        {
            "task": "regression",
            "model": {"live": lambda rows: np.asarray(rows)[:, 0], "output": "value"},
            "data": {"test": (x, x[:, 0] + np.where(np.arange(300) % 2, 1.0, -1.0))},
            "input": {"kind": "tabular"},
        }
    )
    found = measure(NAME, subject)
    increases = {e.at["corruption"]: e for e in found.estimates if e.metric == "error_increase"}
    assert (increases["out_of_range"].value or 0) > (increases["gaussian_noise"].value or 0)
    assert all(e.low is not None and e.low < e.high for e in increases.values() if e.value)  # type: ignore[operator]


def test_a_table_of_free_texts_alone_can_only_be_stale() -> None:
    opened = frames_of_text()
    assert suitable(opened) == ("stale_cells",)
    assert registry()[NAME].refuse(opened) is None


def frames_of_text() -> Opened:
    data = {
        "test": {"t": np.array([f"text {i}" for i in range(90)], dtype=object), "y": np.arange(90) % 2},
        "label": "y",
    }
    model = {"live": lambda frame: np.eye(2)[frame["t"].str.len() % 2], "output": "probabilities"}
    return open_subject(Subject.model_validate({"task": "classification", "model": model, "data": data}), device="cpu")
