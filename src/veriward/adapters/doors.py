"""Optional packages: each is asked for at one door, which says how to get it."""

from importlib import import_module
from typing import Any

from veriward.core.errors import DependencyMissing


def door(package: str, extra: str, need: str) -> Any:
    """Import an optional package; DependencyMissing with the pip command where it is not installed.

    >>> door("math", "none", "sums").floor(1.5)
    1
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] != package.partition(".")[0]:
            raise  # the package is there, and something it needs is not: its own message says what
        raise DependencyMissing(
            f"{need} needs the package {package}, which is not installed: pip install 'veriward[{extra}]'"
        ) from error
