"""How a run tells somebody what it is doing; the command line draws it, the library stays silent."""

from typing import Protocol


class Progress(Protocol):
    """Receives what happens; must not raise."""

    def begin(self, stage: str, total: int) -> None:
        """A stage of `total` items starts."""

    def advance(self, done: int) -> None:
        """`done` more items of the current stage are finished."""

    def say(self, text: str) -> None:
        """A line for the user."""


class Silent:
    """Shows nothing."""

    def begin(self, stage: str, total: int) -> None:
        """Ignore it."""

    def advance(self, done: int) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""
