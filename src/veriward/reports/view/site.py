"""What every page knows: its language, its own address, and how to name the others. Templates are filled here."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from veriward.reports.catalogue import LANGUAGES, Catalogue
from veriward.reports.wording import harmless

if TYPE_CHECKING:
    import jinja2

OTHER = {"en": "zh", "zh": "en"}


@dataclass(frozen=True)
class Site:
    """One request: `home` is the secret beginning of every address, `path` what follows it."""

    home: str
    path: str
    query: Mapping[str, str]
    words: Catalogue

    @classmethod
    def of(cls, home: str, path: str, query: Mapping[str, str], default: str) -> "Site":
        """Return the site in the language that the address names; in the default one where it names none that exists."""
        lang = query.get("lang", default)
        return cls(home, path, query, Catalogue.load(lang if lang in LANGUAGES else default))

    @property
    def lang(self) -> str:
        """The language of the page."""
        return self.words.language

    def url(self, path: str = "", /, **query: object) -> str:
        """Return the address of a page, in this language; what is None is left out."""
        given = {"lang": self.lang, **query}
        kept = {name: str(value) for name, value in given.items() if value is not None}
        return f"{self.home}/{quote(path)}?{urlencode(kept)}"

    def here(self, /, **changes: object) -> str:
        """Return the address of this page with parts of its query changed."""
        return self.url(self.path, **{**self.query, "lang": self.lang, **changes})

    def fill(self, template: str, /, **values: Any) -> str:
        """Return a template with its values; every text in it is escaped and harmless."""
        return _environment().get_template(f"view/{template}").render(site=self, words=self.words, **values)

    @property
    def other(self) -> str:
        """The language that the page is not in."""
        return OTHER[self.lang]


@cache
def _environment() -> "jinja2.Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return harmless(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=PackageLoader("veriward.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
