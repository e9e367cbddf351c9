"""Every sentence and word that a report shows, in English and Chinese. The catalogues are TOML files in a folder
per language, one file for each family of checks and each kind of page."""

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from veriward.core.errors import SettingsError
from veriward.core.note import Note
from veriward.reports.numbers import number, percent
from veriward.reports.scan_words import translated

LANGUAGES = ("en", "zh")


class _Formatter(string.Formatter):
    """`{share:%}` is a percentage, `{access:access}` a term of that kind, `{why:scan.why}` a reason of the scanner;
    lists are joined, numbers read well."""

    def __init__(self, catalogue: "Catalogue") -> None:
        self.catalogue = catalogue

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, list | tuple):
            return self.catalogue.texts["list.comma"].join(self.format_field(item, format_spec) for item in value)
        if isinstance(value, Note):
            return self.catalogue.note(value)
        if format_spec == "%" and isinstance(value, int | float):
            return self.catalogue.percent(value)
        if format_spec.startswith("scan."):
            return self.catalogue.scanned(str(value), format_spec.removeprefix("scan."))
        if format_spec in self.catalogue.terms:
            return self.catalogue.term(format_spec, str(value))
        return number(value) if format_spec in {"", "%"} else format(value, format_spec)


@dataclass(frozen=True)
class Catalogue:
    """The words of one language: sentences by key, notes by code, terms by kind and name."""

    language: str
    texts: Mapping[str, str]
    notes: Mapping[str, str]
    terms: Mapping[str, Mapping[str, str]]

    @classmethod
    def load(cls, language: str) -> "Catalogue":
        """Return the catalogue of a language; SettingsError names the choices.

        >>> Catalogue.load("en").term("metric", "robust_accuracy")
        'robust accuracy'
        """
        if language not in LANGUAGES:
            raise SettingsError(f"--lang {language}: no such language; want one of {', '.join(LANGUAGES)}")
        return _load(language)

    def text(self, key: str, /, **values: Any) -> str:
        """Return a sentence with its values filled in; KeyError for an unknown key, which is a bug of ours."""
        return _Formatter(self).vformat(self.texts[key], (), values)

    def note(self, note: Note | Mapping[str, Any] | str) -> str:
        """Return the sentence of a note. A code from a newer version or a plug-in shows as code and values."""
        if isinstance(note, str):
            return note
        found = note if isinstance(note, Note) else Note(str(note["code"]), note.get("values") or {})
        template = self.notes.get(found.code)
        try:
            return _Formatter(self).vformat(template, (), found.values) if template else self._bare(found)
        except (KeyError, ValueError, TypeError):
            return self._bare(found)

    def term(self, kind: str, name: str) -> str:
        """Return the word for a name, the name itself where the catalogue has none."""
        return self.terms.get(kind, {}).get(name, name)

    def scanned(self, text: str, part: str = "why") -> str:
        """Return what the scanner of files said, which it says in English, in this language.

        >>> Catalogue.load("zh").scanned("is cut off before its end")
        '在结尾之前被截断'
        """
        return translated(text, part) if self.language == "zh" else text

    def percent(self, share: float) -> str:
        """Return a share as a percentage, spaced as the language does."""
        return self.texts["number.percent"].replace("{number}", percent(share))

    def _bare(self, note: Note) -> str:
        values = ", ".join(f"{name} = {number(value)}" for name, value in note.values.items())
        return f"{note.code} ({values})" if values else note.code


@cache
def _load(language: str) -> Catalogue:
    """Return what the files of a language say together; none says again what another has said."""
    texts: dict[str, str] = {}
    notes: dict[str, str] = {}
    terms: dict[str, dict[str, str]] = {}
    folder = resources.files("veriward") / "reports" / "catalogues" / language
    for file in sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda e: e.name):
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        _add(texts, data.get("text", {}), file.name)
        _add(notes, data.get("note", {}), file.name)
        for kind, names in data.get("term", {}).items():
            _add(terms.setdefault(kind, {}), names, file.name)
    return Catalogue(language, texts, notes, terms)


def _add(known: dict[str, str], more: Mapping[str, str], where: str) -> None:
    twice = set(known) & set(more)
    assert not twice, f"{where}: said already: {sorted(twice)}"
    known.update(more)
