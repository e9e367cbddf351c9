"""What the scanner of files says, in Chinese. The scanner speaks English and knows no catalogue: its sentences are matched
against their templates, which stand in `catalogues/scan.zh.toml`."""

from veriward.reports.phrase_book import book

PARTS = ("what", "why", "error")


def translated(text: str, part: str = "why") -> str:
    """Return the Chinese for a reason of the scanner, the text itself where it is none.

    `part` is "why", or "what" for what was found (a name from the file stays as it is), or "error" for a file that
    could not be read.

    >>> translated("lies more than 4 archives deep and is not read")
    '嵌套超过 4 层归档，未读取'
    >>> translated("layer1.weight", "what")
    'layer1.weight'
    """
    return book("scan").find(text, part) or text
