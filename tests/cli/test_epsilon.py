"""`veriward epsilon`: two of noise, epsilon and steps give the third, in English and Chinese, and as a file."""

import csv
import json
import re
from pathlib import Path

import pytest

from veriward.privacy.dp import epsilon
from veriward.reports.whatif import up

from test_verbs import call  # isort: skip -- the same call, the same exit codes

KNOWN = ("--rows", "60000", "--batch", "600")


def test_noise_and_epochs_give_epsilon(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "epsilon", "--noise", "1", *KNOWN, "--epochs", "10", "--lang", "en")
    assert (code, err) == (0, "")
    exact = epsilon(noise_multiplier=1, sampling_rate=0.01, steps=1000, delta=1e-5)
    assert out.startswith(f"epsilon {up(exact):g} at delta 1e-05")
    assert up(exact) >= exact
    for said in ("one row added or removed", "privacy loss distributions", "upper bound", "Poisson sampling"):
        assert said in out
    assert len(out.splitlines()) == 11


def test_epsilon_and_steps_give_noise_that_is_rounded_up(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "epsilon", "--epsilon", "2", "--steps", "50", *KNOWN, "--lang", "en")
    assert code == 0
    found = re.search(r"noise multiplier ([\d.]+)", out)
    assert found is not None
    assert epsilon(noise_multiplier=float(found[1]), sampling_rate=0.01, steps=50, delta=1e-5) <= 2


def test_epsilon_and_noise_give_steps_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "epsilon", "--epsilon", "9", "--noise", "4", "--sampling", "full", "--json")
    said = json.loads(out)
    assert code == 0
    assert said["epsilon"] <= 9 < epsilon(noise_multiplier=4, steps=said["steps"] + 1, delta=1e-5)
    assert (said["unit"], said["neighbouring"], said["schema"]) == ("row", "add-or-remove-one", "veriward.epsilon/1")


@pytest.mark.parametrize("ending", ["html", "json", "csv"])
def test_the_curve_is_written(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"curve.{ending}"
    words = ("--noise", "4", "--sampling", "shuffled", *KNOWN, "--epochs", "3", "--out", out, "--lang", "zh")
    code, printed, _ = call(capsys, "epsilon", *words)
    assert code == 0
    assert "将一行替换为对求和无贡献的一行" in printed
    text = out.read_text(encoding="utf-8")
    if ending == "html":
        assert "<svg" in text
        assert "<script" not in text
    else:
        rows = json.loads(text)["settings"] if ending == "json" else list(csv.DictReader(text.splitlines()))
        costs = [float(row["epsilon"]) for row in rows]
        assert len(costs) == 25
        assert costs == sorted(costs, reverse=True)


def test_a_large_delta_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(
        capsys, "epsilon", "--noise", "4", "--rows", "50", "--steps", "2", "--delta", ".05", "--lang", "en"
    )
    assert code == 0
    assert "publishes a row at random" in err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--noise", "1"], "want two of"),
        (["--noise", "1", "--epsilon", "1", "--steps", "3"], "want two of"),
        (["--noise", "0", "--steps", "3"], "noise_multiplier = 0"),
        (["--noise", "1", "--steps", "0"], "--steps = 0"),
        (["--noise", "1", "--steps", "3", "--epochs", "1"], "give one of the two"),
        (["--noise", "1", "--steps", "3", "--batch", "6"], "add --rows"),
        (["--noise", "1", "--steps", "3", "--batch", "6", "--rows", "5"], "--batch / --rows"),
        (["--noise", "1", "--steps", "3", "--delta", "0"], "delta = 0"),
        (["--noise", "1", "--steps", "3", "--delta", "nan"], "delta = nan"),
        (["--noise", "1", "--steps", "3", "--sampling", "random"], "want one of"),
        (["--noise", "1", "--steps", "3", "--accountant", "gdp"], "Gaussian DP"),
        (["--noise", "1", "--steps", "3", "--sampling", "fixed", "--accountant", "pld"], "accountant='rdp'"),
        (["--noise", ".3", "--epsilon", ".01"], "not one step fits"),
        (["--noise", "1", "--steps", "3", "--out", "x.png"], ".html, .json or .csv"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "epsilon", *words, "--lang", "en")
    assert (code, out) == (2, "")
    assert named in err
    assert len(err.splitlines()) == 1


def test_a_ledger_is_shown_with_its_purposes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from veriward.privacy.dp import Ledger
    from veriward.privacy.dp.events import full_batch

    path = tmp_path / "shop.ledger"
    with Ledger(path, (3.0, 1e-5)) as ledger:
        for _ in range(2):
            ledger.charge(full_batch(20.0, 1), "mean basket")
        ledger.charge(full_batch(20.0, 1), "histogram", count=5)
        spent = ledger.spent
    code, out, _ = call(capsys, "epsilon", "--ledger", path, "--lang", "en")
    assert code == 0
    assert f"spent: epsilon {up(spent):g}, left: {3 - up(spent):.4g}" in out
    assert "mean basket: 2 events in 2 charges" in out
    assert "histogram: 5 events in 1 charges" in out
    code, out, _ = call(capsys, "epsilon", "--ledger", path, "--json")
    assert json.loads(out)["purposes"][1]["events"] == 5
    code, _, err = call(capsys, "epsilon", "--ledger", tmp_path / "none", "--lang", "en")
    assert (code, "no ledger there" in err) == (2, True)
