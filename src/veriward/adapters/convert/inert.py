"""Unpickling that imports what the scanner's allowlist holds, and builds a stand-in for every other class.

A stand-in keeps what the file would have given to the object (its state, its items) and runs nothing of anybody's.
"""

import io
import pickle
from typing import Any

from veriward.adapters.scan.names import resolved
from veriward.core.errors import ArtefactError


class Inert:
    """Stands where an object of an unknown class would be: takes everything, does nothing with it.

    >>> thing = Inert(1, 2)
    >>> thing.append(3); thing["a"] = 4; thing.__setstate__({"b": 5})
    >>> thing.items, thing.pairs, thing.state
    ([3], {'a': 4}, {'b': 5})
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.items: list[Any] = []
        self.pairs: dict[Any, Any] = {}
        self.state: Any = None

    def __new__(cls, *arguments: Any, **keywords: Any) -> "Inert":
        """Take any arguments, as `__reduce__` may give them; what they were is not kept."""
        made = super().__new__(cls)
        Inert.__init__(made)
        return made

    def append(self, item: Any) -> None:
        """Keep an item, as for a subclass of list."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Keep items."""
        self.items.extend(items)

    add = append

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs[key] = value

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __hash__(self) -> int:
        return id(self)


def unpickler(replaced: set[str]) -> type[pickle.Unpickler]:
    """Return a class of unpicklers that note the names they replace by stand-ins.

    Raises ArtefactError (while loading) for names that the scanner calls dangerous, and for persistent ids.

    >>> names = set()
    >>> unpickler(names)(io.BytesIO(b"cnet\\nNet\\n.")).load().__mro__[1].__name__, names
    ('Inert', {'net.Net'})
    """

    class Careful(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found = resolved(module, name)
            if found.path == "torch.storage._load_from_bytes":  # torch's own would unpickle what is in it as it likes
                return lambda content: load_torch(content, replaced)
            if found.outcome == "clean":
                return super().find_class(module, name)
            if found.outcome == "dangerous":
                raise ArtefactError(f"{found.path}: names code that can run commands; it is not converted")
            replaced.add(found.path)
            return type(name.rpartition(".")[2] or "Inert", (Inert,), {})

    return Careful


def load_pickle(content: bytes, replaced: set[str]) -> Any:
    """Return what a plain pickle holds."""
    return unpickler(replaced)(io.BytesIO(content)).load()


def load_torch(content: bytes, replaced: set[str]) -> Any:
    """Return what a file of torch.save holds, old or new."""
    import torch

    class Module:  # what torch.load takes as a pickle module
        Unpickler = unpickler(replaced)
        load = staticmethod(lambda file, **options: unpickler(replaced)(file, **options).load())
        __name__ = "veriward.adapters.convert.inert"

    return torch.load(io.BytesIO(content), map_location="cpu", pickle_module=Module, weights_only=False)
