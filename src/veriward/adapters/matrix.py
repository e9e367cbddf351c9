"""A table as the matrix of numbers that a booster has been trained on: columns by name, category values by their code."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from veriward.core.data import Table
from veriward.core.errors import ModelError

Floats = npt.NDArray[np.float64]
Vocabularies = Mapping[str, Sequence[Any]]


def as_matrix(
    x: Any, names: Sequence[str] | None, vocabularies: Vocabularies, *, strangers: bool, untold: Sequence[str] = ()
) -> Floats:
    """Return rows as (n, columns) float64, gaps as NaN; a matrix is taken as it is, categories as codes already.

    `strangers`: category values that the model has not seen count as gaps; otherwise they raise. `untold`: columns of
    categories whose values the model does not tell. Raises ModelError naming the column.

    >>> table = Table({"c": np.array(["x", "z", None], dtype=object)})
    >>> as_matrix(table, ["c"], {"c": ["z", "x"]}, strangers=False).tolist()
    [[1.0], [0.0], [nan]]
    """
    if not isinstance(x, Table):
        rows = x.detach().cpu().numpy() if isinstance(x, Tensor) else x
        return np.asarray(rows, dtype=np.float64)
    table = x.select(names) if names is not None else x
    columns = [_coded(name, table.columns[name], vocabularies.get(name), strangers, untold) for name in table.names]
    return np.column_stack(columns) if columns else np.empty((len(table), 0))


def _coded(
    name: str, values: npt.NDArray[Any], vocabulary: Sequence[Any] | None, strangers: bool, untold: Sequence[str]
) -> Floats:
    if vocabulary is None:
        return _numbers(name, values, name in untold)
    codes = {value: code for code, value in enumerate(vocabulary)}
    cells = values.tolist()
    coded = np.array([codes.get(cell, np.nan) for cell in cells], dtype=np.float64)
    if not strangers:
        unseen = [i for i in np.flatnonzero(np.isnan(coded)).tolist() if not _is_gap(cells[i])]
        if unseen:
            raise ModelError(
                f"column {name!r}: {len(unseen)} rows hold categories that the model has not seen in training, for which "
                f"its library gives no answer; it knows {len(vocabulary)} categories: correct the data or drop the rows"
            )
    return coded


def _numbers(name: str, values: npt.NDArray[Any], untold: bool) -> Floats:
    if values.dtype != object:
        return values.astype(np.float64)
    if all(cell is None for cell in values.tolist()):
        return np.full(len(values), np.nan)
    if untold:
        raise ModelError(
            f"column {name!r}: holds texts, and the model does not tell which code stands for which category (XGBoost "
            "keeps them from 3.1 on, for texts in ASCII; LightGBM where it is trained on pandas categories); "
            "write the column as the numbers that the model was trained on, or name its categories in ASCII and train again"
        )
    raise ModelError(f"column {name!r}: holds texts, and the model takes numbers; name input.columns without it")


def _is_gap(cell: Any) -> bool:
    return cell is None or cell != cell  # noqa: PLR0124 -- NaN is what differs from itself
