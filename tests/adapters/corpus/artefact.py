"""One file of the corpus: how it is made, what it is called, and which loader proves it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Artefact:
    """A file that is made on demand, so that nothing hostile lies in the repository.

    `make` takes the path of a canary: what a payload would bring into being (harmless files ignore it).
    `loader` names the function of `victim.py` that proves a payload real; None where that would take a network, a
    window, another machine or another program.
    """

    name: str
    family: str
    make: Callable[[str], bytes]
    ending: str = ".pkl"
    loader: str | None = None
    needs: tuple[str, ...] = ()
    clean: bool = False  # harmless, and simple enough that it must be called clean
    source: str = ""  # where the trick was published

    def write(self, folder: Path, canary: Path) -> Path:
        """Write the file; its name is the artefact's, so that a report is readable."""
        path = folder / (self.name.replace(" ", "-").replace("/", "-") + self.ending)
        path.write_bytes(self.make(str(canary)))
        return path


def there(artefact: Artefact) -> bool:
    """Whether the modules that it needs are installed."""

    def found(module: str) -> bool:
        try:
            return find_spec(module) is not None
        except ModuleNotFoundError:
            return False

    return all(found(module) for module in artefact.needs)
