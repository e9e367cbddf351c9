"""What a run ran on: versions of everything that can change a number."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("veriward", "torch", "numpy", "scipy", "scikit-learn", "skops", "safetensors", "duckdb", "pandas")


def environment(device: str = "cpu") -> dict[str, str]:
    """Return names and versions; no host name, no path, no user.

    >>> "python" in environment()
    True
    """
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "device": device}
