"""Search and audit by `vw.train`: what epsilon pays for, what is told, what a killed search leaves."""

from pathlib import Path
from typing import Any

import pytest
import torch

from veriward.adapters.recipe import Rows
from veriward.core.errors import DataError, PrivacyError, SettingsError
from veriward.core.subject import Recipe, Subject
from veriward.privacy.dp import Ledger, SecureSource, composed, noise_multiplier
from veriward.privacy.dp.event_json import from_dict
from veriward.remedies.private_plan import plan
from veriward.remedies.private_search import _split, candidates, planned
from veriward.remedies.private_training import train

from .folders import SUBJECT, write

ASKED: dict[str, Any] = {"epsilon": 3.0, "delta": 1e-4}
GRID = "learning_rate=0.02,0.1;clip=0.5,automatic"


def test_a_grid_is_all_combinations() -> None:
    assert len(candidates("learning_rate=1,2,3;clip=1,automatic")) == 6
    assert candidates(" clip = 1 , 2 ") == ({"clip": 1.0}, {"clip": 2.0})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "clip",
        "clip=1",
        "epochs=1,2",
        "clip=0,1",
        "clip=nan,1",
        "learning_rate=automatic,1",
        "clip=" + ",".join("1" * 1001),
    ],
)
def test_what_is_no_grid_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="search"):
        candidates(text)


@pytest.mark.parametrize("way", ["all", "random", "public"])
def test_the_event_of_the_record_costs_what_is_claimed_and_pays_for_every_training(way: str, tmp_path: Path) -> None:
    told: list[Any] = []
    found = train(write(tmp_path), **ASKED, search=GRID, search_by=way, watch=told.append)
    said = found.record["search"]
    assert (said["kind"], said["candidates"], len(said["grid"])) == (way, 4, 4)
    assert said["best"] in said["grid"]
    event = from_dict(found.record["event"])
    cost = composed([event], delta=1e-4, accountant=said["accountant"])
    assert cost <= 3.0
    assert found.record["claim"]["epsilon"] == 3.0
    once = noise_multiplier(epsilon=3.0, delta=1e-4, sampling_rate=50 / 400, steps=32)
    assert found.record["terms"]["noise_multiplier"] > once
    assert bool(told) is (way != "random")  # how often random stopping trained is secret
    assert ("accuracy" in found.record) is (way != "public")  # the test rows have chosen
    assert found.record["notes"][-1]["code"] == f"privacy.search_{way}"
    subject = Subject.load(found.folder)
    assert subject.recipe is not None and subject.recipe.private is not None
    assert subject.recipe.private.learning_rate == said["best"]["learning_rate"]
    assert subject.recipe.private.clip == said["best"]["clip"]

    with Ledger(found.holder / "training.ledger") as ledger:
        before = ledger.spent
    again = train(tmp_path, **ASKED, search=GRID, search_by=way)
    with Ledger(found.holder / "training.ledger") as ledger:
        assert ledger.spent == before
    assert (again.finished.new_steps, again.record["search"]["best"]) == (0, said["best"])
    assert again.record["model"]["sha256"] == found.record["model"]["sha256"]


def test_a_search_that_was_killed_after_its_charge_stays_spent(tmp_path: Path) -> None:
    found = train(write(tmp_path), **ASKED, search=GRID)
    (found.holder / "search.json").unlink()
    with pytest.raises(PrivacyError, match="all or nothing"):
        train(tmp_path, **ASKED, search=GRID)


def test_other_candidates_are_refused_in_the_same_folder(tmp_path: Path) -> None:
    train(write(tmp_path), **ASKED, search=GRID)
    with pytest.raises(SettingsError, match="other terms"):
        train(tmp_path, **ASKED, search="clip=1,2")
    with pytest.raises(SettingsError, match="other terms"):
        train(tmp_path, **ASKED)


def test_more_candidates_need_more_noise_and_random_stopping_overtakes_in_the_end() -> None:
    agreed = plan(Recipe(build="net:build", epochs=20, batch_size=600), data_rows=60_000, epsilon=3.0, delta=1e-5)
    sigmas = {(way, n): planned(agreed, n, way)[0].noise_multiplier for way in ("all", "random") for n in (4, 40)}
    assert sigmas["all", 40] > sigmas["all", 4] > agreed.noise_multiplier
    assert sigmas["random", 40] < sigmas["all", 40]


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"search_by": "luck"}, SettingsError, "search_by"),
        ({"sampling": "shuffled"}, SettingsError, "want poisson or full"),
        ({"noise_multiplier": 9.0}, SettingsError, "leave it out"),
    ],
)
def test_bad_searches_are_refused_and_spend_nothing(
    options: dict[str, Any], kind: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=told):
        train(write(tmp_path), **ASKED, search=GRID, **options)
    assert not (tmp_path / "small-private").exists()


def test_regression_and_missing_public_rows_are_refused(tmp_path: Path) -> None:
    text = SUBJECT.replace('test = "data/test.csv"\n', "")
    with pytest.raises(DataError, match=r"data\.test"):
        train(write(tmp_path / "a", text), **ASKED, search=GRID, search_by="public")
    text = SUBJECT.replace('name = "small"', 'name = "small"\ntask = "regression"').replace(
        'classes = ["no", "yes"]\n', ""
    )
    home = write(tmp_path / "b", text)
    for name in ("train", "test"):
        file = home / f"data/{name}.csv"
        file.write_text(file.read_text().replace("yes", "1.5").replace("no", "0.5"))
    with pytest.raises(DataError, match="regression"):
        train(home, **ASKED, search=GRID)


@pytest.mark.slow
def test_the_audit_stands_in_the_record_and_reads_no_training_row(tmp_path: Path) -> None:
    audits = []
    for rows in (400, 380):
        found = train(write(tmp_path / str(rows), rows=rows), **ASKED, rows=500, audit=True)
        audits.append(found.record["audit"])
    assert audits[0] == audits[1]
    assert audits[0]["verdict"] == "holds"
    assert 0 < audits[0]["lower"] < audits[0]["claimed"] <= 3.0
    assert (audits[0]["canaries"], audits[0]["replay"], audits[0]["source"]) == (5000, [], "simulation")


def test_which_rows_are_held_out_is_secret_and_depends_on_no_place() -> None:
    """Coins that were fixed for each place would move with a row that is added or removed, and hold out other rows."""
    rows = Rows(torch.arange(200.0)[:, None], torch.zeros(200))
    found = [_split(rows, "all", SecureSource()) for _ in range(2)]
    kept = [set(part.x[:, 0].tolist()) for part, _ in found]
    assert kept[0] != kept[1]
    for part, held_out in found:
        assert held_out is not None and len(part) + len(held_out) == 200
