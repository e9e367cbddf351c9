"""What a recogniser finds, and what a recogniser is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Confidence = Literal["checksum", "context", "format"]
KINDS = (  # where two overlap, the one that stands first here stays
    *("cn_id", "cn_id_15", "uscc", "iban", "email", "bank_card", "cn_mobile", "us_ssn", "us_phone"),
    *("ipv4", "ipv6", "travel_permit", "passport", "plate"),
)


@dataclass(frozen=True, slots=True)
class Identifier:
    """A personal identifier in a text: `text[start:end]`, in code points.

    `confidence` says what speaks for it besides its form: a check digit ("checksum"), a word near it such as 护照
    ("context"), or nothing ("format").
    """

    kind: str
    start: int
    end: int
    confidence: Confidence


@runtime_checkable
class Recogniser(Protocol):
    """Finds identifiers in texts. Ours is `patterns.Patterns`; others come in under `veriward.recognisers`."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def find(self, texts: Sequence[str], hint: str = "") -> Iterable[tuple[int, Identifier]]:
        """Yield (number of the text, what was found in it), in any order.

        `hint` holds words that belong to all the texts, such as the name of their column. Many texts come at once, so
        that a model can be asked in batches.
        """
