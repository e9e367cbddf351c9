"""A table with a fitted pipeline, written to disk."""

from pathlib import Path

import numpy as np

TABLE = """\
name = "table"
[model]
path = "model.skops"
[data]
train = "train.csv"
test = "test.csv"
label = "bought"
favourable = "yes"
groups = ["gender"]
"""


def write_table(folder: Path, *, strength: float = 1.0) -> None:
    import pandas as pd
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": generator.integers(18, 80, 600),
            "income": generator.normal(50, 10, 600).round(2),
            "gender": generator.choice(["f", "m"], 600),
            "region": generator.choice(["north", "south", "west"], 600),
        }
    )
    frame["bought"] = np.where(frame.income + generator.normal(0, 5, 600) > 50, "yes", "no")
    encode = ColumnTransformer([("words", OneHotEncoder(), ["gender", "region"])], remainder="passthrough")
    model = Pipeline([("encode", encode), ("model", LogisticRegression(C=strength, max_iter=2000))])
    model.fit(frame[["age", "income", "gender", "region"]][:300], frame.bought[:300])
    skops.io.dump(model, folder / "model.skops")
    frame[:300].to_csv(folder / "train.csv", index=False)
    frame[300:].to_csv(folder / "test.csv", index=False)
    (folder / "subject.toml").write_text(TABLE, encoding="utf-8")
