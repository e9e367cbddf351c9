"""Controls of reliability: subjects whose errors, weak slices and brittleness are known because they were planted."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from veriward.checks.contract import Control
from veriward.checks.reliability.asking import EVERYDAY
from veriward.core.subject import Subject

SLACK = 1e-9
ROWS = 400
RIGHT = 0.75  # of the planted answers
BOX = 100.0
Array = np.ndarray[Any, Any]
Truth = Mapping[str, tuple[float, float]]


def accuracy_controls(task: str) -> tuple[Control, ...]:
    """Return answers of which a quarter is wrong (predicted numbers: off by 2), and answers that are all right."""
    off = np.arange(ROWS) % 4 == 0
    y = np.arange(ROWS) % 2
    if task == "regression":
        worse, sound = _numbers(y + 2.0 * off, y), _numbers(y.astype(float), y)
        return (
            _control("planted errors", worse, {"mean_absolute_error": _near(2 * (1 - RIGHT))}),
            _control("no errors", sound, {"mean_absolute_error": _near(0.0)}),
        )
    wrong = np.arange(ROWS) % 8 < 2  # of both classes alike
    return (
        _control("planted errors", _decisions(np.where(wrong, 1 - y, y), y), {"clean_accuracy": _near(RIGHT)}),
        _control("no errors", _decisions(y, y), {"clean_accuracy": _near(1.0)}),
    )


def slice_controls(task: str, *, table: bool) -> tuple[Control, ...]:
    """Return one weak slice, a tenth of the rows of which most are wrong, and errors that lie everywhere alike.

    The column is a group beside the inputs, so that pictures have it too.
    """
    numbers = np.arange(4 * ROWS)
    tenth = (numbers // 10) % 10  # unrelated to the row's class and to its errors
    y = numbers % 2
    weak = (tenth == 3) & (numbers % 10 < 6) | (numbers % 20 == 7)
    even = np.isin(numbers % 40, (7, 16, 26, 37))  # one row of every ten, of both classes
    groups = {"tenth": np.array([f"t{number}" for number in tenth], dtype=object)}
    form = _flat if table else _pictured
    make = _numbers if task == "regression" else _decisions
    answers = {True: np.where(weak, 1 - y, y), False: np.where(even, 1 - y, y)}
    return (
        _control("weak slice", make(answers[True], y, groups, form), {"weak_slices": (1, len(numbers))}),
        _control("errors everywhere alike", make(answers[False], y, groups, form), {"weak_slices": _near(0.0)}),
    )


def noise_controls(task: str, *, table: bool) -> tuple[Control, ...]:
    """Return a model that decides by a number close to its threshold, and one whose margin noise cannot cross."""
    side = np.where(np.arange(ROWS) % 2, 1.0, -1.0)
    far = np.arange(ROWS) % 10 == 0  # gives the column its spread, of which noise is a share
    close = np.where(far, 10.0, 1e-6) if table else np.full(ROWS, 1e-4)
    name = "table" if table else "picture"
    at = {"corruption": "gaussian_noise"}
    if task == "regression":
        truth: tuple[Truth, Truth] = ({"error_increase": (0.3, 0.7)}, {"error_increase": _near(0.0)})
    else:
        truth = ({"accuracy_drop": (0.33, 0.58)}, {"accuracy_drop": _near(0.0)})
    make = _sided if table else _lit
    wide = np.full(ROWS, 10.0) if table else np.full(ROWS, 0.4)
    return (
        Control(f"brittle, {name}", make(side * close, task, brittle=True), EVERYDAY, truth[0], at),
        Control(f"steady, {name}", make(side * wide, task, brittle=False), EVERYDAY, truth[1], at),
    )


def environment_controls(task: str, *, module: bool) -> tuple[Control, ...]:
    """Return a model that decides by what another environment rounds away or batches otherwise, and one that does not."""
    side = np.where(np.arange(ROWS) % 2, 1.0, -1.0)
    at = {"environment": "bfloat16" if module else "small_batches"}
    unlike, alike = {"agreement": (0.4, 0.6)}, {"agreement": _near(1.0)}
    if module:
        fine, coarse = 1 + side * 2.0**-12, 1 + side * 0.5  # bfloat16 has 8 binary digits
        pair = (_subject(_Against(task), _flat(values), side > 0, task) for values in (fine, coarse))
        names = ("fine decisions, module", "coarse decisions, module")
    else:
        rising = np.linspace(-1, 1, ROWS)
        make = by_company if task == "classification" else company_value
        alone = by_sign if task == "classification" else sign_value
        pair = (_subject(live, _flat(rising), rising > 0, task) for live in (make, alone))
        names = ("decides by its batch", "decides row by row")
    first, second = pair
    return Control(names[0], first, EVERYDAY, unlike, at), Control(names[1], second, EVERYDAY, alike, at)


class _Against(nn.Module):
    """Scores of the first column against one; as a number, the sign of that."""

    def __init__(self, task: str) -> None:
        super().__init__()
        self.task = task
        self.one = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        over = x[:, :1] - self.one
        if self.task == "regression":
            return torch.where(over > 0, 2.0, 1.0)[:, 0]
        return torch.cat([torch.zeros_like(over), over], dim=1)


def by_company(x: object) -> Array:
    """Return scores that choose class 1 where the first column lies above the mean of the batch."""
    first = np.asarray(x, dtype=np.float64)[:, 0]
    return _scores(first > first.mean())


def company_value(x: object) -> Array:
    """Return 2 where the first column lies above the mean of the batch, else 1."""
    return by_company(x)[:, 1] + 1


def by_sign(x: object) -> Array:
    """Return scores that choose class 1 where the first number of a row is positive."""
    return _scores(_first(x) > 0)


def sign_value(x: object) -> Array:
    """Return 2 where the first number of a row is positive, else 1."""
    return by_sign(x)[:, 1] + 1


def first_value(x: object) -> Array:
    """Return the first number of each row."""
    return _first(x)


def lit(x: object) -> Array:
    """Return scores that choose class 1 where the first pixel is bright."""
    return _scores(_first(x) > 0.5)


def lit_value(x: object) -> Array:
    """Return 2 where the first pixel is bright, else 1."""
    return lit(x)[:, 1] + 1


def bright(x: object) -> Array:
    """Return scores that choose class 1 where a picture is bright on the whole."""
    rows = np.asarray(x, dtype=np.float64)
    return _scores(rows.reshape(len(rows), -1).mean(axis=1) > 0.5)


def bright_value(x: object) -> Array:
    """Return 2 where a picture is bright on the whole, else 1."""
    return bright(x)[:, 1] + 1


def _first(x: object) -> Array:
    rows = np.asarray(x, dtype=np.float64)
    return np.asarray(rows.reshape(len(rows), -1)[:, 0])


def _scores(chosen: Array) -> Array:
    return np.stack([1.0 - chosen, chosen.astype(np.float64)], axis=1)


def _near(value: float) -> tuple[float, float]:
    return value - SLACK, value + SLACK


def _control(name: str, subject: Subject, truth: Truth) -> Control:
    return Control(name, subject, EVERYDAY, truth)


def _flat(first: Array) -> Array:
    return np.stack([first, np.zeros(len(first))], axis=1).astype(np.float64)


def _pictured(first: Array) -> Array:
    x = np.zeros((len(first), 1, 4, 4), np.float32)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = first, 1 - first  # all pictures are equally bright
    return x


def _decisions(
    answers: Array, y: Array, groups: Mapping[str, Array] | None = None, form: Callable[[Array], Array] = _flat
) -> Subject:
    return _subject(by_sign, form(answers.astype(float)), y, "classification", groups)


def _numbers(
    answers: Array, y: Array, groups: Mapping[str, Array] | None = None, form: Callable[[Array], Array] = _flat
) -> Subject:
    return _subject(first_value, form(answers.astype(float)), y.astype(float), "regression", groups)


def _sided(first: Array, task: str, *, brittle: bool) -> Subject:
    """A table whose first column decides by its sign; predicted numbers are off by a half from the start."""
    y = (first > 0).astype(float)
    live = sign_value if task == "regression" else by_sign
    return _subject(live, _flat(first), y + 1.5 if task == "regression" else y, task)


def _lit(away: Array, task: str, *, brittle: bool) -> Subject:
    """Pictures that a single pixel, or all of them together, put to one side of grey."""
    x = np.full((len(away), 1, 8, 8), 0.5, np.float32)
    if brittle:
        x[:, 0, 0, 0] += away
    else:
        x += away.astype(np.float32)[:, None, None, None]
    y = (away > 0).astype(float)
    lives = (lit_value, bright_value) if task == "regression" else (lit, bright)
    chosen = lives[0] if brittle else lives[1]
    return _subject(chosen, x, y + 1.5 if task == "regression" else y, task, bounds=(0.0, 1.0))


def _subject(
    live: Any,
    x: Array,
    y: Array,
    task: str,
    groups: Mapping[str, Array] | None = None,
    bounds: tuple[float, float] = (-BOX, BOX),
) -> Subject:
    numbers = task == "regression"
    output = "value" if numbers else "logits" if isinstance(live, nn.Module) else "probabilities"
    rows = {"x": x, "y": y.astype(np.float64 if numbers else np.int64), **(groups or {})}
    return Subject.model_validate(
        {
            "name": "planted",
            "task": task,
            "model": {"live": live, "output": output},
            "data": {"test": rows, "groups": list(groups or {})},
            "input": {"kind": "tabular" if x.ndim == 2 else "image", "bounds": bounds},
        }
    )
