"""What the scanner of files says, in Chinese. The scanner speaks English and knows no catalogue, so its sentences are
matched against their templates, which stand in `catalogues/scan.zh.toml`.

What fills the holes was chosen by whoever made the file, so matching takes no regular expressions: it cuts at the fixed
parts of a template, in one pass, and what stands between them is copied and never read as a template.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

PARTS = ("what", "why", "error")
_HOLE = re.compile(r"\{(\d)(?::(\w+))?\}")  # in our own Chinese alone: {0}, or {0:why} for a phrase of [why]
_MAX_CHARACTERS = 2_000  # no sentence is longer
_MAX_DEPTH = 3  # phrases within phrases


@dataclass(frozen=True)
class Template:
    """An English sentence cut at its holes, and the Chinese that takes what was in them."""

    fixed: tuple[str, ...]
    chinese: str

    def holes(self, text: str) -> list[str] | None:
        """Return what the text has in the holes, each as short as it can be; None where it is another sentence.

        >>> Template(("", " of ", " bytes"), "").holes("1 of 20 bytes")
        ['1', '20']
        """
        first, last = self.fixed[0], self.fixed[-1]
        if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
            return None
        at, end = len(first), len(text) - len(last)
        found: list[str] = []
        for part in self.fixed[1:-1]:
            cut = text.find(part, at, end)
            if cut < 0:
                return None
            found.append(text[at:cut])
            at = cut + len(part)
        return [*found, text[at:end]]


def translated(text: str, part: str = "why") -> str:
    """Return the Chinese for a reason of the scanner, the text itself where it is none.

    `part` is "why", or "what" for what was found (a name from the file stays as it is), or "error" for a file that
    could not be read.

    >>> translated("lies more than 4 archives deep and is not read")
    '嵌套超过 4 层归档，未读取'
    >>> translated("layer1.weight", "what")
    'layer1.weight'
    """
    return _translated(text, part, _MAX_DEPTH)


def templates() -> Mapping[str, Mapping[str, str]]:
    """Return the Chinese by part and English template."""
    source = resources.files("veriward") / "reports" / "catalogues" / "scan.zh.toml"
    data: Mapping[str, Mapping[str, str]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return data


@dataclass(frozen=True)
class _Part:
    exact: Mapping[str, str]
    holed: tuple[Template, ...]  # longest beginning first, then most fixed text: what stands around goes before within


@cache
def _loaded(part: str) -> _Part:
    chinese = templates()[part]
    holed = [Template(tuple(english.split("{}")), chinese[english]) for english in chinese if "{}" in english]
    holed.sort(key=lambda template: (-len(template.fixed[0]), -sum(map(len, template.fixed))))
    return _Part({english: chinese[english] for english in chinese if "{}" not in english}, tuple(holed))


def _translated(text: str, part: str, depth: int) -> str:
    if depth == 0 or len(text) > _MAX_CHARACTERS:
        return text
    known = _loaded(part)
    if text in known.exact:
        return known.exact[text]
    for template in known.holed:
        holes = template.holes(text)
        if holes is not None:
            return _filled(template.chinese, holes, depth)
    return text


def _filled(chinese: str, holes: list[str], depth: int) -> str:
    """Fill in one pass, so that a hole which itself reads `{1}` stays as it is."""

    def hole(match: re.Match[str]) -> str:
        value = holes[int(match[1])]
        return _translated(value, match[2], depth - 1) if match[2] else value

    return _HOLE.sub(hole, chinese)
