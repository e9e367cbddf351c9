"""An address that leads nowhere."""


class NotThere(Exception):  # noqa: N818 -- names what is so
    """No such dossier, finding or row; `text` is a key of the catalogues."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)
