"""XGBoost's own documents, JSON or UBJSON, as a Forest. Schema: XGBoost 3, "Introduction to Model IO", and doc/model.schema.

Everything that native prediction indexes with is checked here first: XGBoost walks outside its arrays, or in circles,
where a document tells it to.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from veriward.adapters.scan.place import Purse
from veriward.adapters.scan.source import Source
from veriward.adapters.scan.ubjson import BadUbjson, Numbers, read_ubjson
from veriward.adapters.trees.forest import Forest, Link, Reading
from veriward.adapters.trees.tree import side_by_side
from veriward.adapters.trees.xgboost_nodes import counted, parse_tree, whole
from veriward.core.errors import ArtefactError

LIBRARY = Reading(strict=True, single=True, sums_single=True)
LOGIT = ("binary:logistic", "reg:logistic")
LOG = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
SOFTMAX = ("multi:softprob", "multi:softmax")
KINDS = {"i": "i1", "U": "u1", "I": "i2", "l": "i4", "L": "i8", "d": "f4", "D": "f8"}  # UBJSON's letters
MARGINS = ("binary:logitraw", "binary:hinge")  # decided by the sign of the margin, which is what is told


@dataclass(frozen=True)
class Document:
    """A model as XGBoost wrote it: `learner` is the document's one large member."""

    learner: Mapping[str, Any]

    @classmethod
    def parse(cls, content: bytes) -> "Document":
        """Read the bytes of a `.json` or `.ubj` file; ArtefactError for anything else, and for trees that are none."""
        whole = _parse_ubjson(content) if content[:2] == b"{L" else _parse_json(content)
        try:
            document = cls(whole["learner"])
            document.check()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            raise ArtefactError(
                f"XGBoost document: lacks or garbles a part ({type(error).__name__}: {str(error)[:80]}); "
                "want one that save_model of XGBoost 1.6 or later wrote"
            ) from error
        return document

    def check(self) -> None:
        """Touch every part that is used later, natively or here: a part that is wrong raises now."""
        _ = (self.objective, self.names, self.types, self.vocabularies, self.attributes, self.rounds)
        if len(self.base) != self.outputs:
            raise ArtefactError(f"XGBoost document: {len(self.base)} base scores for {self.outputs} outputs")
        for name in (self.names, self.types):
            if name and len(name) != self.width:
                raise ArtefactError(f"XGBoost document: {len(name)} features named of {self.width}; want all or none")
        if self.booster == "gblinear":
            weights = self.learner["gradient_booster"]["model"]["weights"]
            if len(weights) != (self.width + 1) * self.outputs:
                raise ArtefactError("XGBoost document: the linear model has not one weight for each input and output")
        else:
            _ = self.forest

    @cached_property
    def booster(self) -> str:
        """gbtree, dart or gblinear."""
        name = self.learner["gradient_booster"]["name"]
        if name not in ("gbtree", "dart", "gblinear"):
            raise ArtefactError(f"XGBoost document: booster {str(name)[:40]!r}; want gbtree, dart or gblinear")
        return str(name)

    @cached_property
    def _trees(self) -> Mapping[str, Any]:
        part = self.learner["gradient_booster"]
        return dict((part["gbtree"] if self.booster == "dart" else part)["model"])

    @cached_property
    def objective(self) -> str:
        """Its name, e.g. "binary:logistic"."""
        return str(self.learner["objective"]["name"])

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """Texts that training and wrappers left."""
        return dict(self.learner.get("attributes", {}))

    @cached_property
    def width(self) -> int:
        """The number of inputs."""
        return counted(self.learner["learner_model_param"]["num_feature"], 1 << 31)

    @cached_property
    def outputs(self) -> int:
        """The number of margins of a row."""
        param = self.learner["learner_model_param"]
        return max(1, *(counted(param.get(name, 1), 1 << 20) for name in ("num_class", "num_target")))

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """The inputs' names, None where it has been trained on a bare matrix."""
        return tuple(str(name) for name in self.learner.get("feature_names", ())) or None

    @cached_property
    def types(self) -> tuple[str, ...] | None:
        """The inputs' types; "c" are categories."""
        return tuple(str(name) for name in self.learner.get("feature_types", ())) or None

    @cached_property
    def vocabularies(self) -> dict[int, tuple[Any, ...]]:
        """The values of each category input, in the order of their codes, where the file stores them (XGBoost 3.1)."""
        if self.booster == "gblinear":
            return {}
        stored = self._trees.get("cats", {}).get("enc", [])
        if len(stored) > self.width:
            raise ArtefactError("XGBoost document: categories for more inputs than there are")
        return {i: words for i, one in enumerate(stored) if (words := _vocabulary(one))}

    @cached_property
    def _starts(self) -> list[int]:
        """Where each round's trees start, and the end of the last."""
        trees = len(self._trees["trees"])
        step = self.outputs * max(1, counted(self._trees["gbtree_model_param"].get("num_parallel_tree", 1), 1 << 20))
        starts = [int(start) for start in self._trees.get("iteration_indptr", range(0, trees + 1, step))]
        if not starts or starts[0] != 0 or starts[-1] != trees or starts != sorted(starts):
            raise ArtefactError("XGBoost document: its rounds do not cover its trees one after the other")
        return starts

    @cached_property
    def rounds(self) -> int:
        """The rounds that predict: scikit-learn's wrapper, which says so in the file, stops at the best, Boosters do not."""
        if self.booster == "gblinear":
            return 0
        most = len(self._starts) - 1
        if "scikit_learn" not in self.attributes or "best_iteration" not in self.attributes:
            return most
        return min(most, counted(self.attributes["best_iteration"], 1 << 31) + 1)

    @cached_property
    def base(self) -> npt.NDArray[np.float32]:
        """The margins before any tree, (outputs,): base_score is stored as an answer, not as a margin."""
        text = str(self.learner["learner_model_param"]["base_score"]).strip("[] ")
        score = np.array([float(number) for number in text.split(",")], np.float32)
        score = np.repeat(score, self.outputs) if len(score) == 1 else score
        if self.booster != "gblinear" and not self._trees["trees"]:
            return score  # nothing is turned into a margin where there is no tree, natively
        with np.errstate(all="ignore"):  # a base of exactly 0 or 1 has an infinite margin, natively too
            odds = np.float32(1) / score - np.float32(1)
            # logarithms through float64: numpy's own in float32 differs from C's in the last bit
            if self.objective in LOGIT:
                return np.asarray(-np.log(odds.astype(np.float64)), np.float32)
            return np.asarray(np.log(score.astype(np.float64)), np.float32) if self.objective in LOG else score

    @property
    def link(self) -> Link:
        """What turns margins into answers."""
        if self.objective in SOFTMAX:
            return "softmax"
        if self.objective in LOGIT:
            return "logistic"
        return "exp" if self.objective in LOG else "identity"

    @cached_property
    def forest(self) -> Forest | None:
        """The trees of all rounds that predict; None for linear models."""
        if self.booster == "gblinear":
            return None
        stored = self._trees["trees"]
        if [counted(tree.get("id", place), 1 << 31) for place, tree in enumerate(stored)] != list(range(len(stored))):
            raise ArtefactError("XGBoost document: its trees are not in order, and natively a place would stay empty")
        trees = [parse_tree(tree, self.width) for tree in stored]
        info = np.asarray(self._trees["tree_info"], np.int64)
        weights = np.ones(len(trees), np.float32)
        if self.booster == "dart":
            weights = np.asarray(self.learner["gradient_booster"]["weight_drop"], np.float32)
        wide = {tree.value.shape[1] for tree in trees}
        if len(info) != len(trees) or len(weights) != len(trees) or len(wide) > 1 or not wide <= {1, self.outputs}:
            raise ArtefactError("XGBoost document: trees, their weights, outputs and leaves do not go together")
        if len(info) and not (info.min() >= 0 and info.max() < self.outputs):
            raise ArtefactError("XGBoost document: a tree adds to an output that is none")
        whole_forest = side_by_side(
            [
                replace(tree, value=tree.value * weight) for tree, weight in zip(trees, weights, strict=True)
            ],  # in float32
            width=self.width,
            output=info if wide <= {1} else np.full(len(info), -1),
            base=self.base.astype(np.float64),
            reading=LIBRARY,
            link=self.link,
        )
        last = self._starts[self.rounds]
        return whole_forest if last == len(trees) else whole_forest.first(last)


