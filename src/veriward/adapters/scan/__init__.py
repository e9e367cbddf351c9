"""What is in a model file, before anybody loads it: `scan(path)` answers clean, unknown or dangerous.

It reads pickles opcode by opcode and containers byte by byte, by allowlist: what it does not know is unknown, never
clean. It imports the standard library alone and runs nothing, so it can look at any file.
"""

from .folder import Scanned, scan_all
from .result import Outcome, Reason, ScanResult
from .scanner import scan, scan_content
from .skops import skops_types

__all__ = ["Outcome", "Reason", "ScanResult", "Scanned", "scan", "scan_all", "scan_content", "skops_types"]
