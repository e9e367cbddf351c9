"""What is done about a finding, and the proof that it helped. Importing this imports nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veriward.remedies.audit_recipe import Recipe
    from veriward.remedies.audit_replay import Replayed, replay
    from veriward.remedies.audit_trainer import Audit, self_audit

# In which module a name lives: it is loaded when somebody asks for the name.
_HOME = {
    "Audit": "audit_trainer",
    "Recipe": "audit_recipe",
    "Replayed": "audit_replay",
    "replay": "audit_replay",
    "self_audit": "audit_trainer",
}
__all__ = ["Audit", "Recipe", "Replayed", "replay", "self_audit"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'veriward.remedies' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}")
    return getattr(import_module(f"veriward.remedies.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
