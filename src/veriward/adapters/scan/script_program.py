"""The classes and functions of a TorchScript program, and what its types say."""

import ast
from dataclasses import dataclass, field

from .words import words

_BASES = words("Module NamedTuple Interface ModuleInterface Enum")
_PLAIN_TYPES = words(
    "Tensor int float bool str complex number NoneType Device Any Layout ScalarType MemoryFormat Generator"
)
_GENERIC_TYPES = words("List Dict Tuple Optional Final Union")


@dataclass(frozen=True)
class ScriptClass:
    """A class: its attributes with their types, its methods, and whether it only names methods of others.

    >>> ScriptClass("__torch__.A").fields
    {}
    """

    path: str
    fields: dict[str, ast.expr] = field(default_factory=dict)
    methods: set[str] = field(default_factory=set)
    is_interface: bool = False


@dataclass
class Program:
    """All classes and functions, by their full names, and the names of all attributes.

    >>> program = Program(); program.add("__torch__", ast.parse("class A(Module):\\n  w : Tensor")); program.attributes
    {'w'}
    """

    classes: dict[str, ScriptClass] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)

    def add(self, module: str, tree: ast.Module) -> None:
        """Take over what a file defines.

        >>> program = Program(); program.add("__torch__", ast.parse("def f():\\n  pass")); program.functions
        {'__torch__.f'}
        """
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            path = f"{module}.{node.name}"
            if path in self.classes or path in self.functions:
                self.twice.add(path)
            if isinstance(node, ast.ClassDef):
                self.classes[path] = _read_class(path, node)
                self.attributes |= self.classes[path].fields.keys()
            else:
                self.functions.add(path)

    def holds(self, path: str) -> bool:
        """Whether the program defines this name.

        >>> Program().holds("__torch__.A")
        False
        """
        return path in self.classes or path in self.functions

    def is_type(self, node: ast.expr) -> bool:
        """Whether an expression is a type of plain values or of this program.

        >>> Program().is_type(ast.parse("List[Tensor]", mode="eval").body)
        True
        """
        match node:
            case ast.Name(id=name):
                return name in _PLAIN_TYPES
            case ast.Constant(value=None):
                return True
            case ast.Subscript(value=ast.Name(id=name), slice=inner):
                parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return name in _GENERIC_TYPES and all(self.is_type(part) for part in parts)
        return dotted(node) in self.classes


def _read_class(path: str, node: ast.ClassDef) -> ScriptClass:
    fields: dict[str, ast.expr] = {}
    methods: set[str] = set()
    for part in node.body:
        match part:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind):
                fields[name] = kind
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id="__annotations__"), slice=ast.Constant(value=str() as name))],
                value=kind,
            ):
                fields[name] = kind  # an attribute whose name is no identifier, as in a Sequential
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() as kind) if not name.startswith("__"):
                fields[name] = kind  # of an enumeration
            case ast.FunctionDef(name=name):
                methods.add(name)
    is_interface = any(isinstance(base, ast.Name) and base.id.endswith("Interface") for base in node.bases)
    return ScriptClass(path, fields, methods, is_interface)


def is_base(node: ast.expr) -> bool:
    """Whether a class may be derived from this: one of the few that torch knows.

    >>> is_base(ast.parse("Module", mode="eval").body)
    True
    """
    return isinstance(node, ast.Name) and node.id in _BASES


def dotted(node: ast.expr) -> str:
    """The dotted name that an expression is, or an empty text.

    >>> dotted(ast.parse("a.b.c", mode="eval").body), dotted(ast.parse("a().b", mode="eval").body)
    ('a.b.c', '')
    """
    steps: list[str] = []
    while isinstance(node, ast.Attribute):
        steps.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(steps)]) if isinstance(node, ast.Name) else ""


def is_plain(node: ast.expr) -> bool:
    """Whether a type holds no objects of the program.

    >>> is_plain(ast.parse("Optional[__torch__.A]", mode="eval").body)
    False
    """
    return not any(isinstance(part, ast.Name) and part.id == "__torch__" for part in ast.walk(node))
