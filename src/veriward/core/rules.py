"""Relations that every real row keeps ("instalment * months <= 1.2 * amount"): parsed, never evaluated as Python."""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.LtE: lambda a, b: a <= b + SLACK,
    ast.GtE: lambda a, b: a >= b - SLACK,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
    ast.Eq: lambda a, b: abs(a - b) <= SLACK,
    ast.NotEq: lambda a, b: abs(a - b) > SLACK,
}
SLACK = 1e-9  # decimal fractions have no exact binary form
LONGEST = 2000
LARGEST = 1e300
WANTED = "want names, numbers, + - * /, comparisons, and/or/not"


@dataclass(frozen=True)
class Rule:
    """A parsed rule; `holds` evaluates it on whole columns at once."""

    name: str
    tree: ast.expr
    columns: tuple[str, ...]

    @classmethod
    def parse(cls, name: str, text: str) -> "Rule":
        """Parse a rule; raises ValueError with what was found and what was wanted.

        >>> Rule.parse("credit", "instalment * months <= 1.2 * amount").columns
        ('amount', 'instalment', 'months')
        """
        try:
            tree = ast.parse(text if len(text) <= LONGEST else "", mode="eval").body
            _check(tree, name, logical=True)
            rule = cls(name, tree, tuple(sorted(_names(tree))))
            with np.errstate(all="ignore"):  # a rule's own 1 / 0 shows now, not in the middle of a run
                rule.holds(dict.fromkeys(rule.columns, np.ones(1)))
        except (SyntaxError, RecursionError, MemoryError, UnicodeError, ArithmeticError):
            raise ValueError(f"rule {name!r}: {text[:80]!r} cannot be read; {WANTED}") from None
        return rule

    def holds(self, columns: Mapping[str, Any]) -> Any:
        """Return, for columns of n numbers (arrays or tensors), whether each row keeps the rule, (n,) of booleans."""
        return _evaluate(self.tree, columns)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _check(node: ast.AST, name: str, *, logical: bool) -> None:
    match node:
        case ast.BoolOp(values=values) if logical:
            parts, inside = values, True
        case ast.UnaryOp(op=ast.Not(), operand=operand) if logical:
            parts, inside = [operand], True
        case ast.Compare(left=left, ops=ops, comparators=right) if logical and all(type(o) in COMPARISONS for o in ops):
            parts, inside = [left, *right], False
            if not _names(node):
                raise ValueError(f"rule {name!r}: {ast.unparse(node)[:80]!r} names no column; {WANTED}")
        case ast.BinOp(left=left, op=op, right=right) if not logical and type(op) in ARITHMETIC:
            parts, inside = [left, right], False
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not logical:
            parts, inside = [operand], False
        case ast.Name() if not logical:
            return
        case ast.Constant(value=int() | float() as value) if (
            not logical and not isinstance(value, bool) and value <= LARGEST
        ):
            return
        case _:
            raise ValueError(f"rule {name!r}: {ast.unparse(node)[:80]!r} is not allowed here; {WANTED}")
    for part in parts:
        _check(part, name, logical=inside)


def _evaluate(node: ast.AST, columns: Mapping[str, Any]) -> Any:
    match node:
        case ast.BoolOp(op=op, values=values):
            return _fold(operator.and_ if isinstance(op, ast.And) else operator.or_, values, columns)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _evaluate(operand, columns) ^ True  # ~ would turn a plain True into -2
        case ast.UnaryOp(operand=operand):
            return -_evaluate(operand, columns)
        case ast.BinOp(left=left, op=op, right=right):
            return ARITHMETIC[type(op)](_evaluate(left, columns), _evaluate(right, columns))
        case ast.Compare(left=left, ops=ops, comparators=right):
            return _chain([left, *right], ops, columns)
        case ast.Name(id=name):
            return columns[name]
    assert isinstance(node, ast.Constant)
    return node.value


def _fold(join: Callable[[Any, Any], Any], values: list[ast.expr], columns: Mapping[str, Any]) -> Any:
    result = _evaluate(values[0], columns)
    for value in values[1:]:
        result = join(result, _evaluate(value, columns))
    return result


def _chain(parts: list[ast.expr], ops: list[ast.cmpop], columns: Mapping[str, Any]) -> Any:
    numbers = [_evaluate(part, columns) for part in parts]
    result = COMPARISONS[type(ops[0])](numbers[0], numbers[1])
    for left, op, right in zip(numbers[1:], ops[1:], numbers[2:], strict=False):
        result = result & COMPARISONS[type(op)](left, right)
    return result
