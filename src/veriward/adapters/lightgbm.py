"""LightGBM models, from `.txt` files or as live Boosters. LightGBM 4.

The text is read and checked before the library sees it; whole batches are asked on one thread.
"""

import io
import re
from contextlib import redirect_stdout
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
from veriward.adapters.trees.lightgbm_text import Model
from veriward.core.data import Table
from veriward.core.errors import ArtefactError, ModelError, some
from veriward.core.subject import Access, Output, Subject


class LightGBMBackend:
    """A Booster, built anew from the text of a model: nothing of the caller's is changed."""

    access: Access = "scores"
    format: str = "lightgbm"
    classes: Classes | None = None  # the file counts classes and does not name them

    def __init__(self, content: bytes) -> None:
        self.model = Model.parse(content)
        library = door("lightgbm", "boosting", "a LightGBM model")
        named = not all(re.fullmatch(r"Column_\d+", name) for name in self.model.names)
        self.columns = self.model.names if named else None
        self.width = self.model.width
        with redirect_stdout(io.StringIO()):  # the library prints what it also raises
            self.booster = library.Booster(model_str=content.decode("utf-8"))

    @property
    def output(self) -> Output | None:
        """What `raw` gives, by the objective; None where training had a function of the user's."""
        if self.model.objective in ("binary", "multiclass"):
            return "probabilities"
        if self.model.objective == "multiclassova":
            return "logits"  # its answers do not sum to one, so the margins are told
        return "value" if self.model.objective else None

    def forest(self) -> Forest | None:
        """Return the trees; None where leaves hold linear models."""
        return self.model.forest

    def matrix(self, x: Any) -> Floats:
        """Return rows as the trees read them: (n, width), category values as codes, unseen ones as gaps."""
        words = self._vocabularies(x) if isinstance(x, Table) else {}
        return as_matrix(x, self.columns, words, strangers=True, untold=self.model.categories)

    def raw(self, x: Any) -> Tensor:
        """Return probabilities, margins or values of whole batches."""
        return torch.as_tensor(self.predicted(x, margins=self.output == "logits"))

    def predicted(self, x: Any, *, margins: bool) -> Any:
        """Return the library's own answers, (n,) or (n, outputs)."""
        rows = self.matrix(x)
        if not len(rows):
            return np.empty((0, self.model.outputs))
        return self.booster.predict(rows, raw_score=margins, num_threads=1, verbosity=-1)

    def _vocabularies(self, table: Table) -> dict[str, tuple[Any, ...]]:
        """Which column has which category values: the file lists the values in the columns' order, without names."""
        words = self.model.vocabularies
        columns = table.select(self.columns).columns if self.columns is not None else table.columns
        texts = [name for name, values in columns.items() if values.dtype == object]
        for names in (texts, self.model.categories):
            if words and len(names) == len(words):
                return dict(zip(names, words, strict=True))
        if words and texts:
            raise ModelError(
                f"columns {some(texts)}: hold texts, and the model lists values for {len(words)} category columns without "
                "naming them; train on a frame where every text column is a category, and no other column is"
            )
        return {}


def from_lightgbm(artefact: Artefact, subject: Subject, how: Loading) -> LightGBMBackend:
    """Load a `.txt` file; ArtefactError for texts that lead prediction astray, before it is asked."""
    return _opened(artefact.content(), str(artefact.path))


def from_booster(booster: Any) -> LightGBMBackend:
    """Take a live Booster as it would be saved: up to its best round."""
    return _opened(booster.model_to_string().encode("utf-8"), "model")


def _opened(content: bytes, where: str) -> LightGBMBackend:
    try:
        return LightGBMBackend(content)
    except ArtefactError as error:
        raise ArtefactError(f"{where}: {error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "lightgbm":
            raise
        text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise ArtefactError(
            f"{where}: cannot be loaded by LightGBM ({text}); save it with the installed version"
        ) from error
