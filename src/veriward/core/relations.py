"""What a rule wants of a row that breaks it: by how much it is broken, and which columns could mend it.

The measure of violation follows Simonetto et al. 2022 (arXiv:2112.01156): `and` adds, `or` takes the least, `a <= b` is
the excess of a. Here each excess is relative to its sides, so that rules in different units weigh the same.
"""

import ast
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from veriward.core.rules import COMPARISONS, WORD, Rule, evaluate

Sense = Literal["set", "most", "least", "other"]
TINY = 1e-6  # of a rule that is just broken
MOST_WAYS = 64  # to mend a rule
NUDGE = 1e-12  # relative, inwards: rounding must not undo what was mended
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Lt: ast.GtE,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
SENSES: dict[type[ast.cmpop], Sense] = {
    ast.LtE: "most",
    ast.Lt: "most",
    ast.GtE: "least",
    ast.Gt: "least",
    ast.Eq: "set",
    ast.NotEq: "other",
}
FLIPPED: dict[Sense, Sense] = {"most": "least", "least": "most", "set": "set", "other": "other"}


def violation(rule: Rule, columns: Mapping[str, Tensor]) -> Tensor:
    """Return by how much each row breaks a rule, (n,): 0 exactly where the rule holds; differentiable by the columns.

    >>> rule = Rule.parse("r", "a <= 1")
    >>> violation(rule, {"a": torch.tensor([1.0, 3.0], dtype=torch.float64)}).tolist()
    [0.0, 0.4...]
    """
    return _violation(rule.tree, columns, negated=False)


def _violation(node: ast.AST, columns: Mapping[str, Tensor], *, negated: bool) -> Tensor:
    if isinstance(node, ast.BoolOp):
        parts = [_violation(value, columns, negated=negated) for value in node.values]
        return _joined(parts, every=isinstance(node.op, ast.And) is not negated)
    if isinstance(node, ast.UnaryOp):
        return _violation(node.operand, columns, negated=not negated)
    assert isinstance(node, ast.Compare)
    leaves = [_excess(left, op, right, columns, negated=negated) for left, op, right in _pairs(node)]
    return _joined(leaves, every=not negated)


def _joined(parts: list[Tensor], *, every: bool) -> Tensor:
    stacked = torch.stack(torch.broadcast_tensors(*parts))
    return stacked.sum(0) if every else stacked.amin(0)


def _pairs(node: ast.Compare) -> Iterator[tuple[ast.expr, type[ast.cmpop], ast.expr]]:
    sides = [node.left, *node.comparators]
    for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
        yield left, type(op), right


def _excess(
    left: ast.expr, op: type[ast.cmpop], right: ast.expr, columns: Mapping[str, Tensor], *, negated: bool
) -> Tensor:
    """Return how far a comparison is from holding, relative to its sides."""
    a, b = (torch.as_tensor(evaluate(side, columns)) for side in (left, right))
    holds = COMPARISONS[op](a, b) ^ negated  # the very test of `Rule.holds`, its slack included
    sense = SENSES[OPPOSITE[op] if negated else op]
    if sense == "other" or _is_word(left) or _is_word(right):
        gap = torch.ones_like(a - b)  # codes have no distances
    else:
        gap = {"most": a - b, "least": b - a, "set": (a - b).abs()}[sense].clamp(min=0)
        gap = gap / (1 + a.detach().abs() + b.detach().abs())
    return torch.where(holds, 0.0, gap + TINY)


def _is_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.kind == WORD


@dataclass(frozen=True)
class Assign:
    """Make a column equal to, at most, at least or other than the value of an expression."""

    column: str
    sense: Sense
    value: ast.expr
    strict: bool = False

    def apply(self, columns: Mapping[str, Tensor], home: Tensor, *, whole: bool) -> Tensor:
        """Return the column's new values, (n,); `home` are the clean ones, `whole` keeps them whole."""
        now = columns[self.column]
        value = torch.as_tensor(evaluate(self.value, columns)).to(now).expand_as(now)
        if self.sense == "set":
            # rounded, but with the slope of what is rounded
            return value + (torch.round(value) - value).detach() if whole else value
        if self.sense == "other":
            away = torch.where(home != value, home, value + 1)
            return torch.where(now != value, now, away)
        sign = 1.0 if self.sense == "least" else -1.0
        edge = sign * value  # from here on: at least
        if whole:
            edge = torch.floor(edge) + 1 if self.strict else torch.ceil(edge - 1e-9)
        else:
            edge = edge + (1e-9 if self.strict else NUDGE) * (1 + edge.abs())
        return sign * torch.maximum(sign * now, edge)


Way = tuple[Assign, ...]


def ways(rule: Rule) -> tuple[Way, ...]:
    """Return what could mend a rule: sets of assignments, each of which may or may not do.

    >>> [way[0].column for way in ways(Rule.parse("r", "a * b == 0"))]
    ['a', 'b']
    """
    return tuple(itertools.islice(_ways(rule.tree, negated=False), MOST_WAYS))


def _ways(node: ast.AST, *, negated: bool) -> Iterator[Way]:
    if isinstance(node, ast.UnaryOp):
        yield from _ways(node.operand, negated=not negated)
        return
    if isinstance(node, ast.BoolOp):
        parts = [list(itertools.islice(_ways(value, negated=negated), MOST_WAYS)) for value in node.values]
        every = isinstance(node.op, ast.And) is not negated
    else:
        assert isinstance(node, ast.Compare)
        pairs = [(left, OPPOSITE[op] if negated else op, right) for left, op, right in _pairs(node)]
        parts = [list(_solutions(*pair)) for pair in pairs]
        every = not negated
    if every:
        yield from (tuple(itertools.chain(*chosen)) for chosen in itertools.product(*parts))
    else:
        yield from itertools.chain(*parts)


def _solutions(left: ast.expr, op: type[ast.cmpop], right: ast.expr) -> Iterator[Way]:
    """Solve a comparison for each column that stands in it once."""
    names = [node.id for side in (left, right) for node in ast.walk(side) if isinstance(node, ast.Name)]
    strict = op in (ast.Lt, ast.Gt)
    for name in sorted(set(names)):
        if names.count(name) == 1:
            sense = SENSES[op]
            here, there = (left, right) if name in _named(left) else (right, left)
            sense = sense if here is left else FLIPPED[sense]
            value, sense = _isolated(name, here, there, sense)
            yield (Assign(name, sense, value, strict),)


def _named(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _isolated(name: str, here: ast.expr, there: ast.expr, sense: Sense) -> tuple[ast.expr, Sense]:
    """Bring everything but the column to the other side. Factors are taken for positive: who uses it checks the result."""
    if isinstance(here, ast.Name):
        return there, sense
    if isinstance(here, ast.UnaryOp):
        return _isolated(name, here.operand, ast.UnaryOp(ast.USub(), there), FLIPPED[sense])
    assert isinstance(here, ast.BinOp)
    left, op, right = here.left, here.op, here.right
    first = name in _named(left)
    inner, rest = (left, right) if first else (right, left)
    if isinstance(op, ast.Add):
        return _isolated(name, inner, ast.BinOp(there, ast.Sub(), rest), sense)
    if isinstance(op, ast.Mult):
        return _isolated(name, inner, ast.BinOp(there, ast.Div(), rest), sense)
    undo = ast.Add() if isinstance(op, ast.Sub) else ast.Mult()
    if first:
        return _isolated(name, inner, ast.BinOp(there, undo, rest), sense)
    return _isolated(name, inner, ast.BinOp(rest, op, there), FLIPPED[sense])