def _vocabulary(stored: Mapping[str, Any]) -> tuple[Any, ...]:
    """The category values of one input: numbers as they are, texts as UTF-8 one behind the other."""
    values = np.asarray(stored["values"])
    if "offsets" not in stored:
        return tuple(values.tolist())
    ends = whole(stored["offsets"]).tolist()
    if ends != sorted(ends) or (ends and (ends[0] != 0 or ends[-1] != len(values))):
        raise ArtefactError("XGBoost document: the texts of categories are not where it says")
    text = values.astype(np.int8).tobytes()
    if not text.isascii():
        return ()  # XGBoost 3 counts characters where it should count bytes, and loses the end of such texts
    return tuple(text[a:b].decode("ascii") for a, b in pairwise(ends))


def _parse_ubjson(content: bytes) -> Any:
    def unrolled(part: object) -> Any:
        if isinstance(part, Numbers):
            kind = np.dtype(f">{KINDS[part.letter]}")
            return np.frombuffer(content, kind, part.count, part.at)
        if isinstance(part, dict):
            return {name: unrolled(value) for name, value in part.items()}
        return [unrolled(value) for value in part] if isinstance(part, list) else part

    try:
        # what may be spent on a file has been limited by the scan; a live model is the caller's own
        return unrolled(read_ubjson(Source.of(content), Purse(fields=1 << 62)))
    except BadUbjson as error:
        raise ArtefactError(f"XGBoost document: {error} (byte {error.at})") from error


def _parse_json(content: bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ArtefactError("XGBoost document: two members of one name; readers differ in which counts")
        return found

    try:
        return json.loads(content, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"XGBoost document: is no JSON ({str(error)[:80]})") from error
