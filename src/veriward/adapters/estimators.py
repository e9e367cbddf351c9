"""Fitted scikit-learn estimators and pipelines, from `.skops` files or live."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from veriward.adapters.artefact import Artefact
from veriward.adapters.loading import Loading
from veriward.adapters.scan import skops_types
from veriward.adapters.trees.forest import Forest
from veriward.adapters.trees.sklearn_forest import forest_of
from veriward.core.data import Table
from veriward.core.errors import ArtefactError
from veriward.core.subject import Access, Subject


class EstimatorBackend:
    """A classifier with `predict_proba` (or only `predict`), or a regressor. Columns are selected by name."""

    def __init__(self, estimator: Any, *, format: str) -> None:
        self.estimator, self.format = estimator, format
        self.scored = hasattr(estimator, "predict_proba")
        self.access: Access = "scores" if self.scored else "labels"
        classes = getattr(estimator, "classes_", None)
        self.classes = tuple(np.asarray(classes).tolist()) if classes is not None else None
        names = getattr(estimator, "feature_names_in_", None)
        self.columns = tuple(str(name) for name in names) if names is not None else None
        self.width = getattr(estimator, "n_features_in_", None)

    @property
    def output(self) -> str:
        """What `raw` gives."""
        if self.classes is None:
            return "value"
        return "probabilities" if self.scored else "labels"

    def raw(self, x: Any) -> Tensor:
        """Return probabilities, class numbers or values of whole batches."""
        rows = self._prepared(x)
        if self.classes is None:
            return torch.as_tensor(np.asarray(self.estimator.predict(rows), dtype=np.float64))
        if self.scored:
            return torch.as_tensor(np.asarray(self.estimator.predict_proba(rows), dtype=np.float64))
        number = {name: i for i, name in enumerate(self.classes)}
        return torch.tensor([number[label] for label in self.estimator.predict(rows).tolist()])

    def forest(self) -> Forest | None:
        """Return the trees of scikit-learn's tree models; None for other kinds."""
        return forest_of(self.estimator)

    def matrix(self, x: Any) -> npt.NDArray[np.float64]:
        """Return rows as the trees read them, (n, inputs)."""
        return np.asarray(self._prepared(x), dtype=np.float64)

    def _prepared(self, x: Any) -> Any:
        if isinstance(x, Table):
            return x.select(self.columns).frame() if self.columns is not None else x.matrix()
        return x.numpy() if isinstance(x, Tensor) else x


def from_skops(artefact: Artefact, subject: Subject, how: Loading) -> EstimatorBackend:
    """Load a `.skops` file with the types that the scanner allowed, and no others."""
    import skops.io

    path, content = artefact.path, artefact.content()
    trusted = skops_types(content)
    try:
        wanted = skops.io.get_untrusted_types(data=content)
        estimator = skops.io.loads(content, trusted=[name for name in wanted if name in trusted])
    except Exception as error:
        text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise ArtefactError(
            f"{path}: cannot be loaded by skops ({text}); save it with the installed versions"
        ) from error
    if not hasattr(estimator, "predict"):
        raise ArtefactError(f"{path}: holds a {type(estimator).__name__}, which does not predict; want a fitted model")
    return EstimatorBackend(estimator, format="skops")
