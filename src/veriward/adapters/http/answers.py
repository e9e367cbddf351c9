"""What a server of models answers, as a tensor: found in its JSON, and judged before it is believed."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.http.unanswered import quoted
from veriward.adapters.model import Classes
from veriward.core.errors import ModelError, some
from veriward.core.subject import Output

USUAL = ("predictions", "outputs")  # TensorFlow Serving, KServe, MLflow, Vertex AI


def parse(body: bytes, content_type: str) -> Any:
    """Return the document; ModelError for what is empty, HTML or not JSON. NaN and Infinity are no JSON (RFC 8259).

    >>> parse(b'{"predictions": [1]}', "application/json")
    {'predictions': [1]}
    """
    if not body.strip():
        raise ModelError("answers an empty body; want JSON")
    if "html" in content_type or body.lstrip()[:1] == b"<":
        raise ModelError("answers a page (HTML), not JSON; is this the address that predicts?")
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse)
    except RecursionError:
        raise ModelError("answers JSON that is nested too deeply; want a list of answers") from None
    except UnicodeDecodeError:
        raise ModelError("answers bytes that are not UTF-8; want JSON") from None
    except ValueError as error:
        why = f"{error.msg} at {error.pos}" if isinstance(error, json.JSONDecodeError) else "a number without end"
        raise ModelError(f"answers what is not JSON ({why} of {len(body)} bytes)") from None


def _refuse(constant: str) -> NoReturn:
    raise ModelError(f"answers {constant}, which is no number (and no JSON); want finite numbers")


def find(document: Any, path: str | None) -> Any:
    """Return the answers of all rows: where `path` leads, else where the usual servers put them.

    A tensor of the open inference protocol is unfolded by its shape.

    >>> find({"predictions": [{"scores": [0.1, 0.9]}]}, "predictions.*.scores")
    [[0.1, 0.9]]
    """
    found = _guess(document) if path is None else _follow(document, path.split(".") if path else [], path)
    if isinstance(found, list) and found and all(map(_is_tensor, found)):
        if len(found) > 1:
            raise ModelError(f"answers the tensors {_told(_by_name(found))}; choose one: answer = 'outputs.NAME'")
        found = found[0]
    return _unfold(found) if _is_tensor(found) else found


def _guess(document: Any) -> Any:
    if not isinstance(document, dict):
        return document
    keys = [key for key in USUAL if key in document]
    keys = keys or [key for key, value in document.items() if isinstance(value, list)]
    if len(keys) != 1:
        complaint = document.get("error") or document.get("message")
        said = f"; it says: {quoted(complaint)}" if isinstance(complaint, str) else ""
        raise ModelError(
            f"answers the keys {_told(document)}; say in model.endpoint.answer where the answers are{said}"
        )
    return document[keys[0]]


def _follow(value: Any, steps: Sequence[str], path: str) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if step == "*" and isinstance(value, list):
        return [_follow(item, rest, path) for item in value]
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return _follow(value[int(step)], rest, path)
    named = _by_name(value) if isinstance(value, list) else value
    if not isinstance(named, dict) or step not in named:
        there = _told(named) if isinstance(named, dict) and named else type(value).__name__
        raise ModelError(f"model.endpoint.answer = {path!r}: no {step!r} in the answer; there is {there}")
    return _follow(named[step], rest, path)


def _by_name(tensors: list[Any]) -> dict[str, Any]:
    return {str(item["name"]): item for item in tensors if isinstance(item, dict) and "name" in item}


def _told(mapping: dict[str, Any]) -> str:
    return quoted(some(mapping))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("shape"), list) and isinstance(value.get("data"), list)


def _unfold(tensor: dict[str, Any]) -> Any:
    shape, data = tensor["shape"], tensor["data"]
    if not all(type(size) is int and size >= 1 for size in shape):
        raise ModelError("answers a tensor whose shape is no list of sizes")
    flat = np.array(data, dtype=object).reshape(-1)
    if int(np.prod(shape, dtype=object)) != len(flat):
        raise ModelError(f"answers a tensor of shape {quoted(str(shape))} with {len(flat)} numbers")
    return flat.reshape(shape).tolist()


class Reading:
    """Turns answers into tensors and remembers their form: a server must not change it in the middle of a run.

    `given` are the classes that the subject names. Records {class: score} name them, too: `classes` is then known.
    """

    def __init__(self, given: Classes | None, said: Output | None = None) -> None:
        self.classes: Classes | None = None
        self._given, self._said = given, said
        self._shape: tuple[int, ...] | None = None
        self._names: bool | None = None  # whether answers are names of classes, as the first ones showed

    @property
    def output(self) -> Output | None:
        """What the answers are, where their form tells."""
        return "labels" if self._names else None

    def tensor(self, answers: Any, n: int) -> Tensor:
        """Return (n, k) scores, or (n,) labels or values; ModelError for anything that is not."""
        if not isinstance(answers, list):
            raise ModelError(f"answers {type(answers).__name__} where a list of answers should be; see answer")
        if len(answers) != n:
            raise ModelError(f"answers {len(answers)} rows for {n}; want one answer per row, in their order")
        if answers and isinstance(answers[0], dict):
            answers = self._lists(answers)
        else:
            self._names = self._are_names(answers) if self._names is None else self._names
            answers = self._numbers(answers) if self._names else answers
        return self._checked(torch.from_numpy(_numeric(answers)))

    def _lists(self, records: list[Any]) -> list[Any]:
        """Return the scores of records in the order of the classes; the order of JSON's keys means nothing."""
        names = self.classes or self._order(records[0])
        wanted = {str(name) for name in names}
        if not all(isinstance(record, dict) and record.keys() == wanted for record in records):
            raise ModelError(
                f"answers records with other keys than {quoted(some(sorted(wanted)))}; want the same classes always"
            )
        self.classes = names
        return [[record[str(name)] for name in names] for record in records]

    def _order(self, record: dict[str, Any]) -> Classes:
        if self._given is None and all(name.isprintable() for name in record):
            return tuple(sorted(record))
        if self._given is None:
            raise ModelError("answers records whose keys cannot be printed; want the names of the classes")
        if {str(name) for name in self._given} != record.keys():
            raise ModelError(f"answers scores for {_told(record)}, and data.classes says {some(self._given)}")
        return self._given

    def _are_names(self, answers: list[Any]) -> bool:
        """Whether the answers are names of classes: texts, or whole numbers that the subject lists as classes."""
        if all(isinstance(answer, str) for answer in answers):
            return True
        if self._given is None or self._said not in (None, "labels"):
            return False
        known = {str(name) for name in self._given}
        return all(isinstance(answer, int) and str(answer) in known for answer in answers)

    def _numbers(self, names: list[Any]) -> list[int]:
        if self._given is None:
            raise ModelError("answers names of classes; list them all in data.classes = [...]")
        number = {str(name): i for i, name in enumerate(self._given)}
        strange = next((name for name in names if str(name) not in number), None)
        if strange is not None:
            raise ModelError(f"answers the class {quoted(str(strange))}, which is not in data.classes: {some(number)}")
        return [number[str(name)] for name in names]

    def _checked(self, raw: Tensor) -> Tensor:
        form = tuple(raw.shape[1:])
        if self._shape is not None and form != self._shape:
            raise ModelError(f"answers {form} per row, and {self._shape} before; want the same form always")
        if self._said == "probabilities" and not _are_probabilities(raw):
            raise ModelError("answers scores that are no probabilities, as model.output says; want 0 to 1, sum 1")
        self._shape = form
        return raw.double() if raw.ndim == 2 else raw


