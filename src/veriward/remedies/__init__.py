"""Whatever makes a new Subject of an old one: private training with its audits, later hardening and federated training."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veriward.remedies.audit_replay import Replayed, replay
    from veriward.remedies.audit_settings import TrainerSettings
    from veriward.remedies.audit_trainer import Audit, self_audit
    from veriward.remedies.private_training import PrivateModel, train

# In which module a name lives: it is loaded when somebody asks for the name.
_HOME = {
    "Audit": "audit_trainer",
    "PrivateModel": "private_training",
    "Replayed": "audit_replay",
    "TrainerSettings": "audit_settings",
    "replay": "audit_replay",
    "self_audit": "audit_trainer",
    "train": "private_training",
}
__all__ = ["Audit", "PrivateModel", "Replayed", "TrainerSettings", "replay", "self_audit", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'veriward.remedies' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}")
    return getattr(import_module(f"veriward.remedies.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
