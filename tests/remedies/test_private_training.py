"""Private training from a subject to a subject: what is claimed, what is written, what is refused, what a crash leaves."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import veriward as vw
from veriward.adapters.opened import open_subject
from veriward.core.errors import (
    ArtefactError,
    BudgetExceeded,
    DataError,
    ModelError,
    PrivacyError,
    SettingsError,
    VeriwardError,
)
from veriward.core.subject import Recipe, Subject
from veriward.privacy.dp import Ledger, epsilon
from veriward.remedies import private_run
from veriward.remedies.private_plan import plan
from veriward.remedies.private_run import Moment
from veriward.remedies.private_training import PrivateModel, places, train

from .folders import SUBJECT, write

ASKED: dict[str, Any] = {"epsilon": 2.0, "delta": 1e-4}
RECIPE = Recipe(build="net:build", epochs=4, batch_size=50)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> PrivateModel:
    return vw.train(write(tmp_path_factory.mktemp("训 练")), **ASKED)


def test_the_claim_is_what_the_accountant_says_of_the_terms(trained: PrivateModel) -> None:
    terms, claim = trained.record["terms"], trained.record["claim"]
    cost = epsilon(
        noise_multiplier=terms["noise_multiplier"],
        sampling_rate=terms["rate"],
        steps=terms["steps_executed"],
        delta=1e-4,
    )
    assert 1.99 < cost <= 2.0
    assert (claim["epsilon"], claim["delta"], claim["unit"], claim["relation"]) == (2.0, 1e-4, "row", "zero-out")
    assert trained.record["accounted"]["epsilon"] == pytest.approx(cost)


def test_the_new_subject_claims_it_and_opens_without_code(trained: PrivateModel) -> None:
    subject = Subject.load(trained.folder)
    assert subject.name == "small-private"
    assert subject.claims is not None
    assert (subject.claims.epsilon, subject.claims.delta, subject.claims.relation) == (2.0, 1e-4, "zero-out")
    opened = open_subject(subject, code=False)
    assert (opened.task, opened.classes, len(opened.test)) == ("classification", ("no", "yes"), 200)
    assert trained.accuracy is not None
    found = (opened.model.scores(opened.encoded("test")).argmax(1) == opened.targets["test"]).double().mean()
    assert float(found) == trained.accuracy.value
    assert trained.accuracy.value > 0.7


def test_the_new_subject_can_be_trained_again_under_the_same_terms(trained: PrivateModel, tmp_path: Path) -> None:
    again = train(trained.folder, **ASKED, out=tmp_path / "again")
    keep = ("sampling", "rate", "batch_size", "clip", "noise_multiplier", "steps_executed")
    assert [again.record["terms"][key] for key in keep] == [trained.record["terms"][key] for key in keep]


def test_nothing_that_is_handed_out_depends_on_a_training_row_but_through_the_noise(tmp_path: Path) -> None:
    """With the number of rows declared, not even that: 400 and 399 rows give the same record, subject and example."""
    records = []
    for rows in (400, 399):
        found = train(write(tmp_path / str(rows), rows=rows), **ASKED, rows=500)
        record = {key: value for key, value in found.record.items() if key not in ("time", "accuracy")}
        record["model"] = {"file": record["model"]["file"]}
        records.append(
            (record, (found.folder / "subject.toml").read_text(), sorted(p.name for p in found.folder.iterdir()))
        )
    assert records[0] == records[1]
    assert records[0][0]["claim"]["relation"] == "add-or-remove-one"


def test_private_counts_and_the_ledger_stay_out_of_the_folder_to_hand_out(trained: PrivateModel) -> None:
    assert {p.name for p in trained.folder.iterdir()} == {"model.pt2", "net.py", "privacy.json", "subject.toml"}
    kept = {p.name for p in trained.holder.iterdir()}
    assert {"checkpoint.safetensors", "counts.json", "plan.json", "training.ledger"} <= kept
    assert "data" not in trained.record  # a hash of the rows would let anybody test a guess


def test_trained_again_it_trains_and_spends_nothing(trained: PrivateModel) -> None:
    with Ledger(trained.holder / "training.ledger") as ledger:
        before = ledger.spent
    again = train(Subject.load(trained.folder.parent), **ASKED)
    with Ledger(trained.holder / "training.ledger") as ledger:
        assert ledger.spent == before
    assert (again.finished.new_steps, again.finished.went_on) == (0, True)
    assert again.record["model"]["sha256"] == trained.record["model"]["sha256"]


def test_other_terms_or_data_are_refused_in_the_same_folder(trained: PrivateModel) -> None:
    home = trained.folder.parent
    with pytest.raises(SettingsError, match=r"epsilon 2.0 then, 3.0 now"):
        train(home, epsilon=3.0, delta=1e-4)
    with pytest.raises(SettingsError, match="seed 0 then, 1 now"):
        train(home, **ASKED, seed=1)


def test_two_trainings_differ_in_noise_and_share_first_weights(tmp_path: Path) -> None:
    home = write(tmp_path)
    hashes = {train(home, **ASKED, out=tmp_path / name).record["model"]["sha256"] for name in "ab"}
    assert len(hashes) == 2


@pytest.mark.parametrize("sampling", ["poisson", "shuffled", "fixed", "full"])
def test_every_sampler_keeps_epsilon(sampling: str) -> None:
    found = plan(RECIPE, data_rows=410, sampling=sampling, **ASKED)
    assert 1.9 < found.spent(found.steps) <= 2.0
    wanted = {
        "poisson": (33, "zero-out"),
        "shuffled": (32, "zero-out"),
        "fixed": (33, "replace-one"),
        "full": (4, "zero-out"),
    }
    assert (found.steps, found.relation.value) == wanted[sampling]
    assert found.steps % found.sampler.span == 0
    assert found.interval % found.sampler.span == 0


def test_a_declared_number_of_rows_is_the_public_one_and_protects_the_true_one() -> None:
    found = plan(RECIPE, data_rows=410, rows=1000, **ASKED)
    assert (found.rate, found.divisor, found.relation.value) == (0.05, 50.0, "add-or-remove-one")


def test_rows_of_one_person_together_cost_more() -> None:
    alone, together = (plan(RECIPE, data_rows=410, group=group, **ASKED) for group in (1, 3))
    assert together.noise_multiplier > 1.5 * alone.noise_multiplier
    assert together.unit == "3 rows together"


@pytest.mark.parametrize("mechanism", ["laplace", "tree", "banded"])
def test_every_mechanism_keeps_epsilon_and_trains(mechanism: str, tmp_path: Path) -> None:
    found = train(write(tmp_path), epsilon=20.0, delta=1e-4, mechanism=mechanism, epochs=2)
    assert 19.9 < found.record["accounted"]["epsilon"] <= 20.0
    terms = found.record["terms"]
    assert terms["noise"] == mechanism
    assert terms["sampling"] == ("poisson" if mechanism == "laplace" else "cyclic")
    assert terms["steps_executed"] == found.plan.steps == 16
    again = Subject.load(found.folder).recipe
    assert again is not None
    assert plan(again, data_rows=400, epsilon=20.0, delta=1e-4).noise_multiplier == found.plan.noise_multiplier


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mechanism": "banded", "sampling": "shuffled"}, "batches in one order"),
        ({"mechanism": "tree", "rows": 500}, "batches in one order"),
        ({"mechanism": "laplace", "group": 2}, "no bound for groups"),
        ({"mechanism": "banded", "clip": "adaptive"}, "a clip that stays"),
        ({"mechanism": "laplace", "sampling": "fixed"}, "no bound is known here for Laplace"),
        ({"mechanism": "uniform"}, "mechanism"),
    ],
)
def test_mechanisms_refuse_what_they_have_no_bound_for(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        plan(RECIPE, data_rows=410, **ASKED, **options)


def test_correlated_noise_costs_less_where_rows_come_often_and_is_charged_whole(tmp_path: Path) -> None:
    recipe = Recipe(build="net:build", epochs=20, batch_size=100)
    shuffled, banded = (
        plan(recipe, data_rows=1000, **ASKED, **more) for more in ({"sampling": "shuffled"}, {"mechanism": "banded"})
    )
    assert banded.noise_multiplier > shuffled.noise_multiplier  # per step; in the sum of steps it cancels
    assert (banded.span, banded.interval) == (200, 4)
    found = train(write(tmp_path), **ASKED, mechanism="banded")
    with Ledger(found.holder / "training.ledger") as ledger:
        assert [entry.count for entry in ledger.entries()] == [1]


@pytest.mark.parametrize(("mechanism", "left"), [("gaussian", 32), ("banded", 2)])
def test_interrupted_a_training_goes_on_where_its_noise_allows_it(mechanism: str, left: int, tmp_path: Path) -> None:
    """Correlated noise of the past is secret and in no checkpoint: it cannot be taken up again, and is paid for."""

    def stop(moment: Moment) -> None:
        if moment.steps == 2:
            raise KeyboardInterrupt

    home = write(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(home, **ASKED, mechanism=mechanism, watch=stop)
    found = train(home, **ASKED, mechanism=mechanism)
    assert (found.record["terms"]["steps_executed"], found.plan.steps) == (left, 32)
    assert found.record["claim"]["epsilon"] == 2.0
    lost = [n["values"] for n in found.record["notes"] if n["code"] == "privacy.lost_steps"]
    assert lost == ([] if left == 32 else [{"lost": 30, "steps": 32}])


def test_options_overrule_the_private_recipe_which_overrules_the_recipe() -> None:
    recipe = Recipe.model_validate({**RECIPE.model_dump(), "private": {"batch_size": 80, "clip": 0.5}})
    found = plan(recipe, data_rows=800, batch_size=100, **ASKED)
    assert (found.batch_size, found.clip, found.epochs) == (100, 0.5, 4)


def test_noise_that_is_too_small_is_refused_and_more_than_enough_claims_less() -> None:
    with pytest.raises(SettingsError, match="more than 2"):
        plan(RECIPE, data_rows=400, noise_multiplier=0.5, **ASKED)
    assert plan(RECIPE, data_rows=400, noise_multiplier=10.0, **ASKED).epsilon < 0.5


BAD: list[tuple[str, dict[str, Any], type[VeriwardError], str]] = [
    (SUBJECT.replace("net:build", "net:normed"), ASKED, ModelError, "BatchNorm1d.*fix"),
    (SUBJECT.replace('optimiser = "adam"', 'loss = "net:summed"'), ASKED, SettingsError, "one loss per row"),
    (SUBJECT.replace('build = "net:build"', 'fit = "net:build"'), ASKED, SettingsError, "trains whole"),
    (SUBJECT.split("[recipe]")[0], ASKED, SettingsError, r"want \[recipe\]"),
    (SUBJECT.replace('train = "data/train.csv"\n', ""), ASKED, DataError, "data.train"),
    (SUBJECT, {"epsilon": 0.0, "delta": 1e-4}, SettingsError, "epsilon = 0"),
    (SUBJECT, {"epsilon": -1.0, "delta": 1e-4}, SettingsError, "epsilon = -1"),
    (SUBJECT, {"epsilon": float("nan"), "delta": 1e-4}, SettingsError, "epsilon = nan"),
    (SUBJECT, {"epsilon": 1.0, "delta": 1.0}, SettingsError, "delta = 1"),
    (SUBJECT, {"epsilon": 1.0}, SettingsError, "delta: none given"),
    (SUBJECT, {**ASKED, "sampling": "random"}, SettingsError, "sampling"),
    (SUBJECT, {**ASKED, "clip": -1.0}, SettingsError, "clip"),
    (SUBJECT, {**ASKED, "sampling": "shuffled", "rows": 500}, SettingsError, "public and exact"),
    (SUBJECT, {**ASKED, "compute": "float16"}, SettingsError, "compute"),
    (SUBJECT.replace('"adam"', '"adam(betas=3)"'), ASKED, SettingsError, "recipe.optimiser"),
    (SUBJECT.replace('"adam"', '"__import__"'), ASKED, SettingsError, "recipe.optimiser"),
    (SUBJECT.replace('classes = ["no", "yes"]', 'classes = ["no", "never"]'), ASKED, DataError, "label"),
]


@pytest.mark.parametrize(("text", "options", "kind", "told"), BAD)
def test_bad_input_is_one_error_and_spends_nothing(
    tmp_path: Path, text: str, options: dict[str, Any], kind: type[VeriwardError], told: str
) -> None:
    home = write(tmp_path, text)
    with pytest.raises(kind, match=told):
        train(home, **options)
    assert not (home / "small-private").exists()
    ledger = home / "small-private.holder/training.ledger"
    if ledger.exists():
        with Ledger(ledger) as kept:
            assert kept.spent == 0


def test_fix_replaces_what_mixes_rows(tmp_path: Path) -> None:
    found = train(write(tmp_path, SUBJECT.replace("net:build", "net:normed")), **ASKED, fix=True)
    assert found.accuracy is not None and found.accuracy.value > 0.6
    open_subject(Subject.load(found.folder), code=False)


def test_weights_with_a_factory_stay_weights(tmp_path: Path) -> None:
    text = SUBJECT.replace('path = "model.pt2"', 'path = "model.safetensors"\nfactory = "net:build"')
    found = train(write(tmp_path, text), **ASKED)
    assert (found.folder / "model.safetensors").exists()
    assert open_subject(Subject.load(found.folder)).format == "safetensors"


def test_no_code_refuses_to_train(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="--no-code forbids"):
        train(write(tmp_path), **ASKED, code=False)


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    home = write(tmp_path)
    (home / "mine").mkdir()
    (home / "mine/letter.txt").write_text("dear")
    with pytest.raises(SettingsError, match="holds other files"):
        train(home, **ASKED, out=home / "mine")


def test_an_account_that_has_too_little_left_refuses_and_what_fits_is_kept(tmp_path: Path) -> None:
    home, account = write(tmp_path), tmp_path / "shop.ledger"
    first = train(home, **ASKED, account=account, budget=3.0, out=tmp_path / "first")
    with pytest.raises(BudgetExceeded):
        train(home, **ASKED, account=account, out=tmp_path / "second")
    with Ledger(account) as ledger:
        assert 0 < ledger.spent <= 3.0
        names = {entry.what for entry in ledger.entries()}
    assert len(names) == 2  # the second began, and stopped where the budget ended
    assert first.record["terms"]["steps_executed"] == first.plan.steps
    assert not (tmp_path / "second").exists()


def test_a_ledger_of_other_data_is_refused(tmp_path: Path) -> None:
    account = tmp_path / "shop.ledger"
    train(write(tmp_path / "a"), **ASKED, account=account, budget=5.0)
    with pytest.raises(VeriwardError, match="other data"):
        train(write(tmp_path / "b", rows=300), **ASKED, account=account)


def test_a_ledger_that_was_put_back_is_found_out(tmp_path: Path) -> None:
    home = write(tmp_path)
    found = train(home, **ASKED)
    for file in found.holder.glob("training.ledger*"):
        file.unlink()
    with pytest.raises(PrivacyError, match="forgets what was spent"):
        train(home, **ASKED)


KILLED = """
import os, signal, sys
from veriward.remedies import private_run
from veriward.remedies.private_training import train
import veriward.privacy.dp.dp_sgd as dp_sgd
step, count = dp_sgd.PrivateTraining.step, 0
def counted(self):
    global count
    step(self)
    count += 1
    print(count, flush=True)
