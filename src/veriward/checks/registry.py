"""All checks by name: ours, and those of installed packages under the entry point `veriward.checks`."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from veriward.checks.contract import Check
from veriward.core.errors import SettingsError

MODULES = (
    "veriward.checks.artefact.scan",
    "veriward.checks.certify.bounds",
    "veriward.checks.certify.smoothing",
    "veriward.checks.data.pii",
    "veriward.checks.data.profile",
    "veriward.checks.data.splits",
    "veriward.checks.evasion.curve",
    "veriward.checks.evasion.linf",
    "veriward.checks.evasion.l2",
    "veriward.checks.evasion.l1",
    "veriward.checks.evasion.universal",
    "veriward.checks.evasion.patch",
    "veriward.checks.leakage.loss",
    "veriward.checks.fairness.groups",
    "veriward.checks.fairness.proxies",
    "veriward.checks.reliability.accuracy",
    "veriward.checks.reliability.environments",
    "veriward.checks.reliability.noise",
    "veriward.checks.reliability.slices",
)
_known: dict[str, Check] = {}


def register(kind: type[Check]) -> type[Check]:
    """Make a check known by its name; two checks of one name are refused."""
    if kind.name in _known and type(_known[kind.name]) is not kind:
        raise SettingsError(f"check {kind.name!r} is registered twice; give one of them another name")
    _known[kind.name] = kind()
    return kind


@cache
def _import_all() -> None:
    for name in MODULES:
        import_module(name)
    for point in entry_points(group="veriward.checks"):
        point.load()


def registry() -> dict[str, Check]:
    """Return all checks by name, in alphabetical order. Imports no torch."""
    _import_all()
    return dict(sorted(_known.items()))


def select(patterns: Sequence[str] | None) -> dict[str, Check]:
    """Return the checks that match any of the patterns, e.g. "evasion/*"; None means all.

    Raises SettingsError for a pattern that matches nothing.
    """
    known = registry()
    if patterns is not None and not patterns:
        raise SettingsError(f"--checks: names no check; there are: {', '.join(known)}")
    for pattern in patterns or ():
        if not any(fnmatchcase(name, pattern) for name in known):
            raise SettingsError(f"--checks {pattern}: matches no check; there are: {', '.join(known)}")
    return {name: c for name, c in known.items() if patterns is None or any(fnmatchcase(name, p) for p in patterns)}
