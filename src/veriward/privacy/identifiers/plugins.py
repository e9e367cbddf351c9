"""Recognisers of others: names by a language model, patient numbers of a hospital. Installed packages bring them."""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points

from veriward.core.errors import SettingsError
from veriward.privacy.identifiers.identifier import Identifier, Recogniser
from veriward.privacy.identifiers.patterns import Patterns, resolve

GROUP = "veriward.recognisers"
Failed = Callable[[str, Exception], None]


def installed() -> tuple[Recogniser, ...]:
    """Return our recognisers, then those that installed packages name under the entry point `veriward.recognisers`.

    An entry point names a recogniser or something that makes one. Raises SettingsError for what is none, and for a name
    that is used twice.
    """
    found: list[Recogniser] = [Patterns()]
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        made = point.load()
        made = made() if isinstance(made, type) or not hasattr(made, "find") else made
        if not isinstance(made, Recogniser):
            raise SettingsError(
                f"recogniser {point.name} ({point.value}): has no name and find; see docs/identifiers.md"
            )
        if made.name in [other.name for other in found]:
            raise SettingsError(f"recogniser {made.name!r} is installed twice; give one of them another name")
        found.append(made)
    return tuple(found)


def scan(text: str, *, recognisers: Sequence[Recogniser] = (Patterns(),), hint: str = "") -> list[Identifier]:
    """Return the identifiers in one text, in its order; `text[found.start:found.end]` is where each stands.

    >>> scan("身份证110101199003078881号")
    [Identifier(kind='cn_id', start=3, end=21, confidence='checksum')]
    """
    return [found for _, found in scan_texts([text], recognisers=recognisers, hint=hint)]


def scan_texts(
    texts: Sequence[str],
    *,
    recognisers: Sequence[Recogniser] = (Patterns(),),
    hint: str = "",
    failed: Failed | None = None,
) -> Iterator[tuple[int, Identifier]]:
    """Yield (number of the text, identifier), text by text, overlaps resolved over all recognisers.

    A recogniser that raises, or names a place outside of its text, ends the scan, unless `failed(name, error)` takes note
    of it: then the others go on, and what it had found until then is kept.
    """
    found: dict[int, list[Identifier]] = {}
    for recogniser in recognisers:
        try:
            for number, one in recogniser.find(texts, hint):
                _check(recogniser.name, one, len(texts[number]))
                found.setdefault(number, []).append(one)
        except Exception as error:
            if failed is None:
                raise
            failed(recogniser.name, error)
    for number in sorted(found):
        yield from ((number, one) for one in resolve(found[number]))


def _check(name: str, one: Identifier, length: int) -> None:
    if not (isinstance(one.kind, str) and one.kind and 0 <= one.start < one.end <= length):
        raise SettingsError(
            f"recogniser {name!r}: gave {one.kind!r} from {one.start} to {one.end} of {length} characters"
        )
