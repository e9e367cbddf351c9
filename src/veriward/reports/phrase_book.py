"""English sentences said in Chinese by their templates: for what is raised or noted deep in the source, where nobody
knows a catalogue. A book is a file `catalogues/NAME.zh.toml`, with sections of English templates and their Chinese.

What fills the holes was chosen by whoever made a file or a server, so matching takes no regular expressions: it cuts at
the fixed parts of a template, in one pass, and what stands between them is copied and never read as a template.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

LIST = " · "  # between the items of a list, each a sentence of its own
MAX_CHARACTERS = 4_000  # no sentence is longer
_HOLE = re.compile(r"\{(\d)(?::([\w.*|!]+))?\}")  # in our own Chinese alone
_MAX_DEPTH = 4  # phrases within phrases


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


@dataclass(frozen=True)
class _Section:
    exact: Mapping[str, str]
    holed: tuple[Template, ...]  # longest beginning first, then most fixed text: what stands around goes before within


@dataclass(frozen=True)
class PhraseBook:
    """The sentences of one file. In its Chinese `{0}` is what stands in the first hole, as it came; `{0:part}` is looked
    up in the section [part], `{0:scan.why}` in that of another book, `{0:a|b}` in both, `{0:part*}` each item of a list
    for itself; with `!` at the end the template fits only where the hole is found.
    """

    sections: Mapping[str, _Section]

    def find(self, text: str, section: str, depth: int = _MAX_DEPTH) -> str | None:
        """Return the Chinese for a sentence of a section; None where it is none of them.

        >>> book("scan").find("lies more than 4 archives deep and is not read", "why")
        '嵌套超过 4 层归档，未读取'
        """
        if depth == 0 or len(text) > MAX_CHARACTERS:
            return None
        known = self.sections[section]
        if text in known.exact:
            return known.exact[text]
        for template in known.holed:
            holes = template.holes(text)
            filled = self._filled(template.chinese, holes, depth) if holes is not None else None
            if filled is not None:
                return filled
        return None

    def _filled(self, chinese: str, holes: list[str], depth: int) -> str | None:
        """Fill in one pass, so that a hole which itself reads `{1}` stays as it is."""
        said = {match[0]: self._hole(holes[int(match[1])], match[2] or "", depth) for match in _HOLE.finditer(chinese)}
        if None in said.values():
            return None
        return _HOLE.sub(lambda match: said[match[0]] or "", chinese)

    def _hole(self, value: str, wanted: str, depth: int) -> str | None:
        for section in wanted.rstrip("!").split("|") if wanted else ():
            found = self._listed(value, section[:-1], depth) if section[-1] == "*" else self._in(value, section, depth)
            if found is not None:
                return found
        return None if wanted.endswith("!") else value

    def _listed(self, value: str, section: str, depth: int) -> str | None:
        found = [(item, self._in(item, section, depth)) for item in value.split(LIST)]
        return LIST.join(said or item for item, said in found) if any(said for _, said in found) else None

    def _in(self, value: str, section: str, depth: int) -> str | None:
        name, dot, within = section.rpartition(".")
        return (book(name) if dot else self).find(value, within, depth - 1)


def templates(name: str) -> Mapping[str, Mapping[str, str]]:
    """Return the Chinese of a book by section and English template."""
    source = resources.files("veriward") / "reports" / "catalogues" / f"{name}.zh.toml"
    data: Mapping[str, Mapping[str, str]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return data


@cache
def book(name: str) -> PhraseBook:
    """Return the book of a name: "scan" for what the scanner of files says, "errors" for what is raised."""
    return PhraseBook({section: _section(said) for section, said in templates(name).items()})


def _section(chinese: Mapping[str, str]) -> _Section:
    holed = [Template(tuple(english.split("{}")), chinese[english]) for english in chinese if "{}" in english]
    holed.sort(key=lambda template: (-len(template.fixed[0]), -sum(map(len, template.fixed))))
    return _Section({english: said for english, said in chinese.items() if "{}" not in english}, tuple(holed))