def _are_probabilities(raw: Tensor) -> bool:
    scores = raw.double().reshape(len(raw), -1)
    inside = bool(((scores >= -1e-6) & (scores <= 1 + 1e-6)).all())
    return inside and (scores.shape[1] == 1 or bool(((scores.sum(1) - 1).abs() < 1e-3).all()))


def _numeric(answers: list[Any]) -> Any:
    """Return an int64 or float64 array; ModelError for ragged lists and whatever is no finite number."""
    _check_kinds(answers)
    try:
        array = np.asarray(answers)
    except ValueError:
        raise ModelError("answers lists of different lengths; want as many scores for every row") from None
    if array.dtype == object or not np.isfinite(array).all():
        raise ModelError("answers a number beyond all doubles; want finite numbers")
    return array.astype(np.int64 if array.dtype.kind in "bi" else np.float64)


def _check_kinds(answers: list[Any]) -> None:
    """Raise ModelError for what is no number, before numpy sees it: next to a long text it makes every cell as long."""
    kinds = set(map(type, answers))
    if list in kinds and len(kinds) > 1:
        raise ModelError("answers lists for some rows only; want as many scores for every row")
    if kinds == {list}:
        kinds = set().union(*(map(type, row) for row in answers))
    odd = kinds - {bool, int, float}
    if list in odd:
        raise ModelError("answers lists within lists for a row; want one number, or one score per class")
    if odd:
        told = {str: "a text", type(None): "null", dict: "a record"}
        raise ModelError(f"answers {told[odd.pop()]} among the numbers; want finite numbers")
