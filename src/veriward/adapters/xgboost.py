"""XGBoost models, from `.ubj` and `.json` files or as live Boosters. XGBoost 3, "Prediction" and "Model IO".

The document is read and checked before the library sees it; whole batches are asked on one thread.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.artefact import Artefact
from veriward.adapters.doors import door
from veriward.adapters.loading import Loading
from veriward.adapters.matrix import Floats, as_matrix
from veriward.adapters.model import Classes
from veriward.adapters.trees.forest import Forest
from veriward.adapters.trees.xgboost_trees import MARGINS, SOFTMAX, Document
from veriward.core.errors import ArtefactError
from veriward.core.subject import Access, Output, Subject


class XGBoostBackend:
    """A Booster, built anew from the bytes of a model: nothing of the caller's is changed."""

    access: Access = "scores"
    format: str = "xgboost"
    classes: Classes | None = None  # the file counts classes and does not name them

    def __init__(self, content: bytes) -> None:
        self.document = Document.parse(content)
        self.library = door("xgboost", "boosting", "an XGBoost model")
        self.columns, self.width = self.document.names, self.document.width
        names = self.columns or [f"f{i}" for i in range(self.width)]
        self.vocabularies = {names[i]: words for i, words in self.document.vocabularies.items()}
        self.untold = [name for name, kind in zip(names, self.document.types or (), strict=False) if kind == "c"]
        with self.library.config_context(verbosity=0):
            self.booster = self.library.Booster({"nthread": 1})
            self.booster.load_model(bytearray(content))

    @cached_property
    def output(self) -> Output:
        """What `raw` gives: by the objective."""
        objective = self.document.objective
        if objective in MARGINS:
            return "logits"
        return "probabilities" if objective in (*SOFTMAX, "binary:logistic") else "value"

    def forest(self) -> Forest | None:
        """Return the trees; None for a linear model."""
        return self.document.forest

    def matrix(self, x: Any) -> Floats:
        """Return rows as the trees read them: (n, width), category values as codes."""
        return as_matrix(x, self.columns, self.vocabularies, strangers=False, untold=self.untold)

    def raw(self, x: Any) -> Tensor:
        """Return probabilities, margins or values of whole batches; multi:softmax's labels are told as probabilities."""
        by_margin = self.document.objective in (*SOFTMAX, *MARGINS)
        answers = torch.as_tensor(self.predicted(x, margins=by_margin))
        return torch.softmax(answers.double(), dim=1) if self.document.objective in SOFTMAX else answers

    def predicted(self, x: Any, *, margins: bool) -> Any:
        """Return the library's own answers, (n,) or (n, outputs)."""
        rows = self.matrix(x)
        if not len(rows):
            return np.empty((0, self.document.outputs), np.float32)
        named = {"feature_names": self.columns, "feature_types": self.document.types}
        with self.library.config_context(verbosity=0):
            data = self.library.DMatrix(rows, nthread=1, missing=np.nan, **{k: list(v) for k, v in named.items() if v})
            return self.booster.predict(data, output_margin=margins, iteration_range=(0, self.document.rounds))


def from_xgboost(artefact: Artefact, subject: Subject, how: Loading) -> XGBoostBackend:
    """Load a `.ubj` or `.json` file; ArtefactError for documents that lead prediction astray, before it is asked."""
    return _opened(artefact.content(), str(artefact.path))


def from_booster(booster: Any) -> XGBoostBackend:
    """Take a live Booster as it would be saved."""
    return _opened(bytes(booster.save_raw("ubj")), "model")


def _opened(content: bytes, where: str) -> XGBoostBackend:
    try:
        return XGBoostBackend(content)
    except ArtefactError as error:
        raise ArtefactError(f"{where}: {error}") from error
    except ValueError as error:  # the library's own errors are ValueErrors
        text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise ArtefactError(
            f"{where}: cannot be loaded by XGBoost ({text}); save it with the installed version"
        ) from error
