"""UCI Adult, whole: gradient boosting on its raw columns, and a network on the encoded ones; groups sex and race."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import veriward

DATA = Path(__file__).parents[3] / "shared/data"
NAMES = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
]
INPUTS = NAMES[:-1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "adult-train.csv.gz").is_file(), reason=f"no {DATA}/adult-train.csv.gz"),
]


@pytest.fixture(scope="module")
def adult() -> dict[str, Any]:
    import pandas as pd

    frames = {}
    for split in ("train", "test"):
        frame = pd.read_csv(DATA / f"adult-{split}.csv.gz", names=NAMES, skipinitialspace=True, comment="|")
        frames[split] = frame.assign(income=frame.income.str.rstrip("."))
    return frames


def words_and_numbers(frame: Any) -> tuple[list[str], list[str]]:
    words = [name for name in INPUTS if frame[name].dtype.kind not in "iuf"]
    return words, [name for name in INPUTS if name not in words]


def check(dossier: veriward.Dossier, test: Any) -> None:
    assert not [finding.error for finding in dossier if finding.error]
    fairness = dossier["fairness/groups"]
    attributes = {e.at["attribute"] for e in fairness.estimates}
    assert attributes == {"sex", "race", "sex × race"}
    chosen = fairness.outcomes["favourable"]
    shares = {name: chosen[(test.sex == name).to_numpy()].mean() for name in ("Male", "Female")}
    gap = fairness.estimate("demographic_parity_difference", attribute="sex")
    assert gap.value == pytest.approx(shares["Male"] - shares["Female"], abs=1e-9)
    assert gap.low is not None
    assert gap.low > 0.05, "women are predicted to earn much less often"
    assert len(dossier["evasion/linf"].outcomes["broken"]) == len(test) == 16_281
    assert dossier["leakage/loss"].estimate("tpr_at_fpr", fpr=0.01).n == 20_000


def test_gradient_boosting(adult: dict[str, Any], tmp_path: Path) -> None:
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    words, _ = words_and_numbers(adult["train"])
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("words", encode, words)], remainder="passthrough")
    model = Pipeline([("columns", columns), ("trees", HistGradientBoostingClassifier(random_state=0))])
    skops.io.dump(model.fit(adult["train"][INPUTS], adult["train"].income), tmp_path / "model.skops")
    for split, frame in adult.items():
        frame.to_csv(tmp_path / f"{split}.csv", index=False)
    (tmp_path / "subject.toml").write_text(
        'name = "adult"\n[model]\npath = "model.skops"\n[data]\ntrain = "train.csv"\ntest = "test.csv"\n'
        'label = "income"\nfavourable = ">50K"\ngroups = ["sex", "race"]\n[features]\nage = { mutable = false }\n'
    )
    with veriward.assess(tmp_path) as dossier:
        check(dossier, adult["test"])
        assert dossier["evasion/linf"].estimate("clean_accuracy").value == pytest.approx(0.87, abs=0.03)


def test_network(adult: dict[str, Any], tmp_path: Path) -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    words, numbers = words_and_numbers(adult["train"])
    encode = ColumnTransformer(
        [
            ("words", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), words),
            ("n", StandardScaler(), numbers),
        ]
    ).fit(adult["train"])
    x = {split: encode.transform(frame).astype(np.float32) for split, frame in adult.items()}
    y = {split: (frame.income == ">50K").to_numpy().astype(np.int64) for split, frame in adult.items()}
    rows = torch.export.Dim("rows", min=1)
    model = train(torch.from_numpy(x["train"]), torch.from_numpy(y["train"]))
    program = torch.export.export(model, (torch.from_numpy(x["test"][:8]),), dynamic_shapes=({0: rows},))
    torch.export.save(program, tmp_path / "model.pt2")
    for split, frame in adult.items():
        groups = {name: frame[name].to_numpy().astype("U") for name in ("sex", "race")}
        np.savez(tmp_path / f"{split}.npz", x=x[split], y=y[split], **groups)
    (tmp_path / "subject.toml").write_text(
        'name = "adult"\n[model]\npath = "model.pt2"\n[input]\nkind = "tabular"\n[data]\ntrain = "train.npz"\n'
        'test = "test.npz"\nlabel = "y"\ngroups = ["sex", "race"]\n[threat.evasion]\neps = 0.1\n'
    )
    with veriward.assess(tmp_path) as dossier:
        check(dossier, adult["test"])
        note = next(n for n in dossier["evasion/linf"].evidence.assumptions if n.code == "evasion.columns_moved")
        assert len(note.values["columns"].split(", ")) == len(numbers), "one-hot columns are not moved in fractions"


def train(x: torch.Tensor, y: torch.Tensor) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        for batch in torch.randperm(len(x)).split(256):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
    return model.eval()
