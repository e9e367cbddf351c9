"""Families of questions: one folder each, one file a check. A family's own functions load when somebody asks for them."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from veriward.checks import leakage

_FAMILIES = ("leakage",)  # whose own names are a face: vw.checks.leakage.one_run_epsilon(...)
__all__ = ["leakage"]


def __getattr__(name: str) -> ModuleType:
    if name not in _FAMILIES:
        raise AttributeError(f"module 'veriward.checks' has no attribute {name!r}; it has {', '.join(_FAMILIES)}")
    return import_module(f"veriward.checks.{name}")
