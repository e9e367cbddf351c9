"""LightGBM's text files as a Forest. Source: LightGBM 4, src/boosting/gbdt_model_text.cpp and include/LightGBM/tree.h.

The text is checked whole before the library sees it: LightGBM reads trees in parallel from the offsets that the text
claims, and where those lie, it leaves its memory or ends the process.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from veriward.adapters.trees.forest import Forest, Link, Reading
from veriward.adapters.trees.lightgbm_nodes import is_linear, one, parse_tree
from veriward.adapters.trees.tree import side_by_side
from veriward.core.errors import ArtefactError

ZERO = float(np.float32(1e-35))  # kZeroThreshold: what is nearer to zero is zero
LIBRARY = Reading(strict=False, single=False, tiny=ZERO, truncates=True)
EXP = ("poisson", "gamma", "tweedie")
IDENTITY = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")
_SIZES = "tree_sizes"
_END = "end of trees"


@dataclass(frozen=True)
class Model:
    """A model as LightGBM wrote it: the fields of its head, and the fields of each tree."""

    head: Mapping[str, str]
    trees: tuple[Mapping[str, str], ...]
    tail: str

    @classmethod
    def parse(cls, content: bytes) -> "Model":
        """Read the bytes of a text file; ArtefactError for anything else, and for trees that are none."""
        try:
            text = content.decode("utf-8")
            at = text.index("\nTree=0\n") + 1 if "\nTree=0\n" in text else text.index(f"\n{_END}") + 1
            head = _fields(text[:at])
            sizes = [one(size) for size in head.get(_SIZES, "").split()]
            stop = at + sum(sizes)
            if not text.isascii():  # sizes count bytes, and so must the places that they lead to
                at, stop = len(text[:at].encode()), len(text[:at].encode()) + sum(sizes)
            model = cls(head, tuple(_trees(content[at:stop], sizes)), content[stop:].decode("utf-8"))
            model.check()
        except (KeyError, ValueError, IndexError, OverflowError, RecursionError) as error:
            raise ArtefactError(
                f"LightGBM text: lacks or garbles a part ({type(error).__name__}: {str(error)[:80]}); want one that "
                "save_model of LightGBM 3 or later wrote"
            ) from error
        return model

    def check(self) -> None:
        """Touch every part that is used later, natively or here: a part that is wrong raises now."""
        if not self.tail.startswith(f"{_END}\n"):
            raise ArtefactError("LightGBM text: its trees do not end where it says; want the whole file")
        names, ranges = self.names, self.head["feature_infos"].split()
        if len(names) != self.width or len(ranges) != self.width:
            raise ArtefactError(f"LightGBM text: names {len(names)} inputs of {self.width}; want all")
        classes, step = one(self.head["num_class"]), self.outputs
        said = one(self.options.get("num_class", str(classes)))
        if step < 1 or classes != step or said != classes or len(self.trees) % step:
            raise ArtefactError("LightGBM text: classes, trees and the objective do not go together")
        _ = (one(self.head["label_index"]), self.slope, self.categories, self.vocabularies, self.forest)

    @cached_property
    def objective(self) -> str:
        """Its name, e.g. "binary"; empty where training had a function of the user's."""
        return (self.head.get("objective", "").split() or [""])[0]

    @cached_property
    def options(self) -> dict[str, str]:
        """What stands behind the objective: `sigmoid`, `num_class`, `sqrt`."""
        words = self.head.get("objective", "").split()[1:]
        return {name: value for name, _, value in (word.partition(":") for word in words)}

    @cached_property
    def width(self) -> int:
        """The number of inputs."""
        return one(self.head["max_feature_idx"]) + 1

    @cached_property
    def outputs(self) -> int:
        """The number of margins of a row."""
        return one(self.head["num_tree_per_iteration"])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The inputs' names; `Column_0` and so on where it has been trained on a bare matrix."""
        return tuple(self.head["feature_names"].split(" "))

    @cached_property
    def slope(self) -> float:
        """The steepness of the logistic link."""
        slope = float(self.options.get("sigmoid", "1"))
        if not 0 < slope < float("inf"):
            raise ArtefactError(f"LightGBM text: sigmoid is {slope}; want a number above zero")
        return slope

    @cached_property
    def averages(self) -> bool:
        """Whether answers are means over trees, as random forests give them."""
        return "average_output" in self.head

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The inputs that have been trained on as categories."""
        told = re.search(r"^\[categorical_feature: ([\d,]*)\]$", self.tail, re.MULTILINE)
        if told is None:
            ranges = zip(self.names, self.head["feature_infos"].split(), strict=True)
            return tuple(name for name, range_ in ranges if ":" in range_ and not range_.startswith("["))
        return tuple(self.names[one(number)] for number in told[1].split(",") if number)

    @cached_property
    def vocabularies(self) -> tuple[tuple[Any, ...], ...]:
        """The values of the pandas category columns of training, in their order; the file does not say which they are."""
        lines = self.tail.rstrip("\n").rsplit("\n", 1)
        label = "pandas_categorical:"
        stored = json.loads(lines[-1].removeprefix(label)) if lines[-1].startswith(label) else None
        return tuple(tuple(words) for words in stored or ())

    @property
    def link(self) -> Link:
        """What turns margins into answers."""
        if self.objective in EXP:
            return "exp"
        if self.objective in ("binary", "multiclassova", "cross_entropy"):
            return "logistic"
        if self.objective == "multiclass":
            return "softmax"
        return "identity" if self.objective in ("", *IDENTITY) and "sqrt" not in self.options else "other"

    @cached_property
    def forest(self) -> Forest | None:
        """The trees; None where leaves hold linear models."""
        trees = [parse_tree(tree, self.width) for tree in self.trees]
        share = max(1, len(trees) // self.outputs) if self.averages else 1
        structure = side_by_side(
            [replace(tree, value=tree.value / share) for tree in trees],
            width=self.width,
            output=np.arange(len(trees)) % self.outputs,
            base=np.zeros(self.outputs),
            reading=LIBRARY,
            link=self.link,
            slope=self.slope,
        )
        return None if any(is_linear(tree) for tree in self.trees) else structure


def _trees(content: bytes, sizes: list[int]) -> Iterator[Mapping[str, str]]:
    at = 0
    for number, size in enumerate(sizes):
        block = content[at : at + size].decode("utf-8")
        if (len(block) < size and block.isascii()) or not block.startswith(f"Tree={number}\n"):
            raise ArtefactError(f"LightGBM text: tree {number} is not where tree_sizes says; want the whole file")
        yield _fields(block)
        at += size


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition("=")
        if name and name in found:
            raise ArtefactError(f"LightGBM text: two lines {name[:40]!r} in one block; want one of each")
        if name:
            found[name] = value
    return found
