"""scikit-learn's trees as a Forest: single trees, random forests, extra trees, gradient boosting, histogram boosting.

Source: scikit-learn 1.6 to 1.9, sklearn/tree/_tree.pyx (float32 inputs, <=) and sklearn/ensemble/_hist_gradient_boosting
(float64 inputs, <=).
"""

from dataclasses import replace
from typing import Any

import numpy as np

from veriward.adapters.trees.forest import Forest, Link, Reading
from veriward.adapters.trees.tree import Array, Tree, side_by_side

TREES = Reading(strict=False, single=True)
HISTOGRAMS = Reading(strict=False, single=False)
SINGLE = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
MEANS = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
HISTOGRAM = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")


def forest_of(estimator: Any) -> Forest | None:
    """Return the trees of a fitted estimator; None for other kinds, several targets, categories and custom starts.

    A Pipeline counts where its other steps pass everything through. Forests of means give probabilities as margins.

    >>> from sklearn.tree import DecisionTreeRegressor
    >>> forest_of(DecisionTreeRegressor().fit([[0.0], [1.0]], [3.0, 5.0])).answers([[0.4], [0.6]]).tolist()
    [[3.0], [5.0]]
    """
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn."):
        return None  # a subclass may predict as it likes
    if name == "Pipeline":
        passing = all(step in (None, "passthrough") for _, step in estimator.steps[:-1])
        return forest_of(estimator.steps[-1][1]) if passing else None
    if name in SINGLE or name in MEANS:
        return _means([estimator] if name in SINGLE else list(estimator.estimators_))
    if name in BOOSTED:
        return _boosted(estimator)
    return _histograms(estimator) if name in HISTOGRAM else None


def _means(members: list[Any]) -> Forest | None:
    first = members[0]
    if first.n_outputs_ != 1:
        return None
    trees = [_tree(member.tree_, 1 / len(members)) for member in members]
    outputs = trees[0].value.shape[1]
    return side_by_side(
        trees,
        width=int(first.n_features_in_),
        output=np.full(len(trees), -1),
        base=np.zeros(outputs),
        reading=TREES,
    )


def _boosted(estimator: Any) -> Forest | None:
    if estimator.init not in (None, "zero"):
        return None  # starts from a model of its own
    rounds, outputs = estimator.estimators_.shape
    width = int(estimator.n_features_in_)
    bare = side_by_side(
        [_tree(member.tree_, estimator.learning_rate) for member in estimator.estimators_.ravel()],
        width=width,
        output=np.tile(np.arange(outputs), rounds),
        base=np.zeros(outputs),
        reading=TREES,
        link=_link(estimator, outputs),
        slope=2.0 if estimator.loss == "exponential" else 1.0,
    )
    # the start is the same for every row: what the trees do not explain of any answer
    ask = estimator.decision_function if hasattr(estimator, "classes_") else estimator.predict
    somewhere = np.zeros((1, width))
    return replace(bare, base=np.asarray(ask(somewhere)).reshape(outputs) - bare.margins(somewhere)[0])


def _histograms(estimator: Any) -> Forest | None:
    if estimator.is_categorical_ is not None:
        return None  # its inputs are encoded and reordered before any tree sees them
    rounds = estimator._predictors
    outputs = len(rounds[0]) if rounds else int(estimator.n_trees_per_iteration_)
    return side_by_side(
        [_histogram(predictor.nodes) for round_ in rounds for predictor in round_],
        width=int(estimator.n_features_in_),
        output=np.tile(np.arange(outputs), len(rounds)),
        base=np.asarray(estimator._baseline_prediction, np.float64).reshape(outputs),
        reading=HISTOGRAMS,
        link=_link(estimator, outputs),
    )


def _link(estimator: Any, outputs: int) -> Link:
    if hasattr(estimator, "classes_"):
        return "logistic" if outputs == 1 else "softmax"
    return "exp" if estimator.loss in ("poisson", "gamma") else "identity"


def _tree(tree: Any, share: float) -> Tree:
    """A `tree_`: leaves have no children and count a share of their value."""
    leaf, own = tree.children_left < 0, np.arange(tree.node_count)
    missing_left: Array = np.asarray(tree.missing_go_to_left, bool)
    return Tree(
        feature=np.where(leaf, -1, tree.feature),
        threshold=np.where(leaf, 0.0, tree.threshold),
        left=np.where(leaf, own, tree.children_left),
        right=np.where(leaf, own, tree.children_right),
        value=np.where(leaf[:, None], tree.value[:, 0, :] * share, 0.0),
        missing_left=missing_left & ~leaf,
    )


def _histogram(nodes: Any) -> Tree:
    """The nodes of a TreePredictor: an array of records."""
    leaf, own = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    return Tree(
        feature=np.where(leaf, -1, nodes["feature_idx"]),
        threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
        left=np.where(leaf, own, nodes["left"].astype(np.int64)),
        right=np.where(leaf, own, nodes["right"].astype(np.int64)),
        value=np.where(leaf, nodes["value"], 0.0)[:, None],
        missing_left=nodes["missing_go_to_left"].astype(bool) & ~leaf,
    )
