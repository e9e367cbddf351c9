"""Addresses of the Internet protocol, versions 4 and 6, of hosts that somebody may sit at.

Four numbers with dots are an address unless a word before them says version, chapter or the like, or a letter is glued to
them (v1.2.3.4). Four digits with dots (1.2.3.4) are more often a version or a list of prices: a word must say that they
are an address. Addresses of nobody (0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3 with the net masks, :: and ::1) are left out.
"""

import ipaddress
import re
from collections.abc import Iterator

from veriward.privacy.identifiers.context import after, before, near
from veriward.privacy.identifiers.identifier import Identifier

_FOUR = re.compile(r"[0-9](?<![0-9.][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z])(?!\.[0-9])")
_VERSION = re.compile(
    r"(?i:(?<![a-z])v|(?<![a-z])ver|version|release|build|rev|firmware|section|chapter|版本|版|固件|驱动|系统|第)"
    r"(?:号|是|为|到|[.:_ -]){0,3}\Z"
)
_CHAPTER = re.compile(r"\s?[版章节条款]")
_ADDRESS = re.compile(r"(?i:\bip|address|host|server|地址|登录|登陆|服务器|网关|主机)")
_LETTERS = re.compile(r"(?i:[a-oq-z]|(?<!i)p)\Z")  # v1.2.3.40, but IP1.2.3.40
_SIX = re.compile(r"[0-9A-Fa-f:]{5,}")
LONGEST_SIX = 40  # eight groups of four, seven colons, one more that a sentence may add
FEWEST_GROUPS = 3


def find(text: str, hint: str = "") -> Iterator[Identifier]:
    """Yield the addresses of a normalised text.

    >>> [found.kind for found in find("登录IP:8.8.8.8，版本1.2.3.4，2001:db8::7")]
    ['ipv4', 'ipv6']
    """
    for found in _FOUR.finditer(text):
        if not _is_host(found[0]) or _is_version(text, *found.span()):
            continue
        named = near(_ADDRESS, text, *found.span(), hint)
        if named or len(found[0]) > len("1.2.3.4"):
            yield Identifier("ipv4", *found.span(), "context" if named else "format")
    for found in _SIX.finditer(text):
        start, end = _trimmed(text, *found.span())
        if end - start <= LONGEST_SIX and _is_six(text[start:end]) and not _is_letter(text[end : end + 1]):
            yield Identifier("ipv6", start, end, "format")


def _is_host(address: str) -> bool:
    parts = address.split(".")
    if any(part != str(int(part)) or int(part) > 255 for part in parts):
        return False
    return 0 < int(parts[0]) < 224 and parts[0] != "127"


def _is_version(text: str, start: int, end: int) -> bool:
    ahead = before(text, start, 14)
    return bool(_VERSION.search(ahead) or _LETTERS.search(ahead) or _CHAPTER.match(after(text, end)))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Take off the end of a word ("code:2001:…") and the colons of a sentence."""
    colon = text.find(":", start, end)
    if colon >= 0 and _is_letter(text[start - 1 : start]):
        start = colon + 1
    elif text.startswith(":", start) and not text.startswith("::", start):
        start += 1
    if text.endswith(":", start, end) and not text.endswith("::", start, end):
        end -= 1
    return start, end


def _is_letter(sign: str) -> bool:
    return sign.isascii() and sign.isalpha()


def _is_six(address: str) -> bool:
    """Return whether this is an address of a host; ab::cd is one by the letter, and C++ by what people write."""
    groups = [group for group in address.split(":") if group]
    if address.count(":") < 2 or len(groups) < FEWEST_GROUPS or not any(c.isdigit() for c in address):
        return False
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True
