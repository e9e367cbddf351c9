"""E-mail addresses: the dot-atom form of RFC 5322 section 3.4.1, in ASCII, with the lengths of RFC 5321 section 4.5.3."""

import re
from collections.abc import Iterator

from veriward.privacy.identifiers.identifier import Identifier

LONGEST_LOCAL = 64
# Found from the @ outwards, each side of bounded length: a megabyte of "a@a@a@" costs no more than any other megabyte.
_DOMAIN = re.compile(
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}(?P<top>[A-Za-z]{2,24})(?![A-Za-z0-9@])(?!-[A-Za-z0-9])"
)
_LOCAL = re.compile(r"(?<![A-Za-z0-9.!#$%&'*+/=?^_`{|}~-])[A-Za-z0-9_](?:[A-Za-z0-9._%+'-]*[A-Za-z0-9_%+-])?\Z")
FILES = frozenset(["png", "jpg", "jpeg", "gif", "svg", "webp", "bmp", "ico", "css", "js"])  # icon@2x.png is no address


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the addresses of a normalised text.

    >>> [(found.start, found.end) for found in find("邮箱li.lei@qq.com谢谢")]
    [(2, 15)]
    """
    for domain in _DOMAIN.finditer(text):
        at = domain.start()
        local = _LOCAL.search(text, max(0, at - LONGEST_LOCAL), at)
        if local and ".." not in local[0] and domain["top"].lower() not in FILES:
            yield Identifier("email", local.start(), domain.end(), "format")
