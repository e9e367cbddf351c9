"""Find personal identifiers in texts and columns of numbers.

>>> [found.kind for found in scan("手机13812345678，邮箱li.lei@qq.com")]
['cn_mobile', 'email']
"""

from veriward.privacy.identifiers.hashing import keyed_hash
from veriward.privacy.identifiers.identifier import KINDS, Confidence, Identifier, Recogniser
from veriward.privacy.identifiers.patterns import Patterns
from veriward.privacy.identifiers.plugins import installed, scan, scan_texts

__all__ = [
    "KINDS",
    "Confidence",
    "Identifier",
    "Patterns",
    "Recogniser",
    "installed",
    "keyed_hash",
    "scan",
    "scan_texts",
]
