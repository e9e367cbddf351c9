"""Building blocks for private computing. Knows nothing of checks. Its rooms load when somebody asks for them."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from veriward.privacy import dp, identifiers

_ROOMS = ("dp", "identifiers")
__all__ = ["dp", "identifiers"]


def __getattr__(name: str) -> ModuleType:
    if name not in _ROOMS:
        raise AttributeError(f"module 'veriward.privacy' has no attribute {name!r}; it has {', '.join(_ROOMS)}")
    return import_module(f"veriward.privacy.{name}")
