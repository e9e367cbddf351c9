"""Model security and privacy, with evidence. Importing this imports neither torch nor scipy nor scikit-learn."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veriward import checks, privacy
    from veriward.adapters.dlpack import from_jax, from_tensorflow
    from veriward.adapters.scan import ScanResult, scan
    from veriward.checks.registry import registry
    from veriward.core.dossier import Dossier
    from veriward.core.errors import VeriwardError
    from veriward.core.policy import Policy
    from veriward.core.seal import verify
    from veriward.core.subject import Subject
    from veriward.remedies.private_training import train
    from veriward.run.assess import assess

__version__ = "0.1.0.dev0"

_HOME = {
    "Dossier": "veriward.core.dossier",
    "Policy": "veriward.core.policy",
    "ScanResult": "veriward.adapters.scan",
    "Subject": "veriward.core.subject",
    "VeriwardError": "veriward.core.errors",
    "assess": "veriward.run.assess",
    "from_jax": "veriward.adapters.dlpack",
    "from_tensorflow": "veriward.adapters.dlpack",
    "registry": "veriward.checks.registry",
    "scan": "veriward.adapters.scan",
    "train": "veriward.remedies.private_training",
    "verify": "veriward.core.seal",
}
_ROOMS = ("checks", "privacy")  # rooms whose own names are the face: vw.privacy.dp.epsilon(...)
__all__ = [
    "Dossier",
    "Policy",
    "ScanResult",
    "Subject",
    "VeriwardError",
    "assess",
    "checks",
    "from_jax",
    "from_tensorflow",
    "privacy",
    "registry",
    "scan",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"veriward.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'veriward' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
