"""Boosted trees on breast_cancer: how near attack and proof come to each other, and what a row costs.

Minimal L-infinity distances in columns scaled to [0, 1]: the attack's point above, the clique bound (pairs of trees, no
search) and the bound of the whole search below; then decisions at given radii under three norms. Process time of one core.
"""

import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

from veriward.adapters import lightgbm as light
from veriward.adapters import xgboost as boost
from veriward.adapters.trees.forest import Forest
from veriward.adapters.trees.sklearn_forest import forest_of
from veriward.checks.certify.boxes import boxes_of
from veriward.checks.certify.nearest import brackets
from veriward.checks.certify.reach import Around, Costs, Norm, costs_of
from veriward.checks.certify.trees import decide_rows, other_classes, rounding

NODES = 400
RADII: dict[Norm, tuple[float, ...]] = {"linf": (0.01, 0.03, 0.1), "l2": (0.03, 0.1), "l1": (0.05, 0.15)}


def run() -> dict[str, object]:
    """Return for each model ratios, milliseconds per row, and contradictions."""
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.min(0)) / (x.max(0) - x.min(0))
    seen = np.arange(len(x)) % 3 > 0
    found: dict[str, object] = {}
    for name, (forest, predict) in _models(x[seen], y[seen]).items():
        rows, labels = x[~seen], y[~seen]
        right = predict(rows) == labels
        found[name] = _measured(forest, predict, rows[right], labels[right])
        print(f"{name:16} {found[name]}", file=sys.stderr)
    return {"nodes": NODES, **found}


def _models(x: Any, y: Any) -> dict[str, tuple[Forest, Any]]:
    import lightgbm
    import xgboost

    boosted = GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=0).fit(x, y)
    mean = RandomForestClassifier(50, max_depth=4, random_state=0).fit(x, y)
    extreme = xgboost.XGBClassifier(n_estimators=100, max_depth=3, n_jobs=1).fit(x, y)
    lighter = lightgbm.LGBMClassifier(n_estimators=100, max_depth=3, n_jobs=1, verbose=-1).fit(x, y)
    native = {"xgboost": boost.from_booster(extreme.get_booster()), "lightgbm": light.from_booster(lighter.booster_)}
    models = {
        "sklearn boosting": (forest_of(boosted), boosted.predict),
        "sklearn forest": (forest_of(mean), mean.predict),
    }
    for name, backend in native.items():
        models[name] = (backend.forest(), lambda rows, b=backend: (np.asarray(b.raw(rows)) > 0.5).astype(int))
    return {name: (forest, predict) for name, (forest, predict) in models.items() if forest is not None}


def _measured(forest: Forest, predict: Any, rows: Any, labels: Any) -> dict[str, object]:
    start = time.process_time()
    found = brackets(_costs(forest, rows, 1.0, "linf"), other_classes(forest, labels), nodes=NODES)
    spent = time.process_time() - start
    alone = brackets(_costs(forest, rows, 1.0, "linf"), other_classes(forest, labels), nodes=1)
    reached = np.isfinite(found.upper)
    fell = predict(found.points[reached]) != labels[reached]
    lower = np.maximum(found.lower[reached], 1e-6)
    return {
        "rows": len(rows),
        "broken by the library's own answer": f"{int(fell.sum())} of {int(reached.sum())}",
        "attack over clique bound": round(
            float(np.mean(found.upper[reached] / np.maximum(alone.lower[reached], 1e-6))), 4
        ),
        "attack over search": round(float(np.mean(found.upper[reached] / lower)), 4),
        "exact": round(float(np.mean(found.lower[reached] >= found.upper[reached] * (1 - 1e-8))), 4),
        "contradictions": int((found.lower > found.upper).sum() + (alone.lower > found.upper).sum()),
        "ms per row, distance": round(spent / len(rows) * 1e3, 1),
        "at radii": {
            f"{norm} {eps}": _decided(forest, rows, labels, norm, eps) for norm in RADII for eps in RADII[norm]
        },
    }


def _decided(forest: Forest, rows: Any, labels: Any, norm: Norm, eps: float) -> dict[str, object]:
    start = time.process_time()
    costs, n = _costs(forest, rows, eps, norm), len(rows)
    found = decide_rows(costs, other_classes(forest, labels), np.ones(n), nodes=NODES, level=-rounding(forest))
    spent = time.process_time() - start
    undecided = int((~found.certified & ~found.met).sum())
    return {
        "certified": int(found.certified.sum()),
        "broken": int(found.met.sum()),
        "undecided": undecided,
        "ms per row": round(spent / n * 1e3, 1),
    }


def _costs(forest: Forest, rows: Any, eps: float, norm: Norm) -> Costs:
    none, radii = np.zeros(forest.width, bool), np.full(rows.shape, eps)
    around = Around(rows, np.maximum(rows - eps, 0.0), np.minimum(rows + eps, 1.0), radii, norm, none, none)
    return costs_of(boxes_of(forest), around)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(run())
