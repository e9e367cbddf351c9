"""Operators that work on each number by itself, with numpy's broadcasting."""

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from veriward.adapters.onnx_graph.operator import Function, Node, Unsupported, operator, simple

_PLAIN: dict[str, Function] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Sqrt": torch.sqrt,
    "Exp": torch.exp,
    "Log": torch.log,
    "Neg": torch.neg,
    "Abs": torch.abs,
    "Reciprocal": torch.reciprocal,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,  # halves to even, as the specification wants
    "Sign": torch.sign,
    "Erf": torch.erf,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tan": torch.tan,
    "Asin": torch.asin,
    "Acos": torch.acos,
    "Atan": torch.atan,
    "Sinh": torch.sinh,
    "Cosh": torch.cosh,
    "Asinh": torch.asinh,
    "Acosh": torch.acosh,
    "Atanh": torch.atanh,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Relu": torch.relu,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "HardSwish": functional.hardswish,
    "Mish": functional.mish,
    "IsNaN": torch.isnan,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Not": torch.logical_not,
}
for _name, _function in _PLAIN.items():
    simple(_function, _name)
simple(torch.where, "Where")


def _divide(a: Tensor, b: Tensor) -> Tensor:
    # integers are divided as C does it, towards zero
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


simple(_divide, "Div")


@operator("Pow")
def _pow(node: Node) -> Function:
    # the exponent may be of another type; the answer has the base's
    return lambda base, exponent: torch.pow(base, exponent).to(base.dtype)


@operator("Mod")
def _mod(node: Node) -> Function:
    return torch.fmod if node.get("fmod", 0) else torch.remainder


def _folding(function: Function) -> Function:
    return lambda *values: reduce(function, values)


simple(_folding(torch.maximum), "Max")
simple(_folding(torch.minimum), "Min")
simple(_folding(torch.add), "Sum")
simple(lambda *values: reduce(torch.add, values) / len(values), "Mean")


@operator("LeakyRelu")
def _leaky(node: Node) -> Function:
    slope = node.get("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, slope)


@operator("Elu")
def _elu(node: Node) -> Function:
    alpha = node.get("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


@operator("Celu")
def _celu(node: Node) -> Function:
    alpha = node.get("alpha", 1.0)
    return lambda x: functional.celu(x, alpha)


@operator("Selu")
def _selu(node: Node) -> Function:
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    return lambda x: gamma * functional.elu(x, alpha)


@operator("PRelu")
def _prelu(node: Node) -> Function:
    return lambda x, slope: torch.where(x > 0, x, slope * x)


@operator("ThresholdedRelu")
def _thresholded(node: Node) -> Function:
    alpha = node.get("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


@operator("HardSigmoid")
def _hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return lambda x: (alpha * x + beta).clamp(0, 1)


@operator("Shrink")
def _shrink(node: Node) -> Function:
    bias, edge = node.get("bias", 0.0), node.get("lambd", 0.5)
    zero = torch.zeros(())
    return lambda x: torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, zero.to(x)))


@operator("Gelu")
def _gelu(node: Node) -> Function:
    approximate = node.get("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


@operator("Swish")
def _swish(node: Node) -> Function:
    alpha = node.get("alpha", 1.0)
    return lambda x: x * torch.sigmoid(alpha * x)


@operator("Clip")
def _clip(node: Node) -> Function:
    if node.version < 11:
        low, high = node.get("min"), node.get("max")
        return lambda x: x.clamp(low, high) if low is not None or high is not None else x

    def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        return x.clamp(low, high) if low is not None or high is not None else x

    return clip


@operator("IsInf")
def _is_inf(node: Node) -> Function:
    below, above = node.get("detect_negative", 1), node.get("detect_positive", 1)
    return lambda x: ((x == -torch.inf) & bool(below)) | ((x == torch.inf) & bool(above))


def _along(function: Function) -> Any:
    def build(node: Node) -> Function:
        if node.version >= 13:
            axis = node.get("axis", -1)
            return lambda x: function(x, axis)
        axis = node.get("axis", 1)

        def flat(x: Tensor) -> Tensor:
            # before opset 13 everything from the axis on is one long row
            return function(_matrix(x, axis), 1).reshape(x.shape)  # type: ignore[no-any-return]  # a tensor function

        return flat

    return build


def _matrix(x: Tensor, axis: int) -> Tensor:
    at = axis + x.ndim if axis < 0 else axis
    rows = 1
    for size in x.shape[:at]:
        rows *= size
    return x.reshape(rows, -1)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)


operator("Softmax")(_along(torch.softmax))
operator("LogSoftmax")(_along(torch.log_softmax))
operator("Hardmax")(_along(_hardmax))

TYPES: dict[int, torch.dtype] = {  # onnx.TensorProto.DataType
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


@operator("Cast")
def _cast(node: Node) -> Function:
    dtype = TYPES.get(node.get("to", 0))
    if dtype is None:
        raise Unsupported(f"Cast to type {node.get('to')}")
    return lambda x: x.to(dtype)


@operator("CastLike")
def _cast_like(node: Node) -> Function:
    return lambda x, like: x.to(like.dtype)


simple(lambda x: x, "Identity")


@operator("Dropout")
def _dropout(node: Node) -> Function:
    node.only_first()

    def keep(x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Tensor:
        if training is not None and bool(training):
            raise Unsupported("Dropout in training mode")
        return x

    return keep
