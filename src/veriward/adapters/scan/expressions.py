"""Texts in an exported program that torch evaluates as Python: sizes, and guards on inputs.

`expr_str` goes through sympy.sympify, which is eval; `guards_code` is pasted into a function and run by exec. Both
are parsed here, never run, and may hold arithmetic only.
"""

import ast
import warnings
from collections.abc import Callable
from functools import lru_cache

from .gadgets import is_gadget
from .result import Outcome
from .words import words

_MAX_LENGTH = 4000
_MAX_POWERS = 3
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
_ASSUMPTIONS = words("integer positive nonnegative negative nonzero real finite extended_real commutative")

_GUARD_FUNCTIONS = words("Eq Ne Lt Le Gt Ge Max Min Mod PythonMod FloorDiv CleanDiv Not And Or Abs max min len int")
_GUARD_ATTRIBUTES = words("size stride storage_offset dim numel isnan isinf inf ceil floor trunc shape ndim")

_ARITHMETIC = (
    ast.Expression,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.Tuple,
    ast.boolop,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
    ast.expr_context,
)
_POWERS = words("Pow PowByNatural FloatPow")


@lru_cache(maxsize=1024)
def size_outcome(text: str) -> Outcome:
    """What evaluating a size would do: `clean` for arithmetic as sympy writes it, `dangerous` for what reaches out.

    >>> size_outcome("Add(Symbol('s0', integer=True), Integer(1))")
    'clean'
    >>> size_outcome("__import__('os').system('id')"), size_outcome("Newton(s0)")
    ('dangerous', 'unknown')
    """
    return _judged(text, _is_size_node)


@lru_cache(maxsize=1024)
def guard_outcome(text: str) -> Outcome:
    """What running a guard would do: `clean` for a comparison of sizes of inputs.

    >>> guard_outcome("L['x'].size()[0] <= 64"), guard_outcome("L['x'].__class__")
    ('clean', 'dangerous')
    """
    return _judged(text, _is_guard_node)


def _judged(text: str, accept: Callable[[ast.AST], bool]) -> Outcome:
    if len(text) > _MAX_LENGTH or "\n" in text or "\\" in text:
        return "dangerous"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return "dangerous"
    bad = [node for node in nodes if not accept(node)]
    if any(not isinstance(node, ast.Name | ast.Call) or _reaches_out(node) for node in bad):
        return "dangerous"
    powers = [node for node in nodes if _is_power(node)]
    if len(powers) > _MAX_POWERS or not all(_is_small(power) for power in powers):
        return "dangerous"
    return "unknown" if bad else "clean"


def _reaches_out(node: ast.AST) -> bool:
    """Functions of sympy have capitals: one that is not on the list may be new, anything else is Python's own."""
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return not name[:1].isupper()
        case ast.Name(id=name):
            return name.startswith("_") or is_gadget("builtins", name)
    return True


def _is_power(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(op=ast.Pow() | ast.LShift()):
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in _POWERS
    return False


def _is_small(power: ast.AST) -> bool:
    """The exponent is a number: a tower of powers would outgrow any memory."""
    match power:
        case ast.BinOp(right=exponent) | ast.Call(args=[_, exponent]):
            numbers = [node for node in ast.walk(exponent) if not isinstance(node, ast.unaryop | ast.expr_context)]
            return all(_is_exponent(node) for node in numbers)
    return False


def _is_exponent(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=int() | float() as value):
            return abs(value) <= 64
        case ast.Call(func=ast.Name(id="Integer" | "Rational")) | ast.UnaryOp() | ast.Name(id="Integer" | "Rational"):
            return True
    return False


def _is_number(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=None | bool() | float()):
            return True
        case ast.Constant(value=int() as value):
            return abs(value) <= _MAX_NUMBER
    return False


def _is_size_node(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str() as name)]):
            return name.isidentifier()
        case ast.Call(func=ast.Name(id="Float"), args=[ast.Constant(value=str() as digits)]):
            return _is_decimal(digits)
        case ast.Call(func=ast.Name(id=name)):
            return name in _SYMPY and name not in ("Symbol", "Float")
        case ast.keyword(arg="precision", value=ast.Constant(value=int() as bits)):
            return 0 < bits <= 1000
        case ast.keyword(arg=str() as name, value=ast.Constant(value=bool())):
            return name in _ASSUMPTIONS
        case ast.Name(id=name):
            # a bare symbol: s0, u1, z2
            return name in _SYMPY or (name[:1] in "suz" and name[1:].isdigit())
        case ast.Constant(value=str() as name):
            return name.isidentifier() or _is_decimal(name)
    return _is_arithmetic(node)


def _is_decimal(text: str) -> bool:
    return len(text) < 40 and text.replace(".", "", 1).replace("-", "", 2).replace("e", "", 1).isdigit()


def _is_arithmetic(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(left=ast.Constant(value=str())) | ast.BinOp(right=ast.Constant(value=str())):
            return False  # a text times a number is as long as somebody likes
    return _is_number(node) or isinstance(node, _ARITHMETIC)


def _is_guard_node(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name in _GUARD_FUNCTIONS
        case ast.Call(func=ast.Attribute(attr=name), keywords=[]) | ast.Attribute(attr=name):
            return name in _GUARD_ATTRIBUTES
        case ast.Name(id=name):
            return name in _GUARD_FUNCTIONS or name in ("L", "math", "inf")
        case ast.Subscript(slice=ast.Constant(value=str() as key)) | ast.Constant(value=str() as key):
            return key.isidentifier()
        case ast.Subscript(slice=ast.Constant(value=int())):
            return True
    return _is_arithmetic(node)
