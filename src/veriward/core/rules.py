"""Relations that every real row keeps ("instalment * months <= 1.2 * amount"): parsed, never evaluated as Python.

Columns of categories are compared with quoted values: `not (job == "retired") or hours in (0, 10)`. A name that Python
would not read stands in backquotes: `` `capital-gain` * `capital-loss` == 0 ``.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
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
BACKQUOTED = re.compile("`([^`\n]+)`")
WORD = "word"  # marks the code of a category: codes have no distances
UNKNOWN = -1  # the code of a value that no row has
WANTED = "want names, numbers, + - * /, comparisons, and/or/not, and == != in with quoted categories"


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
            plain, quoted = _without_backquotes(text if len(text) <= LONGEST else "")
            tree = _renamed(ast.parse(plain, mode="eval").body, quoted)
            _check(tree, name, logical=True)
            tree = _Listed().visit(tree)
            rule = cls(name, tree, tuple(sorted(_names(tree))))
            with np.errstate(all="ignore"):  # a rule's own 1 / 0 shows now, not in the middle of a run
                rule.bound({}).holds(dict.fromkeys(rule.columns, np.ones(1)))
        except (SyntaxError, RecursionError, MemoryError, UnicodeError, ArithmeticError):
            raise ValueError(f"rule {name!r}: {text[:80]!r} cannot be read; {WANTED}") from None
        return rule

    @cached_property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """The quoted values that each column is compared with."""
        found: dict[str, set[str]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Compare) and (pair := _word_pair(node)) is not None:
                found.setdefault(pair[0].id, set()).add(pair[1].value)  # type: ignore[arg-type]  # a text
        return {name: tuple(sorted(values)) for name, values in found.items()}

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The columns that are read as numbers somewhere in the rule."""
        return tuple(sorted(_numbers(self.tree)))

    def bound(self, codes: Mapping[str, Mapping[Any, int]]) -> "Rule":
        """Return the rule on codes: each quoted value replaced by its code in its column.

        >>> rule = Rule.parse("r", "job == 'tech'").bound({"job": {"admin": 0, "tech": 1}})
        >>> rule.holds({"job": np.array([0.0, 1.0])}).tolist()
        [False, True]
        """
        return replace(self, tree=_Coded(codes).visit(deepcopy(self.tree))) if self.words else self

    def holds(self, columns: Mapping[str, Any]) -> Any:
        """Return, for columns of n numbers (arrays or tensors), whether each row keeps the rule, (n,) of booleans.

        Rules with quoted values must be `bound` first.
        """
        return evaluate(self.tree, columns)


def _without_backquotes(text: str) -> tuple[str, dict[str, str]]:
    """Return the text with a plain name for each backquoted one, and what the plain names stand for."""
    stem = "_q"
    while stem in text:
        stem += "_"
    quoted: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        return quoted.setdefault(match[1], f"{stem}{len(quoted)}")

    replaced = BACKQUOTED.sub(plain, text)
    return replaced, {alias: column for column, alias in quoted.items()}


def _renamed(tree: ast.expr, quoted: Mapping[str, str]) -> ast.expr:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
    return tree


class _Listed(ast.NodeTransformer):
    """Writes `x in (a, b)` as `x == a or x == b`."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if not isinstance(node.ops[0], ast.In | ast.NotIn):
            return node
        assert isinstance(node.comparators[0], ast.Tuple | ast.List)
        parts: list[ast.expr] = [ast.Compare(node.left, [ast.Eq()], [value]) for value in node.comparators[0].elts]
        either = ast.BoolOp(ast.Or(), parts) if len(parts) > 1 else parts[0]
        return either if isinstance(node.ops[0], ast.In) else ast.UnaryOp(ast.Not(), either)


class _Coded(ast.NodeTransformer):
    """Replaces quoted values by the codes of their columns."""

    def __init__(self, codes: Mapping[str, Mapping[Any, int]]) -> None:
        self.codes = codes

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        pair = _word_pair(node)
        if pair is None:
            return node
        code = self.codes.get(pair[0].id, {}).get(pair[1].value, UNKNOWN)
        return ast.Compare(pair[0], node.ops, [ast.Constant(code, kind=WORD)])


def _word_pair(node: ast.Compare) -> tuple[ast.Name, ast.Constant] | None:
    """Return the column and the quoted value of a comparison with one; None for every other comparison."""
    sides = (node.left, *node.comparators)
    if len(sides) != 2 or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
        return None
    for name, value in (sides, sides[::-1]):
        if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return name, value
    return None


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _numbers(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Compare) and _word_pair(node) is not None:
        return set()
    if isinstance(node, ast.Name):
        return {node.id}
    return set().union(*(_numbers(child) for child in ast.iter_child_nodes(node)))


def _check(node: ast.AST, name: str, *, logical: bool) -> None:
    match node:
        case ast.BoolOp(values=values) if logical:
            parts, inside = values, True
        case ast.UnaryOp(op=ast.Not(), operand=operand) if logical:
            parts, inside = [operand], True
        case ast.Compare() if logical and (_word_pair(node) is not None or _is_list(node)):
            return
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
        case ast.Constant() if not logical and _is_number(node):
            return
        case _:
            raise ValueError(f"rule {name!r}: {ast.unparse(node)[:80]!r} is not allowed here; {WANTED}")
    for part in parts:
        _check(part, name, logical=inside)


def _is_number(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= LARGEST


def _is_list(node: ast.Compare) -> bool:
    """Return whether this is `name in (…)`, all of the values quoted or all of them numbers."""
    place = node.comparators[0]
    if len(node.ops) != 1 or not isinstance(node.ops[0], ast.In | ast.NotIn) or not isinstance(node.left, ast.Name):
        return False
    if not isinstance(place, ast.Tuple | ast.List) or not place.elts:
        return False
    words = [isinstance(value, ast.Constant) and isinstance(value.value, str) for value in place.elts]
    return all(words) or all(_is_number(value) for value in place.elts)


def evaluate(node: ast.AST, columns: Mapping[str, Any]) -> Any:
    """Return what a checked tree says of columns: booleans for relations, numbers for what stands in them."""
    match node:
        case ast.BoolOp(op=op, values=values):
            return _fold(operator.and_ if isinstance(op, ast.And) else operator.or_, values, columns)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return evaluate(operand, columns) ^ True  # ~ would turn a plain True into -2
        case ast.UnaryOp(operand=operand):
            return -evaluate(operand, columns)
        case ast.BinOp(left=left, op=op, right=right):
            return ARITHMETIC[type(op)](evaluate(left, columns), evaluate(right, columns))
        case ast.Compare(left=left, ops=ops, comparators=right):
            return _chain([left, *right], ops, columns)
        case ast.Name(id=name):
            return columns[name]
    assert isinstance(node, ast.Constant)
    return node.value


def _fold(join: Callable[[Any, Any], Any], values: list[ast.expr], columns: Mapping[str, Any]) -> Any:
    result = evaluate(values[0], columns)
    for value in values[1:]:
        result = join(result, evaluate(value, columns))
    return result


def _chain(parts: list[ast.expr], ops: list[ast.cmpop], columns: Mapping[str, Any]) -> Any:
    numbers = [evaluate(part, columns) for part in parts]
    result = COMPARISONS[type(ops[0])](numbers[0], numbers[1])
    for left, op, right in zip(numbers[1:], ops[1:], numbers[2:], strict=False):
        result = result & COMPARISONS[type(op)](left, right)
    return result
