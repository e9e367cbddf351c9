"""The pickles of TorchScript archives, as torch's own unpickler in C++ reads them.

It builds objects of the classes that the archive's code defines, slot by slot, and tensors over storages. Whether they
fit is not checked for objects, and for tensors only by newer versions: an object in the place of another one, or a
tensor longer than its storage, reads memory that belongs to somebody else.
Source: torch/csrc/jit/serialization/unpickler.cpp and import.cpp.
"""

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .arguments import Arguments, Rule, is_data, is_made
from .dialects import Dialect
from .place import Place, give_up
from .script_names import native_outcome
from .script_program import Program, ScriptClass, dotted, is_plain
from .torch_calls import is_inside, view
from .values import Data, Global, Made, Value, name_of

if TYPE_CHECKING:
    from .machine import Machine

_LISTS = tuple(f"torch.jit._pickle.build_{kind}list" for kind in ("int", "tensor", "double", "bool"))
_TAGGED = "torch.jit._pickle.restore_type_tag"
_VIEW = "torch._utils._rebuild_tensor_v2"
_ANY_VIEW = view(6, 7)
_TAG = re.compile(r"[A-Za-z\[\](), ]{1,200}")  # no underscore: no class of the program
_MOST_ITEMS = 1_000_000


@dataclass
class Script(Dialect):
    """What torch.jit.load makes of a pickle, given the classes of the archive.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> script = Script(Program(), Place("x", Notes(), Purse(), lambda source, place: ""))
    >>> script.named("__torch__", "A").outcome
    'unknown'
    """

    program: Program
    place: Place
    _states: dict[int, dict[Value, Value]] = field(default_factory=dict)
    _items: int = 0

    def named(self, module: str, name: str) -> Global | None:
        """Classes of the program, and the functions that give lists their types.

        >>> from .place import Purse
        >>> from .result import Notes
        >>> script = Script(Program(), Place("x", Notes(), Purse(), lambda source, place: ""))
        >>> script.named("torch.jit._pickle", "build_intlist").outcome
        'clean'
        """
        path = f"{module}.{name}"
        if path.startswith("__torch__.torch.classes."):
            return Global(module, name, native_outcome(path))
        if path.startswith("__torch__."):
            return Global(module, name, "clean" if path in self.program.classes else "unknown")
        return Global(module, name, "clean") if path in _LISTS or path == _TAGGED else None

    def rule(self, path: str) -> Rule | None:
        """How these are called.

        >>> from .place import Purse
        >>> from .result import Notes
        >>> script = Script(Program(), Place("x", Notes(), Purse(), lambda source, place: ""))
        >>> script.rule("torch.jit._pickle.build_intlist")((Data("list"),)).kind
        'list'
        """
        if path in _LISTS:
            return _typed_list
        if path == _TAGGED:
            return _tagged
        if path == _VIEW:
            return self._view
        return (lambda args: Made("script", path) if not args else None) if path in self.program.classes else None

    def _view(self, args: Arguments) -> Value:
        tensor = _ANY_VIEW(args)
        if tensor is not None and not is_inside(args):
            self.place.dangerous(0, "tensor", "reaches beyond its storage, into memory that belongs to somebody else")
        return tensor

    def filled(self, target: Value, items: list[Value]) -> None:
        """Remember what dicts hold: some of them are the attributes of objects.

        >>> from .place import Purse
        >>> from .result import Notes
        >>> script = Script(Program(), Place("x", Notes(), Purse(), lambda source, place: ""))
        >>> script.filled(Data("dict", 3), ["weight", Made("tensor")])
        """
        if not isinstance(target, Data):
            return
        self._items += len(items)
        if self._items > _MOST_ITEMS:
            give_up("attributes of a program")
        self._states.setdefault(target.at, {}).update(zip(items[::2], items[1::2], strict=False))

    def built(self, machine: "Machine", target: Value, state: Value) -> bool:
        """Check the attributes of an object against the types that its class declares.

        >>> from .machine import Machine
        >>> from .opcodes import Reader
        >>> from .place import Purse
        >>> from .result import Notes
        >>> from .source import Source
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Script(Program(), place).built(Machine(Reader(Source.of(b"N.")), place), Made("tensor"), None)
        False
        """
        if not isinstance(target, Made) or target.kind != "script":
            return False
        cls = self.program.classes[target.detail]
        if not isinstance(state, Data) or state.kind != "dict" or not state.at:
            self.place.unknown(machine.at, cls.path, "is given attributes in a way that torch does not write")
            return True
        self._check(machine, cls, self._states.get(state.at, {}))
        return True

    def _check(self, machine: "Machine", cls: ScriptClass, state: dict[Value, Value]) -> None:
        for name, kind in cls.fields.items():
            if _is_final(kind):
                continue
            if name not in state:
                self.place.unknown(machine.at, f"{cls.path}.{name}", "is an attribute that the object lacks")
            elif not self._fits(kind, state[name]):
                self._misfit(machine, f"{cls.path}.{name}", state[name])
        for key in state.keys() - cls.fields.keys():
            self.place.unknown(machine.at, f"{cls.path}: {name_of(key)}", "is an attribute that the class lacks")

    def _misfit(self, machine: "Machine", path: str, value: Value) -> None:
        if is_made(value, "script"):
            self.place.dangerous(machine.at, path, "is an object of another class than it is declared to be")
        else:
            self.place.unknown(machine.at, path, f"is declared to be of another type than {name_of(value)}")

    def _fits(self, kind: ast.expr, value: Value) -> bool:
        match kind:
            case ast.Name(id=name):
                return _is_of(name, value)
            case ast.Constant(value=None):
                return value is None
            case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
                return value is None or self._fits(inner, value)
            case ast.Subscript(value=ast.Name(id="Tuple"), slice=inner):
                return self._fits_tuple(inner.elts if isinstance(inner, ast.Tuple) else [inner], value)
            case ast.Subscript(value=ast.Name(id="List")):
                return is_plain(kind) and (is_data(value, "list") or is_made(value, "list"))
            case ast.Subscript(value=ast.Name(id="Dict")):
                return is_plain(kind) and (is_data(value, "dict") or is_made(value, "dict"))
        path = dotted(kind)
        return (
            path in self.program.classes and isinstance(value, Made) and (value.kind, value.detail) == ("script", path)
        )

    def _fits_tuple(self, kinds: list[ast.expr], value: Value) -> bool:
        if not isinstance(value, tuple):
            return is_data(value, "tuple") and all(is_plain(kind) for kind in kinds)
        return len(value) == len(kinds) and all(map(self._fits, kinds, value))


def _is_final(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Constant) or (
        isinstance(kind, ast.Subscript) and isinstance(kind.value, ast.Name) and kind.value.id == "Final"
    )


def _is_of(name: str, value: Value) -> bool:
    match name:
        case "Tensor":
            return is_made(value, "tensor")
        case "int":
            return (isinstance(value, int) and not isinstance(value, bool)) or is_data(value, "int")
        case "float":
            return is_data(value, "float")
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str) or is_data(value, "str")
        case "NoneType":
            return value is None
        case "Device":
            return is_made(value, "plain") or isinstance(value, str)
    return False


def _typed_list(args: Arguments) -> Value:
    return args[0] if len(args) == 1 and is_data(args[0], "list") else None


def _tagged(args: Arguments) -> Value:
    match args:
        case (Data(kind="list" | "dict") | Made(kind="list" | "dict") as value, str() as tag) if _TAG.fullmatch(tag):
            return value
    return None
