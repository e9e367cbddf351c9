"""Every operator with a torch reading answers as onnxruntime does, in every opset that changed it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from veriward.adapters.onnx_graph.graph import read_graph
from veriward.adapters.onnx_graph.module import read_module
from veriward.adapters.onnx_graph.operator import OPERATORS, Unsupported

from .onnx_models import both, model_of, one_op

OPSETS = (9, 11, 13, 15, 17, 18, 20, 21)


def draw(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Any:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def agree(
    op: str, inputs: list[Any], opset: int, *, tolerance: float = 1e-5, outputs: int = 1, **attributes: Any
) -> None:
    model = one_op(op, inputs, opset, outputs, **attributes)
    for output in ["y", *(f"y{i}" for i in range(1, outputs))]:
        ours, theirs = both(model, inputs[0], output)
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=f"{op} {opset} {attributes}")


X = draw(4, 3, 5)
POSITIVE = draw(4, 3, 5, low=0.1)
UNIT = draw(4, 3, 5, low=-0.95, high=0.95)

PLAIN = [
    "Neg",
    "Abs",
    "Exp",
    "Floor",
    "Ceil",
    "Sign",
    "Erf",
    "Sin",
    "Cos",
    "Tan",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Tanh",
]
PLAIN += [
    "Sigmoid",
    "Relu",
    "Softplus",
    "Softsign",
    "Identity",
    "Elu",
    "Selu",
    "LeakyRelu",
    "HardSigmoid",
    "Reciprocal",
]
PLAIN += ["ThresholdedRelu", "Shrink"]


@pytest.mark.parametrize("opset", [9, 13, 17, 21])
@pytest.mark.parametrize("op", PLAIN)
def test_functions_of_one_number(op: str, opset: int) -> None:
    edges = np.array([[0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 30.0, -30.0]], np.float32)
    agree(op, [X + 0.01 if op == "Reciprocal" else X], opset)
    if op not in ("Reciprocal", "Tan"):
        agree(op, [edges], opset)


@pytest.mark.parametrize("op", ["Sqrt", "Log", "Acosh"])
def test_functions_of_positive_numbers(op: str) -> None:
    agree(op, [POSITIVE + 1], 13)


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh"])
def test_functions_of_the_unit_interval(op: str) -> None:
    agree(op, [UNIT], 13, tolerance=2e-5)


@pytest.mark.parametrize(
    ("op", "first", "attributes"),
    [
        ("Elu", 9, {"alpha": 0.3}),
        ("Selu", 9, {"alpha": 1.5, "gamma": 2.0}),
        ("Celu", 12, {"alpha": 0.7}),
        ("LeakyRelu", 9, {"alpha": 0.3}),
        ("HardSigmoid", 9, {"alpha": 0.4, "beta": 0.3}),
        ("ThresholdedRelu", 10, {"alpha": 0.6}),
        ("Shrink", 9, {"lambd": 0.4, "bias": 0.2}),
        ("HardSwish", 14, {}),
        ("Mish", 18, {}),
        ("Gelu", 20, {}),
        ("Gelu", 20, {"approximate": "tanh"}),
        ("Round", 11, {}),
        ("IsNaN", 13, {}),
        ("IsInf", 10, {}),
        ("IsInf", 10, {"detect_negative": 0}),
        ("Hardmax", 9, {}),
        ("Hardmax", 13, {"axis": 1}),
    ],
)
def test_functions_with_settings(op: str, first: int, attributes: dict[str, Any]) -> None:
    values = np.concatenate([X, np.full((1, 3, 5), 2.5, np.float32), np.full((1, 3, 5), -1.5, np.float32)])
    if op == "IsInf":
        values[0, 0] = [np.inf, -np.inf, 0, 1, np.inf]
    if op == "IsNaN":
        values[0, 0, 0] = np.nan
    agree(op, [values], first, **attributes)


@pytest.mark.parametrize("opset", [9, 13, 14])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_arithmetic_broadcasts(op: str, opset: int) -> None:
    for shape in ((3, 5), (1,), (4, 1, 5), (5,)):
        agree(op, [X, draw(*shape, seed=1, low=0.5)], opset)
    agree(op, [draw(4, 1, 5), draw(2, 1, 3, 1, seed=1, low=0.5)], opset)


def test_whole_numbers_are_divided_towards_zero() -> None:
    agree("Div", [np.array([[-7, 7, -6, 5]], np.int64), ints(2)], 13)


@pytest.mark.parametrize("opset", [9, 12, 13, 15])
def test_powers(opset: int) -> None:
    agree("Pow", [POSITIVE, draw(5, seed=2)], opset)
    agree("Pow", [X, np.float32(2)], opset)
    if opset >= 12:
        agree("Pow", [X, np.int64(3)], opset)


def test_remainders() -> None:
    agree("Mod", [X, draw(5, seed=3, low=0.5)], 13, fmod=1)
    agree("Mod", [np.array([[-7, 7, -6, 5]], np.int64), ints(3)], 13)
    agree("Mod", [np.array([[-7, 7, -6, 5]], np.int64), ints(-3)], 13)


@pytest.mark.parametrize("opset", [9, 12, 13])
@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean"])
def test_several_inputs(op: str, opset: int) -> None:
    agree(op, [X, draw(3, 5, seed=1), draw(1, seed=2)], opset)
    agree(op, [X], opset)


@pytest.mark.parametrize("opset", [9, 13, 16])
def test_prelu_and_clip(opset: int) -> None:
    agree("PRelu", [X, draw(3, 1, seed=1)], opset)
    agree("PRelu", [X, draw(1, seed=1)], opset)
    if opset < 11:
        for limits in ({"min": -0.5, "max": 1.0}, {"min": 0.1}, {"max": 0.2}, {}):
            agree("Clip", [X], opset, **limits)
    else:
        low, high = np.float32(-0.5), np.float32(1.0)
        for bounds in ([low, high], [low], [None, high], []):
            agree("Clip", [X, *bounds], opset)


@pytest.mark.parametrize("opset", [9, 11, 13])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 1, 2, -1])
def test_softmax_has_two_meanings(op: str, opset: int, axis: int | None) -> None:
    if axis != -1 or opset >= 11:
        agree(op, [X], opset, **({} if axis is None else {"axis": axis}))


@pytest.mark.parametrize("op", ["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
def test_comparisons(op: str) -> None:
    whole = np.round(X)
    agree(op, [whole, np.round(draw(3, 5, seed=1))], 13)
    agree("Equal", [whole.astype(np.int64), ints(1)], 11)


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str) -> None:
    agree(op, [X > 0, draw(3, 5, seed=1) > 0], 13)
    agree("Not", [X > 0], 13)


def test_where_and_casts() -> None:
    agree("Where", [X > 0, draw(3, 5, seed=1), draw(1, seed=2)], 16)
    for kind in (1, 6, 7, 9, 11, 10):
        agree("Cast", [X], 13, to=kind)
    agree("Cast", [X.astype(np.float64)], 9, to=1)
    agree("Cast", [X > 0], 13, to=1)
    agree("CastLike", [X, np.float64(1)], 15)


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_matrix_products(opset: int) -> None:
    a, b = draw(4, 3), draw(3, 6, seed=1)
    for bias in (draw(6, seed=2), draw(1, seed=2), draw(4, 6, seed=2), draw(4, 1, seed=2)):
        agree("Gemm", [a, b, bias], opset)
        agree("Gemm", [a, b.T.copy(), bias], opset, transB=1, alpha=0.5, beta=2.0)
    agree("Gemm", [a.T.copy(), b, draw(6, seed=2)], opset, transA=1)
    agree("Gemm", [a, b.T.copy(), draw(6)], opset, transB=1)
    if opset >= 11:
        agree("Gemm", [a, b], opset)
    agree("MatMul", [a, b], opset)
    agree("MatMul", [X, draw(4, 5, 2, seed=1)], opset)
    agree("MatMul", [X, draw(5, seed=1)], opset)
    agree("MatMul", [draw(2, 4, 3, 5), draw(4, 5, 2, seed=1)], opset)


def test_einsum() -> None:
    agree("Einsum", [X, draw(5, 2, seed=1)], 12, equation="bij,jk->bik")
    agree("Einsum", [X, draw(4, 3, 5, seed=1)], 12, equation="bij,bkj->bik")


SIZES = {1: (9,), 2: (9, 8), 3: (5, 6, 7)}


@pytest.mark.parametrize("opset", [9, 11, 22])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions(rank: int, opset: int) -> None:
    x, weight, bias = draw(2, 4, *SIZES[rank]), draw(6, 4, *[3] * rank, seed=1), draw(6, seed=2)
    grouped = draw(6, 2, *[3] * rank, seed=3)
    asymmetric = [0, 1, 2][:rank] + [1, 2, 0][:rank]
    for attributes in (
        {},
        {"strides": [2] * rank, "pads": [1] * (2 * rank)},
        {"dilations": [2] * rank, "pads": [2] * (2 * rank)},
        {"pads": asymmetric, "strides": [1, 2, 1][:rank]},
        {"auto_pad": "SAME_UPPER", "strides": [2] * rank},
        {"auto_pad": "SAME_LOWER", "strides": [2] * rank},
        {"auto_pad": "VALID"},
        {"kernel_shape": [3] * rank},
    ):
        agree("Conv", [x, weight, bias], opset, tolerance=1e-4, **attributes)
        agree("Conv", [x, weight], opset, tolerance=1e-4, **attributes)
        agree("Conv", [x, grouped, bias], opset, tolerance=1e-4, group=2, **attributes)


@pytest.mark.parametrize("opset", [9, 11, 22])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions(rank: int, opset: int) -> None:
    x, weight, bias = draw(2, 4, *SIZES[rank]), draw(4, 3, *[3] * rank, seed=1), draw(6, seed=2)
    for attributes in (
        {},
        {"strides": [2] * rank, "pads": [1] * (2 * rank)},
        {"strides": [2] * rank, "pads": [1] * (2 * rank), "output_padding": [1] * rank},
        {"dilations": [2] * rank},
        {"strides": [2] * rank, "pads": [0, 1, 1][:rank] + [1, 0, 1][:rank], "output_padding": [1] * rank},
        {"strides": [2] * rank, "auto_pad": "SAME_UPPER"},
        {"strides": [2] * rank, "auto_pad": "SAME_LOWER"},
        {"strides": [3] * rank, "output_shape": [3 * size - 1 for size in SIZES[rank]]},
    ):
        agree("ConvTranspose", [x, weight, bias[:3]], opset, tolerance=1e-4, **attributes)
        agree("ConvTranspose", [x, weight, bias], opset, tolerance=1e-4, group=2, **attributes)


POOLS: list[dict[str, Any]] = [
    {},
    {"strides": 2},
    {"strides": 2, "pads": (1, 1)},
    {"strides": 2, "pads": (0, 1)},
    {"strides": 2, "pads": (1, 0)},
    {"strides": 2, "ceil_mode": 1},
    {"strides": 2, "pads": (1, 1), "ceil_mode": 1},
    {"strides": 3, "pads": (0, 2), "ceil_mode": 1},
    {"strides": 2, "auto_pad": "SAME_UPPER"},
    {"strides": 2, "auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID", "strides": 2},
]


def pooling(rank: int, settings: dict[str, Any], kernel: int = 3) -> dict[str, Any]:
    attributes: dict[str, Any] = {"kernel_shape": [kernel] * rank, **settings}
    if "strides" in settings:
        attributes["strides"] = [settings["strides"]] * rank
    if "pads" in settings:
        attributes["pads"] = [settings["pads"][0]] * rank + [settings["pads"][1]] * rank
    return attributes


@pytest.mark.parametrize("settings", POOLS, ids=str)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling(rank: int, settings: dict[str, Any]) -> None:
    for size in (7, 8):
        x = draw(2, 3, *[size] * rank)
        for opset in (10, 11, 12, 19, 22) if "ceil_mode" in settings else (9, 11, 19, 22):
            attributes = pooling(rank, settings)
            agree("MaxPool", [x], opset, **attributes)
            agree("AveragePool", [x], opset, **attributes)
            agree("AveragePool", [x], opset, count_include_pad=1, **attributes)
        if "auto_pad" not in settings and max(settings.get("pads", (0,))) < 2:  # onnxruntime leaves the rest undefined
            agree("MaxPool", [x], 12, **{**pooling(rank, settings, 2), "dilations": [2] * rank})


def test_pooling_with_dilations_and_norms() -> None:
    x = draw(2, 3, 9, 8)
    agree("AveragePool", [x], 19, kernel_shape=[2, 3], dilations=[2, 1], pads=[1, 1, 0, 1])
    for settings in ({}, {"strides": 2, "pads": (1, 0)}):
        agree("LpPool", [x], 11, p=2, **pooling(2, settings))
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        agree(op, [x], 9)
        agree(op, [draw(2, 3, 9)], 9)
    agree("GlobalLpPool", [x], 9, p=3)


@pytest.mark.parametrize("opset", [9, 14, 15, 17])
def test_batch_normalization(opset: int) -> None:
    for x in (draw(4, 3), draw(4, 3, 5), draw(4, 3, 5, 2)):
        agree("BatchNormalization", [x, draw(3), draw(3, seed=1), draw(3, seed=2), draw(3, seed=3, low=0.1)], opset)


def test_other_normalizations() -> None:
    x = draw(4, 6, 5, 2)
    agree("InstanceNormalization", [x, draw(6), draw(6, seed=1)], 9, epsilon=1e-3, tolerance=1e-4)
    agree("GroupNormalization", [x, draw(3), draw(3, seed=1)], 18, num_groups=3, tolerance=1e-4)
    agree("GroupNormalization", [x, draw(6), draw(6, seed=1)], 21, num_groups=3, tolerance=1e-4)
    for size in (1, 3, 5):  # onnxruntime takes odd ones alone
        agree("LRN", [x], 13, size=size, alpha=0.3, beta=0.6, bias=1.5)
    agree("MeanVarianceNormalization", [x], 13, axes=[2, 3], tolerance=1e-4)
    agree("LpNormalization", [x], 9, axis=1, p=2)
    agree("LpNormalization", [x], 9, p=1)


def test_layer_normalization() -> None:
    x = draw(4, 6, 5)
    agree("LayerNormalization", [x, draw(5), draw(5, seed=1)], 17, tolerance=1e-4)
    agree("LayerNormalization", [x, draw(5)], 17, tolerance=1e-4)
    agree("LayerNormalization", [x, draw(6, 5), draw(6, 5, seed=1)], 17, axis=1, epsilon=1e-3, tolerance=1e-4)
    agree("LayerNormalization", [x, draw(5), draw(5, seed=1)], 17, axis=-2, tolerance=1e-4)


REDUCTIONS = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 20])
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_reductions(kind: str, opset: int) -> None:
    op, as_input = f"Reduce{kind}", opset >= (13 if kind == "Sum" else 18)
    for axes in ([1], [2], [1, 2], [-1] if opset >= 11 else [2], None):
        for keepdims in (0, 1):
            if as_input:
                agree(op, [POSITIVE, *([ints(*axes)] if axes else [])], opset, keepdims=keepdims)
            else:
                agree(op, [POSITIVE], opset, keepdims=keepdims, **({"axes": axes} if axes else {}))
    if as_input:
        agree(op, [POSITIVE, ints()], opset, noop_with_empty_axes=0)


@pytest.mark.parametrize("opset", [9, 12, 13])
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_positions_of_extremes(op: str, opset: int) -> None:
    ties = np.round(draw(4, 6, 7))
    for axis in (1, 2):
        for keepdims in (0, 1):
            agree(op, [ties], opset, axis=axis, keepdims=keepdims)
            if opset >= 12:
                agree(op, [ties], opset, axis=axis, keepdims=keepdims, select_last_index=1)


def test_cumulated_sums_and_top_k() -> None:
    for exclusive in (0, 1):
        for reverse in (0, 1):
            agree("CumSum", [X, np.int64(1)], 14, exclusive=exclusive, reverse=reverse)
    agree("TopK", [X, ints(2)], 11, outputs=2)
    agree("TopK", [X, ints(2)], 11, outputs=2, axis=1, largest=0)


@pytest.mark.parametrize("opset", [9, 11, 13, 14, 21])
def test_reshaping(opset: int) -> None:
    for shape in (ints(0, -1), ints(-1, 5), ints(4, 15), ints(0, 5, 3), ints(2, -1, 0)):
        agree("Reshape", [X, shape], opset)
    if opset >= 14:
        agree("Reshape", [X[:, :, :0], ints(0, 3, 4)], opset, allowzero=1)
    for axis in (0, 1, 2, 3, *((-1, -2) if opset >= 11 else ())):
        agree("Flatten", [X], opset, axis=axis)
    agree("Transpose", [X], opset)
    agree("Transpose", [X], opset, perm=[0, 2, 1])


@pytest.mark.parametrize("opset", [9, 11, 13, 21])
def test_squeezing(opset: int) -> None:
    x = draw(4, 1, 5, 1)
    for axes in ([1], [1, 3], [3]):
        as_input = opset >= 13
        agree("Squeeze", [x, *([ints(*axes)] if as_input else [])], opset, **({} if as_input else {"axes": axes}))
        agree("Unsqueeze", [X, *([ints(*axes)] if as_input else [])], opset, **({} if as_input else {"axes": axes}))
    agree("Squeeze", [x], opset)
    if opset >= 13:
        agree("Unsqueeze", [X, ints(-1, 1)], opset)


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_joining_and_splitting(opset: int) -> None:
    agree("Concat", [X, draw(4, 2, 5, seed=1)], opset, axis=1)
    agree("Concat", [X, X, X], opset, axis=2)
    x = draw(4, 6, 5)
    if opset < 13:
        agree("Split", [x], opset, outputs=2, axis=1, split=[2, 4])
        agree("Split", [x], opset, outputs=3, axis=1)
    else:
        more = {"num_outputs": 3} if opset >= 18 else {}
        agree("Split", [x, ints(2, 4)], opset, outputs=2, axis=1)
        agree("Split", [x], opset, outputs=3, axis=1, **more)
    if opset >= 18:
        agree("Split", [draw(4, 7, 5)], opset, outputs=3, axis=1, num_outputs=3)


SLICES = [
    ([1], [3], [1], [1]),
    ([0, 1], [2, 100], [1, 2], [1, 2]),
    ([-1], [-100], [2], [-1]),
    ([3], [0], [2], [-2]),
    ([-4], [-1], [2], [1]),
    ([100], [-100], [2], [-3]),
    ([2**63 - 1], [-(2**63)], [2], [-1]),
    ([0], [2**63 - 1], [2], [2]),
    ([2], [1], [2], [1]),
]


@pytest.mark.parametrize("case", SLICES, ids=str)
def test_slices(case: tuple[list[int], ...]) -> None:
    starts, ends, axes, steps = case
    x = draw(4, 6, 5)
    for opset in (10, 11, 13):
        agree("Slice", [x, *(ints(*part) for part in case)], opset)
    if set(steps) == {1}:
        agree("Slice", [x], 9, starts=starts, ends=ends, axes=axes)
        agree("Slice", [x, ints(*starts), ints(*ends), ints(*axes)], 13)


def test_gathering() -> None:
    for axis in (1, 2, -1):
        for places in (np.int64(1), ints(0, 2, -1), np.array([[0, 1], [2, -2]])):
            agree("Gather", [X, places], 13, axis=axis)
    agree("GatherElements", [X, np.array(X[:, :, :2] > 0, np.int64) - 1], 13, axis=2)
    agree("GatherND", [X, np.array([[0, 1], [3, -1]])], 13)
    agree("GatherND", [X, np.array([[1], [0], [2], [-1]])], 13, batch_dims=1)
    agree("OneHot", [np.array([[0, 2], [-1, 9]]), np.int64(4), np.array([0.5, 2.0], np.float32)], 11)
    agree("OneHot", [np.array([[0, 2], [-1, 1]]), np.int64(4), np.array([0.5, 2.0], np.float32)], 11, axis=1)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_padding(mode: str) -> None:
    x = draw(4, 6, 5)
    pads = [0, 2, 1, 0, 1, 3]
    if mode != "wrap":
        agree("Pad", [x], 9, mode=mode, pads=pads, **({"value": 0.7} if mode == "constant" else {}))
        for opset in (11, 13, 18):
            agree("Pad", [x, ints(*pads)], opset, mode=mode)
    agree("Pad", [x, ints(1, 2, 3, 0), None, ints(1, -1)], 19, mode=mode)
    if mode == "constant":
        agree("Pad", [x, ints(*pads), np.float32(1.5)], 13, mode=mode)
        agree("Pad", [x, ints(0, -1, -1, 0, -1, 2)], 13, mode=mode)


def test_repeating_and_filling() -> None:
    agree("Expand", [draw(4, 1, 5), ints(3, 1)], 13)
    agree("Expand", [draw(4, 3, 1), ints(2, 4, 1, 5)], 9)
    agree("Tile", [X, ints(1, 2, 3)], 13)
    agree("Shape", [X], 13)
    agree("Shape", [X], 15, start=1, end=-1)
    agree("Size", [X], 13)
    agree("Trilu", [draw(4, 5, 5)], 14)
    agree("Trilu", [draw(4, 5, 5), np.int64(1)], 14, upper=0)
    agree("Dropout", [X], 9)
    agree("Dropout", [X, np.float32(0.5)], 13)


def test_blocks() -> None:
    for mode in ("DCR", "CRD"):
        agree("DepthToSpace", [draw(2, 8, 3, 5)], 13, blocksize=2, mode=mode)
    agree("SpaceToDepth", [draw(2, 3, 4, 6)], 13, blocksize=2)


COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resizing(mode: str, coordinates: str) -> None:
    x, none = draw(2, 3, 5, 6), np.empty(0, np.float32)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    roundings = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else (None,)
    for rounding in roundings:
        more = {**attributes, **({"nearest_mode": rounding} if rounding else {})}
        for opset in (11, 13, 18):
            for size in ((10, 12), (4, 9), (5, 6), (1, 3)):
                agree("Resize", [x, none, none, ints(2, 3, *size)], opset, tolerance=2e-5, **more)
            for scale in ((2, 2), (1.5, 2.5), (0.6, 1)):
                scales = np.array([1, 1, *scale], np.float32)
                agree("Resize", [x, none, scales], opset, tolerance=2e-5, **more)
    if mode == "cubic":
        more = {**attributes, "cubic_coeff_a": -0.5, "exclude_outside": 1}
        agree("Resize", [x, none, none, ints(2, 3, 9, 4)], 13, tolerance=2e-5, **more)


def test_older_and_newer_ways_to_resize() -> None:
    x, none = draw(2, 3, 5, 6), np.empty(0, np.float32)
    for mode in ("nearest", "linear"):
        for scale in ((2, 2), (2, 3), (1, 1.5)):
            agree("Upsample", [x, np.array([1, 1, *scale], np.float32)], 9, mode=mode)
            agree("Resize", [x, np.array([1, 1, *scale], np.float32)], 10, mode=mode)
    agree("Resize", [x, np.array([1, 1, 0.6, 0.5], np.float32)], 10, mode="nearest")
    agree("Resize", [x, None, None, ints(7, 8)], 18, axes=[2, 3], mode="linear")
    agree(
        "Resize", [x, none, np.array([1, 1, 2.3, 1.7], np.float32)], 19, mode="linear",
        coordinate_transformation_mode="half_pixel_symmetric",
    )  # fmt: skip


def test_shape_arithmetic_is_taken_from_the_rows() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["rows"], axis=0),
        helper.make_node("Unsqueeze", ["rows", "axis"], ["rows1"]),
        helper.make_node("Concat", ["rows1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("ConstantOfShape", ["target1"], ["ones"], value=helper.make_tensor("v", 1, [1], [1.0])),
        helper.make_node("Concat", ["rows1", "one"], ["target1"], axis=0),
        helper.make_node("Range", ["start", "limit", "delta"], ["range"]),
        helper.make_node("Concat", ["flat", "ones"], ["joined"], axis=1),
        helper.make_node("Add", ["joined", "range"], ["y"]),
    ]
    constants = {
        "zero": np.int64(0), "axis": ints(0), "rest": ints(-1), "one": ints(1),
        "start": np.float32(0), "limit": np.float32(16), "delta": np.float32(1),
    }  # fmt: skip
    model = model_of(nodes, [None, 3, 5], constants, opset=13)
    for rows in (1, 4, 64):
        ours, theirs = both(model, draw(rows, 3, 5))
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape == (rows, 16)


def test_constants_of_every_kind() -> None:
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=2.0),
        helper.make_node("Constant", [], ["b"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Constant", [], ["s"], value_ints=[-1, 3]),
        helper.make_node("Reshape", ["x", "s"], ["r"]),
        helper.make_node("Mul", ["r", "a"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    ours, theirs = both(model_of(nodes, [None, 3], opset=13), draw(4, 3))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrent_layers(op: str, direction: str) -> None:
    gates, turns = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 2 if direction == "bidirectional" else 1
    x, w, r = draw(6, 4, 3), draw(turns, gates * 5, 3, seed=1), draw(turns, gates * 5, 5, seed=2)
    bias, start = draw(turns, gates * 10, seed=3), draw(turns, 4, 5, seed=4)
    settings: list[dict[str, Any]] = [{}]
    settings += (
        [{"linear_before_reset": 1}] if op == "GRU" else [{"activations": ["Relu"] * turns}] if op == "RNN" else []
    )
    for opset in (9, 14):
        for more in settings:
            attributes = {"direction": direction, "hidden_size": 5, **more}
            outputs = 3 if op == "LSTM" else 2
            agree(op, [x, w, r], opset, outputs=outputs, **attributes)
            agree(op, [x, w, r, bias], opset, outputs=outputs, **attributes)
            starts = [start, start + 1] if op == "LSTM" else [start]
            lengths = np.full(4, 6, np.int32)
            agree(op, [x, w, r, bias, lengths, *starts], opset, outputs=outputs, **attributes)


@pytest.mark.parametrize(
    ("op", "inputs", "opset", "attributes", "told"),
    [
        ("BatchNormalization", [X, *[POSITIVE[0, :, 0]] * 4], 15, {"training_mode": 1}, "training mode"),
        ("Resize", [X, None, np.ones(3, np.float32)], 18, {"antialias": 1, "mode": "linear"}, "antialias 1"),
        ("Cast", [X], 13, {"to": 8}, "Cast to type 8"),
        ("MeanVarianceNormalization", [X], 13, {"axes": [0, 2]}, "over axis 0"),
        ("GRU", [X, draw(1, 15, 5), draw(1, 15, 5)], 14, {"hidden_size": 5, "clip": 1.0}, "GRU with clip"),
        ("RNN", [X, draw(1, 5, 5), draw(1, 5, 5)], 14, {"hidden_size": 5, "activations": ["Elu"]}, "activations Elu"),
        ("NonZero", [X], 13, {}, "NonZero × 1"),
    ],
)
def test_what_has_no_reading_is_named(op: str, inputs: list[Any], opset: int, attributes: Any, told: str) -> None:
    model = one_op(op, inputs, opset, **attributes)
    graph = read_graph(model, "test.onnx")
    with pytest.raises(Unsupported, match=told):
        read_module(graph, graph.inputs[0], "y")


def test_the_pooling_gradient_goes_to_one_number_alone() -> None:
    ties = torch.ones(1, 1, 2, 2, requires_grad=True)
    for op, attributes in (("MaxPool", {"kernel_shape": [2, 2]}), ("GlobalMaxPool", {})):
        graph = read_graph(one_op(op, [ties.detach().numpy()], 13, **attributes), "test.onnx")
        (gradient,) = torch.autograd.grad(read_module(graph, graph.inputs[0], "y")(ties).sum(), ties)
        assert sorted(gradient.reshape(-1).tolist()) == [0, 0, 0, 1]


def test_the_newest_operators() -> None:
    agree("RMSNormalization", [draw(4, 6, 5), draw(5)], 23)
    agree("Swish", [X], 24, alpha=0.7)


def test_every_operator_of_the_table_is_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [op for op in OPERATORS if f'"{op}"' not in text and f'"{op.removeprefix("Reduce")}"' not in text] == []
