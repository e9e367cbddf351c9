"""Progress on stderr: a bar with rate and time left on a terminal, one line per check elsewhere."""

import sys
from types import TracebackType
from typing import Any

import typer


class Bar:
    """A progress display that is a context."""

    def __init__(self, language: str = "en") -> None:
        self._language = language
        self._bar: Any = None
        self._task: Any = None
        self._name = ""

    def __enter__(self) -> "Bar":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, stage: str, total: int) -> None:
        """Show a new stage of the current check."""
        if self._bar is not None:
            from veriward.reports.catalogue import Catalogue

            if self._task is not None:
                self._bar.remove_task(self._task)
            told = Catalogue.load(self._language).term("stage", stage)
            self._task = self._bar.add_task(f"{self._name} · {told}", total=total)

    def advance(self, done: int) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, done)

    def say(self, text: str) -> None:
        """Name the check that runs now."""
        self._name = text
        if self._bar is None:
            from veriward.reports.catalogue import Catalogue

            typer.echo(Catalogue.load(self._language).text("summary.running", check=text), err=True)
