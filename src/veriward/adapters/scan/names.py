"""What the name lists say about a class or function that a file names."""

from .calls import CALLS, TYPES
from .gadgets import is_gadget, renamed
from .values import Global


def resolved(module: str, name: str) -> Global:
    """The name as pickle.load would resolve it, with the outcome: allowlist first, then gadgets, else unknown.

    >>> resolved("copy_reg", "_reconstructor").outcome, resolved("os", "system").outcome, resolved("a", "B").outcome
    ('clean', 'dangerous', 'unknown')
    """
    if is_gadget(module, name):
        return Global(module, name, "dangerous")
    for pair in ((module, name), renamed(module, name)):
        # A dotted name walks through attributes, so it is not the name that it looks like.
        if "." not in name and ".".join(pair) in _ALLOWED:
            return Global(*pair, "clean")
    return Global(module, name, "unknown")


_ALLOWED = CALLS.keys() | TYPES
_SKLEARN = "names a class of scikit-learn, which pickle fills unseen; save the estimator with skops.io.dump"
_UNLISTED = "names code that is not on the allowlist"
UNLISTED = (_UNLISTED, _SKLEARN)  # why a name is unknown and no more than that: a stand-in makes it harmless


def advice(found: Global) -> str:
    """Why a name that nobody knows is not accepted, and what to do where that is known.

    >>> advice(Global("a", "B", "unknown"))
    'names code that is not on the allowlist'
    """
    if found.module.partition(".")[0] == "sklearn":
        return _SKLEARN
    return _UNLISTED
