"""Of which class a local variable of a TorchScript function is, as far as that can be told.

Methods of the program and operators are called by the same dot, so a name like `save` is judged by what it is called
on. A variable counts as an object of a class only where everything that is ever assigned to it is of that class.
"""

import ast
from dataclasses import dataclass, field
from functools import cached_property

from .script_program import Program, ScriptClass, dotted


@dataclass
class Locals:
    """The variables of one function: the types of its parameters, and all that is assigned to the others.

    >>> tree = ast.parse("def f(x: Tensor):\\n  y = x").body[0]
    >>> sorted(Locals.of(tree, Program()).names)
    ['x', 'y']
    """

    program: Program
    kinds: dict[str, ast.expr | None] = field(default_factory=dict)
    values: dict[str, list[ast.expr | None]] = field(default_factory=dict)
    _classes: dict[str, ScriptClass | None] = field(default_factory=dict)

    @classmethod
    def of(cls, function: ast.FunctionDef, program: Program) -> "Locals":
        """Collect the variables of a function.

        >>> Locals.of(ast.parse("def f(): pass").body[0], Program()).names
        set()
        """
        found = cls(program, {arg.arg: arg.annotation for arg in function.args.args})
        for node in ast.walk(function):
            match node:
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        found._assign(target, value)
                case ast.AnnAssign(target=target, value=value):
                    found._assign(target, value)
                case ast.AugAssign(target=target) | ast.For(target=target) | ast.comprehension(target=target):
                    found._assign(target, None)
                case ast.withitem(optional_vars=ast.expr() as target):
                    found._assign(target, None)
        return found

    @cached_property
    def names(self) -> set[str]:
        """All variables.

        >>> Locals(Program()).names
        set()
        """
        return {*self.kinds, *self.values}

    def _assign(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self.values.setdefault(target.id, []).append(value)
        elif isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self._assign(part, None)

    def class_of(self, node: ast.expr) -> ScriptClass | None:
        """The class of the program that an expression is an object of; None where that cannot be told.

        >>> Locals(Program()).class_of(ast.parse("x", mode="eval").body) is None
        True
        """
        match node:
            case ast.Name(id=name):
                return self._class_of_name(name)
            case (
                ast.Attribute(value=base, attr=name)
                | ast.Call(func=ast.Name(id="getattr"), args=[base, ast.Constant(value=str() as name)])
            ):
                owner = self.class_of(base)
                kind = owner.fields.get(name) if owner is not None else None
                return self._named(kind)
            case ast.Call(func=ast.Attribute(value=kind, attr="__new__")) | ast.Call(func=kind):
                return self._named(kind)
        return None

    def _class_of_name(self, name: str) -> ScriptClass | None:
        if name not in self._classes:
            self._classes[name] = None  # while it is found out: a variable made of itself has no class
            found = [self._named(self.kinds[name])] if name in self.kinds else []
            found += [self.class_of(value) if value is not None else None for value in self.values.get(name, [])]
            self._classes[name] = found[0] if found and all(one is found[0] for one in found) else None
        return self._classes[name]

    def _named(self, kind: ast.expr | None) -> ScriptClass | None:
        return self.program.classes.get(dotted(kind)) if kind is not None else None