dp_sgd.PrivateTraining.step = counted
train(sys.argv[1], epsilon=2.0, delta=1e-4, epochs=40)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 7, 40, 150])
def test_killed_in_the_middle_the_ledger_holds_every_step_and_at_most_one_interval_more(
    tmp_path: Path, after: int
) -> None:
    home = write(tmp_path)
    executed = 0
    with subprocess.Popen([sys.executable, "-c", KILLED, str(home)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            executed = int(line)
            if executed >= after:
                break
        process.send_signal(signal.SIGKILL)
        executed += sum(1 for _ in process.stdout)  # what it printed before it died
    agreed = plan(Subject.load(home).recipe, data_rows=400, epochs=40, **ASKED)  # type: ignore[arg-type]
    with Ledger(places(Subject.load(home))[1] / "training.ledger") as ledger:
        charged = sum(entry.count for entry in ledger.entries())
    assert executed <= charged <= executed + agreed.interval

    found = train(home, **ASKED, epochs=40)
    with Ledger(found.holder / "training.ledger") as ledger:
        total = sum(entry.count for entry in ledger.entries())
    assert total == agreed.steps == 320  # the lost steps are not run again: epsilon stays
    lost = agreed.steps - found.record["terms"]["steps_executed"]
    assert 0 <= lost <= agreed.interval
    assert [n["code"] for n in found.record["notes"] if n["code"] == "privacy.lost_steps"] == ["privacy.lost_steps"] * (
        lost > 0
    )


def test_a_second_process_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    import fcntl

    home = write(tmp_path)
    holder = places(Subject.load(home))[1]
    holder.mkdir()
    with (holder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PrivacyError, match="another process"):
            train(home, **ASKED)
    train(home, **ASKED)


def test_terms_of_which_nothing_is_paid_yet_may_be_corrected(tmp_path: Path) -> None:
    home = write(tmp_path, SUBJECT.replace("net:build", "net:normed"))
    with pytest.raises(ModelError, match="BatchNorm1d"):
        train(home, **ASKED)
    train(home, **ASKED, fix=True)

    account = tmp_path / "shop.ledger"
    with pytest.raises(BudgetExceeded):
        train(home, epsilon=9.0, delta=1e-4, fix=True, account=account, budget=0.5, out=tmp_path / "other")
    found = train(home, epsilon=0.2, delta=1e-4, fix=True, account=account, out=tmp_path / "other")
    assert found.record["terms"]["steps_executed"] == found.plan.steps


@pytest.mark.parametrize(
    "gone", [["plan.json", "checkpoint.safetensors"], ["training.ledger", "checkpoint.safetensors"]]
)
def test_what_was_spent_is_not_forgotten_with_a_part_of_the_folder(tmp_path: Path, gone: list[str]) -> None:
    home = write(tmp_path)
    holder = train(home, **ASKED).holder
    for name in gone:
        (holder / name).unlink()
    with pytest.raises(VeriwardError, match=r"plan is gone|not beside it|forgets what was spent"):
        train(home, **ASKED)


def test_a_training_stays_with_the_ledger_that_it_began_with(tmp_path: Path) -> None:
    home, account = write(tmp_path), tmp_path / "shop.ledger"
    train(home, **ASKED, account=account, budget=9.0)
    train(home, **ASKED, out=tmp_path / "own")
    for options in ({}, {"account": account, "out": tmp_path / "own"}):
        with pytest.raises(PrivacyError, match="forgets what was spent"):
            train(home, **ASKED, **options)  # type: ignore[arg-type]


def test_rows_that_are_trained_on_measure_nothing(tmp_path: Path) -> None:
    """Accuracy on the training rows would be told without noise."""
    found = train(write(tmp_path, SUBJECT.replace("data/test.csv", "data/train.csv")), **ASKED)
    assert found.accuracy is None and "accuracy" not in found.record
    assert "data.test_trained_on" in [each.code for each in found.holder_notes]


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_whole_numbers_under_a_loss_of_regression_are_values(tmp_path: Path, loss: str) -> None:
    home = write(
        tmp_path, SUBJECT.replace('classes = ["no", "yes"]\n', "").replace('"adam"', f'"adam"\nloss = "{loss}"')
    )
    for name in ("train", "test"):
        file = home / f"data/{name}.csv"
        file.write_text(file.read_text().replace(",yes", ",170").replace(",no", ",120"))
    (home / "net.py").write_text("from torch import nn\ndef build():\n    return nn.Linear(4, 1)\n")
    found = train(home, **ASKED)
    assert (Subject.load(found.folder).task, found.accuracy) == ("regression", None)


def test_one_probability_above_a_half_is_the_second_class(tmp_path: Path) -> None:
    text = SUBJECT.replace("logits", "probabilities").replace('"adam"', '"adam"\nloss = "nll"')
    home = write(tmp_path, text)
    (home / "net.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())\n"
    )
    found = train(home, **ASKED)
    assert found.accuracy is not None and found.accuracy.value > 0.7


def test_a_folder_that_was_left_half_written_is_written_again(tmp_path: Path) -> None:
    home = write(tmp_path)
    first = train(home, **ASKED)
    (first.folder / "privacy.json").unlink()
    again = train(home, **ASKED)
    assert (again.finished.new_steps, again.record["model"]) == (0, first.record["model"])


def test_a_private_model_whose_costs_are_gone_is_not_trained_again(tmp_path: Path) -> None:
    import shutil

    home = write(tmp_path)
    shutil.rmtree(train(home, **ASKED).holder)
    with pytest.raises(SettingsError, match="is not beside it"):
        train(home, **ASKED)


def test_written_again_a_record_that_says_the_same_keeps_its_time(tmp_path: Path) -> None:
    home = write(tmp_path)
    record = train(home, **ASKED).folder / "privacy.json"
    record.write_text(record.read_text().replace('"time": "2', '"time": "1'))
    before = record.read_text()
    train(home, **ASKED)
    assert record.read_text() == before


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"learning_rate": 1e308}, SettingsError, "recipe.optimiser"),
        ({"learning_rate": 1e38}, SettingsError, "recipe.optimiser"),
        ({"rows": 10**12}, SettingsError, "fewer epochs"),
        ({"out": "/"}, SettingsError, "another --out"),
    ],
)
def test_values_beyond_what_numbers_hold_are_one_error(
    tmp_path: Path, options: dict[str, Any], kind: type[VeriwardError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        train(write(tmp_path), **ASKED, **options)


def test_weights_that_are_no_numbers_are_no_model(tmp_path: Path) -> None:
    home = write(tmp_path, SUBJECT.replace('"adam"', '"sgd"'))
    with pytest.raises(ModelError, match="not finite"):
        train(home, **ASKED, learning_rate=1e38, clip=1e15)


def test_a_folder_is_named_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = write(tmp_path / "home")
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    found = train(home, **ASKED, out=".")
    assert (found.folder, found.holder) == (tmp_path / "new", tmp_path / "new.holder")


KEEPING = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = nn.Parameter(nn.Linear(4, 1).weight[0].detach().clone(), requires_grad=False)
        self.head = nn.Linear(4, 2)
    def forward(self, x):
        self.kept.data = x.detach().reshape(-1, 4)[0]
        return self.head(x)
def build():
    return Net()
"""


def test_a_frozen_parameter_that_keeps_a_row_is_refused(tmp_path: Path) -> None:
    home = write(tmp_path)
    (home / "net.py").write_text(KEEPING)
    with pytest.raises(ModelError, match="kept: a parameter that the module itself changes"):
        train(home, **ASKED)


def test_code_of_the_user_that_fails_is_one_error(tmp_path: Path) -> None:
    home = write(tmp_path, SUBJECT.replace('"adam"', '"adam"\nloss = "net:wrong"'))
    with (home / "net.py").open("a") as file:
        file.write("\ndef wrong(output, y):\n    raise KeyError('weights')\n")
    with pytest.raises(ModelError, match="KeyError: 'weights'"):
        train(home, **ASKED)


def test_texts_are_no_values(tmp_path: Path) -> None:
    home = write(tmp_path, SUBJECT.replace('"adam"', '"adam"\nloss = "mse"'))
    with pytest.raises(DataError, match="labels are texts"):
        train(home, **ASKED)


@pytest.mark.parametrize(
    "line", ["from layers_a.blocks import new", "from layers_b import new", "from layers_c import blocks"]
)
def test_the_code_that_is_handed_out_is_complete(tmp_path: Path, line: str) -> None:
    home = write(tmp_path)
    for package, init in (("a", ""), ("b", "from .blocks import new\n"), ("c", "")):
        (home / f"layers_{package}").mkdir()
        (home / f"layers_{package}/__init__.py").write_text(init)
        (home / f"layers_{package}/blocks.py").write_text(
            "from torch import nn\ndef new():\n    return nn.Linear(4, 2)\n"
        )
    name = line.split()[1].split(".", maxsplit=1)[0]
    called = "blocks.new" if line.endswith("blocks") else "new"
    (home / "net.py").write_text(f"{line}\ndef build():\n    return {called}()\n")
    found = train(home, **ASKED)
    assert sorted(path.name for path in (found.folder / name).iterdir()) == ["__init__.py", "blocks.py"]


def test_a_full_disk_is_one_error_and_the_training_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, left = write(tmp_path), [9]
    real = private_run.checkpoint.save

    def save(*words: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        real(*words)

    monkeypatch.setattr(private_run.checkpoint, "save", save)
    with pytest.raises(ArtefactError, match="No space left on device"):
        train(home, **ASKED)
    found = train(home, **ASKED)
    assert (found.plan.steps, found.record["terms"]["steps_executed"]) == (32, 31)  # the step that was lost stays paid
