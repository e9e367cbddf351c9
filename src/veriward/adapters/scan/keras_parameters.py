"""How many numbers a Keras layer allocates when it is built for a given input, at least roughly and never too few.

A layer that is neither here nor in WEIGHTLESS raises NoRule, so an allocation that nobody counted is never clean.
"""

from collections.abc import Callable
from math import prod
from typing import TypeAlias

from .keras_shapes import SAME, Config, NoRule, Shape, last, sides, whole
from .words import words

ParameterRule: TypeAlias = Callable[[Config, list[Shape]], int]


def parameters(name: str, config: Config, inputs: list[Shape]) -> int:
    """Numbers that the weights of a layer hold; raises NoRule.

    >>> parameters("Dense", {"units": 3}, [(None, 4)])
    15
    """
    if config.get("lora_rank"):
        raise NoRule(f"{name} is adapted by LoRA, whose size is not followed")
    if name in WEIGHTLESS:
        return 0
    rule = _RULES.get(name)
    if rule is None or not inputs or any(not shape for shape in inputs):
        raise NoRule(f"what {name} allocates is not known")
    return rule(config, inputs)


def _dense(config: Config, inputs: list[Shape]) -> int:
    return (last(inputs[0]) + 1) * whole(config, "units")


def _embedding(config: Config, inputs: list[Shape]) -> int:
    return whole(config, "input_dim") * whole(config, "output_dim")


def _kernel(config: Config, shape: Shape) -> int:
    return prod(sides(config, "kernel_size", len(shape) - 2))


def _convolution(config: Config, inputs: list[Shape]) -> int:
    return (last(inputs[0], config) * _kernel(config, inputs[0]) + 1) * whole(config, "filters")


def _depthwise(config: Config, inputs: list[Shape]) -> int:
    channels = last(inputs[0], config) * whole(config, "depth_multiplier", 1)
    return channels * (_kernel(config, inputs[0]) + 1)


def _separable(config: Config, inputs: list[Shape]) -> int:
    channels = last(inputs[0], config) * whole(config, "depth_multiplier", 1)
    return channels * _kernel(config, inputs[0]) + (channels + 1) * whole(config, "filters")


def _recurrent(config: Config, inputs: list[Shape]) -> int:
    units = whole(config, "units")
    states = 2 * units * (inputs[0][0] or 0) if config.get("stateful") else 0
    return 4 * units * (last(inputs[0]) + units + 2) + states  # an LSTM, the largest of them


def _axes(config: Config, inputs: list[Shape]) -> int:
    """Four vectors over the axes that are kept."""
    axis = config.get("axis", -1)
    chosen = axis if isinstance(axis, list) else [] if axis is None else [axis]
    shape = inputs[0]
    indices = [index for index in chosen if isinstance(index, int) and -len(shape) <= index < len(shape)]
    if len(indices) < len(chosen):
        raise NoRule("the axis is outside of the shape")
    kept = [shape[index] for index in indices]
    if None in kept:
        raise NoRule("a size depends on a side that the config leaves open")
    return 4 * prod(side for side in kept if side is not None)


def _slopes(config: Config, inputs: list[Shape]) -> int:
    shared = config.get("shared_axes") or []
    if not isinstance(shared, list):
        raise NoRule("shared_axes is no list")
    kept = [1 if index in shared else side for index, side in enumerate(inputs[0]) if index]
    if None in kept:
        raise NoRule("a size depends on a side that the config leaves open")
    return prod(side for side in kept if side is not None)


def _heads(config: Config, inputs: list[Shape]) -> int:
    heads = max(whole(config, key, 0) for key in ("num_heads", "num_query_heads", "num_key_value_heads"))
    size = max(whole(config, key, 0) for key in ("key_dim", "head_dim"))
    values = config.get("value_dim")
    widths = [last(shape) for shape in inputs]
    wanted = config.get("output_shape")
    if wanted is not None:
        widths.append(
            prod(sides({"output_shape": wanted}, "output_shape", len(wanted) if isinstance(wanted, list) else 1))
        )
    return 5 * heads * max(size, values if type(values) is int else 0) * (max(widths) + 2)


def _scale(config: Config, inputs: list[Shape]) -> int:
    return max(last(shape) for shape in inputs) + 1


WEIGHTLESS = (
    SAME - words("BatchNormalization GroupNormalization LayerNormalization Normalization PReLU RMSNormalization")
) | words(
    """
    InputLayer Add Average Maximum Minimum Multiply Subtract Concatenate Dot Flatten Reshape Permute RepeatVector
    MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D
    AdaptiveMaxPooling2D AdaptiveMaxPooling3D UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D Cropping1D Cropping2D Cropping3D Resizing CenterCrop RandomCrop CategoryEncoding Discretization
    Hashing HashedCrossing StringLookup IntegerLookup TextVectorization
    Divide TrueDivide Power Matmul Max Mean Min Sum ExpandDims Squeeze Transpose
    """
)
_RULES: dict[str, ParameterRule] = {
    **{f"Conv{d}{kind}": _convolution for d in ("1D", "2D", "3D") for kind in ("", "Transpose")},
    **{f"SeparableConv{d}": _separable for d in ("1D", "2D")},
    **{f"DepthwiseConv{d}": _depthwise for d in ("1D", "2D")},
    **dict.fromkeys(words("LSTM GRU SimpleRNN"), _recurrent),
    **dict.fromkeys(
        words("BatchNormalization GroupNormalization LayerNormalization Normalization RMSNormalization"), _axes
    ),
    **dict.fromkeys(words("MultiHeadAttention GroupedQueryAttention GroupQueryAttention"), _heads),
    **dict.fromkeys(words("Attention AdditiveAttention"), _scale),
    "Dense": _dense,
    "Embedding": _embedding,
    "PReLU": _slopes,
}
