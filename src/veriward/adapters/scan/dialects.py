"""What a loader's own unpickler adds to pickle: names that only it knows, and objects that it builds in its own way."""

from typing import TYPE_CHECKING

from .arguments import Rule
from .values import Global, Value

if TYPE_CHECKING:
    from .machine import Machine


class Dialect:
    """Plain pickle. Subclasses say where joblib and TorchScript differ.

    >>> Dialect().named("os", "system") is None
    True
    """

    def named(self, module: str, name: str) -> Global | None:
        """What this loader makes of a name; None: what everybody makes of it.

        >>> Dialect().named("a", "B")
        """

    def rule(self, path: str) -> Rule | None:
        """How this loader calls a name; None: as everybody does.

        >>> Dialect().rule("a.B")
        """

    def refused(self, path: str) -> None:
        """Watch a name being called, or changed, that is on no allowlist.

        >>> Dialect().refused("a.B")
        """

    def filled(self, target: Value, items: list[Value]) -> None:
        """Watch keys and values go into a dict.

        >>> Dialect().filled((), [])
        """

    def built(self, machine: "Machine", target: Value, state: Value) -> bool:
        """Do what BUILD does for an object of this loader's own; False where it is none. May raise Broken.

        >>> from .opcodes import Reader
        >>> from .machine import Machine
        >>> from .place import Place, Purse
        >>> from .result import Notes
        >>> from .source import Source
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Dialect().built(Machine(Reader(Source.of(b"N.")), place), None, None)
        False
        """
        return False
