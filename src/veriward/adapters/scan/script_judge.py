"""A walk over TorchScript code: which statements, names and operators it holds, and whether the allowlists grant them.

A program of allowed operators computes from its inputs and weights. It may still loop for ever, ask for more memory
than there is, or answer wrongly.
"""

import ast
from dataclasses import dataclass

from .place import Place
from .script_locals import Locals
from .script_names import NAMESPACES, NUMBERS, RESERVED, SPECIAL, is_function, native_outcome, operator_outcome
from .script_program import Program, dotted, is_base, is_plain

_LISTS = ("__parameters__", "__buffers__", "__annotations__", "__forward_hooks__", "__forward_pre_hooks__")
_ON_LOAD = ("__setstate__", "__getstate__")
_STATEMENTS = (ast.Return, ast.Expr, ast.If, ast.While, ast.Pass, ast.Break, ast.Continue, ast.Assert, ast.With)
_EXPRESSIONS = (
    ast.Tuple,
    ast.List,
    ast.Dict,
    ast.Subscript,
    ast.Slice,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.withitem,
)
_SIGNS = (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)


@dataclass
class Judge:
    """One file of code.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> judge = Judge(Program(), place)
    >>> judge.module(ast.parse("def f(x: Tensor):\\n  return torch.save(x, 'f')")); place.notes.reasons[0].what
    'torch.save'
    """

    program: Program
    place: Place
    starts: tuple[int, ...] = ()  # the offset of each line
    known: Locals | None = None

    def module(self, tree: ast.Module) -> None:
        """Judge a whole file.

        >>> from .place import Purse
        >>> from .result import Notes
        >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
        >>> Judge(Program(), place).module(ast.parse("import os")); place.notes.outcome
        'unknown'
        """
        for node in tree.body:
            match node:
                case ast.ClassDef():
                    self._class(node)
                case ast.FunctionDef():
                    self._function(node)
                case _:
                    self._odd(node)

    def _unknown(self, node: ast.AST, what: object, why: str) -> None:
        self.place.unknown(self._at(node), what, why)

    def _dangerous(self, node: ast.AST, what: object, why: str) -> None:
        self.place.dangerous(self._at(node), what, why)

    def _at(self, node: ast.AST) -> int:
        line = getattr(node, "lineno", 0)
        return self.starts[line - 1] + int(getattr(node, "col_offset", 0)) if 0 < line <= len(self.starts) else 0

    def _odd(self, node: ast.AST) -> None:
        self._unknown(node, type(node).__name__, "is no part of TorchScript as torch writes it")
        for part in ast.walk(node):  # what it calls is worth knowing all the same
            if isinstance(part, ast.Attribute) and dotted(part).partition(".")[0] in ("torch", "ops"):
                self._attribute(part, part.value, part.attr)

    # -- definitions ---------------------------------------------------------------------------------------------

    def _class(self, node: ast.ClassDef) -> None:
        if node.decorator_list or node.keywords or not all(is_base(base) for base in node.bases):
            self._odd(node)
        for part in node.body:
            match part:
                case ast.FunctionDef():
                    self._function(part)
                case ast.AnnAssign(annotation=kind, value=value):
                    self._type(kind)
                    self._maybe(value)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=items)) if name in _LISTS:
                    self._each(items)
                case ast.Assign(targets=[ast.Subscript(value=ast.Name(id="__annotations__"))], value=kind):
                    self._type(kind)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()) if not name.startswith("__"):
                    pass  # of an enumeration
                case ast.Pass():
                    pass
                case _:
                    self._odd(part)

    def _function(self, node: ast.FunctionDef) -> None:
        arguments = node.args
        if node.decorator_list or arguments.vararg or arguments.kwarg or arguments.posonlyargs or arguments.kwonlyargs:
            self._odd(node)
        if node.name in _ON_LOAD:
            self._unknown(node, node.name, "is run while the file is loaded")
        for argument in arguments.args:
            self._maybe_type(argument.annotation)
        self._maybe_type(node.returns)
        self.known = Locals.of(node, self.program)
        for name in self.known.names & RESERVED:
            self._unknown(node, name, "is given another meaning, to hide what is called")
        self._each(arguments.defaults)
        self._each(node.body)
        self.known = None

    # -- types ---------------------------------------------------------------------------------------------------

    def _maybe_type(self, kind: ast.expr | None) -> None:
        if kind is not None:
            self._type(kind)

    def _type(self, kind: ast.expr) -> None:
        if self.program.is_type(kind):
            return
        for part in ast.walk(kind):
            path = dotted(part) if isinstance(part, ast.Attribute) else ""
            if path.startswith("__torch__.torch.classes."):
                self._native(part, path)
                return
        self._unknown(kind, ast.unparse(kind)[:80], "is a type that the program does not define")

    def _native(self, node: ast.AST, path: str) -> None:
        note = self._dangerous if native_outcome(path) == "dangerous" else self._unknown
        note(node, path, "is a class of a library that is written in C++, which this reader cannot see")

    # -- statements and expressions ------------------------------------------------------------------------------

    def _each(self, nodes: "list[ast.expr] | list[ast.stmt] | list[ast.expr | None]") -> None:
        for node in nodes:
            self._maybe(node)

    def _maybe(self, node: ast.AST | None) -> None:
        if node is not None:
            self._visit(node)

    def _visit(self, node: ast.AST) -> None:
        match node:
            case ast.Constant(value=None | bool() | int() | float() | complex() | str()) | ast.Pass():
                pass
            case ast.Name():
                self._name(node)
            case ast.Attribute(value=base, attr=name):
                self._attribute(node, base, name)
            case ast.Call():
                self._call(node)
            case ast.Assign(targets=targets, value=value):
                self._each([*targets, value])
            case ast.AugAssign(target=target, value=value):
                self._each([target, value])
            case ast.AnnAssign(target=target, annotation=kind, value=value):
                self._type(kind)
                self._each([target, value])
            case ast.For(target=target, iter=values, body=body, orelse=[]):
                self._each([target, values])
                self._each(body)
            case _ if isinstance(node, (*_STATEMENTS, *_EXPRESSIONS)):
                for part in ast.iter_child_nodes(node):
                    if not isinstance(part, _SIGNS):
                        self._visit(part)
            case _:
                self._odd(node)

    def _name(self, node: ast.Name) -> None:
        if node.id in NAMESPACES:
            self._dangerous(node, node.id, "is handed around as a value, to hide what is called")
        elif self.known is None or not (node.id in self.known.names or node.id in NUMBERS or is_function(node.id)):
            self._unknown(node, node.id, "is a name that the program does not define")

    def _attribute(self, node: ast.Attribute, base: ast.expr, name: str) -> None:
        path = dotted(node)
        root = path.partition(".")[0]
        if root == "torch":
            self._operator(node, path, "aten", path.removeprefix("torch."))
        elif root == "ops":
            self._operator(node, path, *path.removeprefix("ops.").rpartition(".")[::2])
        elif root == "__torch__":
            self._global(node, path)
        elif root == "CONSTANTS":
            if not (name[:1] == "c" and name[1:].isdigit() and path.count(".") == 1):
                self._unknown(node, path, "is no constant of the file")
        else:
            self._visit(base)
            self._member(node, name)

    def _member(self, node: ast.AST, name: str) -> None:
        is_operator = "clean" in (operator_outcome("aten", name), operator_outcome("prim", name))
        if name not in self.program.attributes and not is_operator:
            self._unknown(node, name, "is an attribute that the program does not define")

    def _operator(self, node: ast.AST, path: str, namespace: str, name: str) -> None:
        outcome = operator_outcome(namespace, name)
        if outcome == "dangerous":
            why = "is an operator that reads or writes files or foreign memory, or reaches other machines"
            self._dangerous(node, path, why)
        elif outcome == "unknown":
            self._unknown(node, path, "is an operator that is not on the allowlist")

    def _global(self, node: ast.AST, path: str) -> None:
        if path.startswith("__torch__.torch.classes."):
            self._native(node, path)
            return
        owner, _, name = path.rpartition(".")
        found = self.program.classes.get(owner)
        is_member = found is not None and (name in found.fields or name in found.methods or name == "__new__")
        if not is_member and not self.program.holds(path):
            self._unknown(node, path, "is code that the file does not hold")

    # -- calls ---------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> None:
        if any(isinstance(argument, ast.Starred) for argument in node.args) or any(
            not word.arg for word in node.keywords
        ):
            self._odd(node)
        match node.func:
            case ast.Name(id=name) if name in SPECIAL:
                self._special(node, name)
                return
            case ast.Name(id="print"):
                self._unknown(node, "print", "writes texts of the file's author to the terminal")
            case ast.Attribute(value=base, attr=name) if dotted(node.func).partition(".")[0] not in NAMESPACES:
                self._visit(base)
                self._method(node, base, name)
            case ast.Name(id="fork" | "awaitable" as name):
                self._unknown(node, name, "starts threads")
            case function:
                self._visit(function)
        self._each(node.args)
        self._each([word.value for word in node.keywords])

    def _method(self, node: ast.Call, base: ast.expr, name: str) -> None:
        owner = self.known.class_of(base) if self.known is not None else None
        if owner is not None and name in owner.methods:
            return
        outcome = operator_outcome("aten", name)
        if outcome == "dangerous":
            self._dangerous(node, name, "is an operator that reads or writes files")
        elif outcome == "unknown":
            self._unknown(node, name, "is called on something that is no object of the program")

    def _special(self, node: ast.Call, name: str) -> None:
        """What torch's compiler treats apart: types and names among the arguments."""
        match name, node.args:
            case "annotate", [kind, value]:
                self._type(kind)
                self._visit(value)
            case "isinstance", [value, kind]:
                self._visit(value)
                self._each_type(kind)
            case ("uninitialized", [kind]) | ("unchecked_cast", [kind, _]):
                self._type(kind)
                self._each(node.args[1:])
                if not is_plain(kind):
                    self._unknown(node, name, "takes one thing for an object of a class without a check")
            case "getattr", [base, ast.Constant(value=str() as member)]:
                self._visit(base)
                self._member(node, member)
            case _:
                self._odd(node)

    def _each_type(self, kinds: ast.expr) -> None:
        for kind in kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]:
            self._type(kind)
