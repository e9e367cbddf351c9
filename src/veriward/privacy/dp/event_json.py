"""Events as plain JSON data and back: for records and the ledger. No pickle, no names of modules from a file.

`dp_accounting`'s own named tuples import the module that a file names; here a kind is a key of one table.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from veriward.core.errors import SettingsError
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.relation import Relation

if TYPE_CHECKING:
    from dp_accounting import DpEvent

FIELDS: Mapping[str, tuple[str, ...]] = {
    "NoOp": (),
    "NonPrivate": (),
    "Gaussian": ("noise_multiplier",),
    "Laplace": ("noise_multiplier",),
    "DiscreteLaplace": ("noise_parameter", "sensitivity"),
    "RandomizedResponse": ("noise_parameter", "num_buckets"),
    "ZC": ("rho", "xi"),
    "SelfComposed": ("event", "count"),
    "Composed": ("events",),
    "PoissonSampled": ("sampling_probability", "event"),
    "SampledWithoutReplacement": ("source_dataset_size", "sample_size", "event"),
    "SingleEpochTreeAggregation": ("noise_multiplier", "step_counts"),
    "RepeatAndSelect": ("event", "mean", "shape"),
    "MixtureOfGaussians": ("standard_deviation", "sensitivities", "sampling_probs"),
}
WHOLE = frozenset({"count", "source_dataset_size", "sample_size", "num_buckets", "sensitivity", "step_counts"})
DEEPEST = 20  # events within events


def to_dict(event: Event) -> dict[str, Any]:
    """Return an event as plain data for JSON.

    >>> from veriward.privacy.dp.events import poisson
    >>> to_dict(poisson(0.1, 2.0, 5))["dp"]["event"]["event"]
    {'kind': 'Gaussian', 'noise_multiplier': 2.0}
    """
    relations = [relation.value for relation in event.relations]
    return {"dp": to_plain(event.dp), "relations": relations, "sampling": event.sampling, "unit": event.unit}


def from_dict(data: Any) -> Event:
    """Return the event of plain data; SettingsError for anything that `to_dict` cannot have written."""
    wanted = {"dp": dict, "relations": list, "sampling": str, "unit": str}
    if not isinstance(data, dict) or any(not isinstance(data.get(key), kind) for key, kind in wanted.items()):
        raise SettingsError("event: want dp, relations, sampling and unit, as veriward writes them")
    known = {relation.value: relation for relation in Relation}
    if not data["relations"] or any(name not in known for name in data["relations"]):
        raise SettingsError(f"event: unknown neighbouring relations; want some of {', '.join(known)}")
    relations = tuple(known[name] for name in data["relations"])
    return Event(from_plain(data["dp"]), relations, data["sampling"], data["unit"])


def to_plain(event: "DpEvent") -> dict[str, Any]:
    """Return an event of dp_accounting as plain data; SettingsError for a kind that no record has."""
    kind = type(event).__name__.removesuffix("DpEvent")
    if kind not in FIELDS:
        raise SettingsError(f"event: {type(event).__name__} is not known here; want one of {', '.join(FIELDS)}")
    return {"kind": kind, **{name: _plain(getattr(event, name)) for name in FIELDS[kind]}}


def _plain(value: Any) -> Any:
    if hasattr(value, "__attrs_attrs__"):
        return to_plain(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    number = value.item() if hasattr(value, "item") else value
    return "inf" if number == math.inf else number  # JSON has no infinity: the Poisson shape of random stopping


def from_plain(data: Any, depth: int = 0) -> "DpEvent":
    """Return the event of plain data; SettingsError for unknown kinds, wrong fields and nesting without end."""
    from dp_accounting import dp_event

    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS:
        raise SettingsError(f"event: kind {kind!r} is not known; want one of {', '.join(FIELDS)}")
    if set(data) != {"kind", *FIELDS[kind]} or depth > DEEPEST:
        raise SettingsError(f"event {kind}: want exactly the fields {', '.join(FIELDS[kind])}, at most {DEEPEST} deep")
    values = {name: _value(name, data[name], depth) for name in FIELDS[kind]}
    made: DpEvent = getattr(dp_event, f"{kind}DpEvent")(**values)
    return made


def _value(name: str, value: Any, depth: int) -> Any:
    if name == "event":
        return from_plain(value, depth + 1)
    if name == "events" and isinstance(value, list):
        return [from_plain(item, depth + 1) for item in value]
    if isinstance(value, list) and name in ("sensitivities", "sampling_probs", "step_counts"):
        return [_number(name, item) for item in value]
    return _number(name, math.inf if value == "inf" and name == "shape" else value)


def _number(name: str, value: Any) -> Any:
    kind = int if name in WHOLE else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or math.isnan(value) or value < 0:
        raise SettingsError(f"event: {name} = {value!r}; want a number, 0 or above")
    return value if name in WHOLE else float(value)
