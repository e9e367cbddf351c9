"""Texts in an exported program that torch evaluates as Python: sizes, and guards on inputs.

`expr_str` goes through sympy.sympify, which is eval; `guards_code` is pasted into a function and run by exec. Both
are parsed here, never run, and may hold arithmetic only.
"""

import ast
import warnings
from collections.abc import Callable

from .words import words

_MAX_LENGTH = 4000
_MAX_POWERS = 3  # a tower of powers grows beyond any memory
_MAX_NUMBER = 1 << 64

# What sympy.srepr writes for shapes, and torch.utils._sympy.functions.
_SYMPY = words(
    """
    Symbol Integer Float Rational Add Mul Pow Max Min Mod Abs floor ceiling Piecewise ExprCondPair Tuple true false
    Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan Eq Ne Lt Le Gt Ge And Or Not
    BooleanTrue BooleanFalse FloorDiv ModularIndexing Where PythonMod CleanDiv CeilToInt FloorToInt CeilDiv
    PowByNatural FloatPow FloatTrueDiv IntTrueDiv TruncToFloat TruncToInt RoundToInt ToFloat Identity oo int_oo
    """
)
_ASSUMPTIONS = words("integer positive nonnegative negative nonzero real finite extended_real precision commutative")

_GUARD_FUNCTIONS = words("Eq Ne Lt Le Gt Ge Max Min Mod PythonMod FloorDiv CleanDiv Not And Or Abs max min len int")
_GUARD_METHODS = words("size stride storage_offset dim numel")
_GUARD_ATTRIBUTES = words("isnan isinf inf ceil floor trunc shape ndim")

_ARITHMETIC = (
    ast.Expression,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.boolop,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
    ast.expr_context,
)


def is_size_expression(text: str) -> bool:
    """Whether a text is an arithmetic expression as sympy writes it.

    >>> is_size_expression("Add(Symbol('s0', integer=True), Integer(1))")
    True
    >>> is_size_expression("__import__('os').system('id')")
    False
    """
    return _allowed(text, _is_size_node)


def is_guard(text: str) -> bool:
    """Whether a text is a comparison of sizes of inputs.

    >>> is_guard("L['x'].size()[0] <= 64"), is_guard("L['x'].__class__")
    (True, False)
    """
    return _allowed(text, _is_guard_node)


def _allowed(text: str, accept: Callable[[ast.AST], bool]) -> bool:
    if len(text) > _MAX_LENGTH or "\n" in text or "\\" in text:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return all(accept(node) for node in nodes) and sum(map(_is_power, nodes)) <= _MAX_POWERS


def _is_power(node: ast.AST) -> bool:
    return isinstance(node, ast.Pow | ast.LShift) or (isinstance(node, ast.Name) and "Pow" in node.id)


def _is_number(node: ast.AST) -> bool:
    if not isinstance(node, ast.Constant):
        return False
    return isinstance(node.value, int | float | None) and not (
        isinstance(node.value, int) and abs(node.value) > _MAX_NUMBER
    )


def _is_size_node(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="Symbol" | "Float"), args=[ast.Constant(value=str() as name)]):
            return name.replace(".", "").replace("-", "").isalnum() or name.isidentifier()
        case ast.Call(func=ast.Name(id=name)):
            return name in _SYMPY
        case ast.keyword(arg=str() as name):
            return name in _ASSUMPTIONS
        case ast.Name(id=name):
            # a bare symbol: s0, u1, z2
            return name in _SYMPY or (name[:1] in "suz" and name[1:].isdigit())
        case ast.Constant(value=str() as name):
            return name.isidentifier() or _is_decimal(name)
    return _is_number(node) or isinstance(node, _ARITHMETIC)


def _is_decimal(text: str) -> bool:
    return len(text) < 40 and text.replace(".", "", 1).replace("-", "", 1).isdigit()


def _is_guard_node(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name in _GUARD_FUNCTIONS
        case ast.Call(func=ast.Attribute(attr=name), keywords=[]):
            return name in _GUARD_METHODS | _GUARD_ATTRIBUTES
        case ast.Attribute(attr=name):
            return name in _GUARD_METHODS | _GUARD_ATTRIBUTES
        case ast.Name(id=name):
            return name in _GUARD_FUNCTIONS or name in ("L", "math", "inf")
        case ast.Subscript(slice=ast.Constant(value=str() as key)):
            return key.isidentifier()
        case ast.Subscript(slice=ast.Constant(value=int())):
            return True
        case ast.Constant(value=str() as key):
            return key.isidentifier()
    return _is_number(node) or isinstance(node, _ARITHMETIC)
