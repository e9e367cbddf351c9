"""The shape that a Keras layer makes of the shapes it is given, from its config alone.

Shapes hold the batch; None is a side that the config leaves open. A layer without a rule, or with a config that the
rule does not understand, raises NoRule: its output cannot be followed.
"""

from collections.abc import Callable
from math import prod
from typing import TypeAlias

from .words import words

Shape: TypeAlias = tuple[int | None, ...]
Config: TypeAlias = dict[str, object]
Rule: TypeAlias = Callable[[Config, list[Shape]], Shape]


class NoRule(Exception):  # noqa: N818 -- never leaves the package
    """What a layer makes of its input is not known."""


def whole(config: Config, key: str, default: int | None = None) -> int:
    """A whole number of a config.

    >>> whole({"units": 3}, "units")
    3
    """
    value = config.get(key, default)
    if type(value) is not int or value < 0:
        raise NoRule(f"{key} is {str(value)[:40]}, not a size")
    return value


def sides(config: Config, key: str, count: int, default: object = None) -> list[int]:
    """A number or a list of numbers, as a list of `count`.

    >>> sides({"strides": 2}, "strides", 2)
    [2, 2]
    """
    value = config.get(key)
    value = default if value is None else value
    if type(value) is int:
        value = [value] * count
    if not isinstance(value, list) or len(value) != count or not all(type(v) is int and v >= 0 for v in value):
        raise NoRule(f"{key} is {str(value)[:40]}, not {count} sizes")
    return value


def shape_of(value: object) -> Shape:
    """A shape as it stands in a config.

    >>> shape_of([None, 4])
    (None, 4)
    """
    if not isinstance(value, list) or not all(v is None or (type(v) is int and v >= 0) for v in value):
        raise NoRule(f"{str(value)[:40]} is no shape")
    return tuple(value)


def known(shape: Shape) -> int:
    """The product of all sides but the batch; an open side is none.

    >>> known((None, 3, 4))
    12
    """
    if any(side is None for side in shape[1:]):
        raise NoRule("a size depends on a side that the config leaves open")
    return prod(side for side in shape[1:] if side is not None)


def last(shape: Shape, config: Config | None = None) -> int:
    """The channels of a shape.

    >>> last((None, 3, 4)), last((None, 3, 4), {"data_format": "channels_first"})
    (4, 3)
    """
    side = shape[1 if config is not None and config.get("data_format") == "channels_first" else -1] if shape else None
    if side is None:
        raise NoRule("a size depends on channels that the config leaves open")
    return side


def output_shape(name: str, config: Config, inputs: list[Shape]) -> Shape:
    """The first output of a layer; raises NoRule.

    >>> output_shape("Dense", {"units": 3}, [(None, 4)])
    (None, 3)
    """
    rule = _RULES.get(name)
    if rule is None or not inputs or any(not shape for shape in inputs):
        raise NoRule(f"what {name} makes of its input is not known")
    return rule(config, inputs)


def _same(config: Config, inputs: list[Shape]) -> Shape:
    return inputs[0]


def _dense(config: Config, inputs: list[Shape]) -> Shape:
    return (*inputs[0][:-1], whole(config, "units"))


def _embedding(config: Config, inputs: list[Shape]) -> Shape:
    return (*inputs[0], whole(config, "output_dim"))


def _spatial(config: Config, shape: Shape, change: Callable[[int, int], int], channels: int | None) -> Shape:
    """Change every spatial side by (index, side); `channels` None leaves the channels as they are."""
    first = config.get("data_format") == "channels_first"
    inner = shape[2:] if first else shape[1:-1]
    changed = [None if side is None else max(0, change(index, side)) for index, side in enumerate(inner)]
    channel = (shape[1] if first else shape[-1]) if channels is None else channels
    return (shape[0], channel, *changed) if first else (shape[0], *changed, channel)


def _window(config: Config, shape: Shape, key: str) -> Callable[[int, int], int]:
    rank = len(shape) - 2
    size = sides(config, key, rank)
    step = sides(config, "strides", rank, default=size if key == "pool_size" else 1)
    wide = sides(config, "dilation_rate", rank, default=1)
    if not all(step):
        raise NoRule("a stride of nothing")

    def change(index: int, side: int) -> int:
        if config.get("padding") != "valid":
            return -(-side // step[index])
        return (side - wide[index] * (size[index] - 1) - 1) // step[index] + 1

    return change


def _convolution(config: Config, inputs: list[Shape]) -> Shape:
    return _spatial(config, inputs[0], _window(config, inputs[0], "kernel_size"), whole(config, "filters"))


def _depthwise(config: Config, inputs: list[Shape]) -> Shape:
    channels = last(inputs[0], config) * whole(config, "depth_multiplier", 1)
    return _spatial(config, inputs[0], _window(config, inputs[0], "kernel_size"), channels)


def _transposed(config: Config, inputs: list[Shape]) -> Shape:
    rank = len(inputs[0]) - 2
    size, step = sides(config, "kernel_size", rank), sides(config, "strides", rank, default=1)
    wide, more = sides(config, "dilation_rate", rank, default=1), sides(config, "output_padding", rank, default=0)

    def widest(index: int, side: int) -> int:  # at least what any padding makes of it
        extra = max(0, wide[index] * (size[index] - 1) + 1 - step[index]) if config.get("padding") == "valid" else 0
        return side * step[index] + extra + more[index]

    return _spatial(config, inputs[0], widest, whole(config, "filters"))


def _pooling(config: Config, inputs: list[Shape]) -> Shape:
    return _spatial(config, inputs[0], _window(config, inputs[0], "pool_size"), None)


def _global_pooling(config: Config, inputs: list[Shape]) -> Shape:
    if config.get("keepdims"):
        return _spatial(config, inputs[0], lambda index, side: 1, None)
    first = config.get("data_format") == "channels_first"
    return inputs[0][0], inputs[0][1 if first else -1]


def _flatten(config: Config, inputs: list[Shape]) -> Shape:
    return inputs[0][0], known(inputs[0])


def _reshape(config: Config, inputs: list[Shape]) -> Shape:
    target = config.get("target_shape")
    if not isinstance(target, list) or not all(type(side) is int and side >= -1 for side in target):
        raise NoRule("target_shape is no shape")
    rest = prod(side for side in target if side != -1)
    filled = [(known(inputs[0]) // max(1, rest)) if side == -1 else side for side in target]
    return (inputs[0][0], *filled)


def _permute(config: Config, inputs: list[Shape]) -> Shape:
    order = sides(config, "dims", len(inputs[0]) - 1)
    if sorted(order) != list(range(1, len(inputs[0]))):
        raise NoRule("dims is no order of the sides")
    return (inputs[0][0], *(inputs[0][index] for index in order))


def _repeat(config: Config, inputs: list[Shape]) -> Shape:
    return inputs[0][0], whole(config, "n"), inputs[0][-1]


def _broadcast(config: Config, inputs: list[Shape]) -> Shape:
    rank = max(len(shape) for shape in inputs)
    padded = [(1,) * (rank - len(shape)) + shape for shape in inputs]
    return tuple(
        None if None in column else max(s for s in column if s is not None) for column in zip(*padded, strict=True)
    )


def _concatenate(config: Config, inputs: list[Shape]) -> Shape:
    axis = config.get("axis", -1)
    rank = len(inputs[0])
    if type(axis) is not int or not -rank <= axis < rank or any(len(shape) != rank for shape in inputs):
        raise NoRule("the axis is outside of the shapes")
    column = [shape[axis] for shape in inputs]
    joined = None if None in column else sum(side for side in column if side is not None)
    return (*inputs[0][: axis % rank], joined, *inputs[0][axis % rank + 1 :])


def _recurrent(config: Config, inputs: list[Shape]) -> Shape:
    units = whole(config, "units")
    return (*inputs[0][:2], units) if config.get("return_sequences") else (inputs[0][0], units)


def _attention(config: Config, inputs: list[Shape]) -> Shape:
    return (*inputs[0][:-1], last(inputs[1] if len(inputs) > 1 else inputs[0]))


def _heads(config: Config, inputs: list[Shape]) -> Shape:
    wanted = config.get("output_shape")
    if wanted is None:
        return inputs[0]
    return (*inputs[0][:-1], *([wanted] if type(wanted) is int else shape_of(wanted)))


def _scaled(config: Config, inputs: list[Shape]) -> Shape:
    size = sides(config, "size", len(inputs[0]) - 2)
    return _spatial(config, inputs[0], lambda index, side: side * size[index], None)


def _bordered(sign: int, key: str) -> Rule:
    def rule(config: Config, inputs: list[Shape]) -> Shape:
        pairs = config.get(key)
        pairs = [pairs] if pairs and isinstance(pairs, list) and type(pairs[0]) is int else pairs
        if not isinstance(pairs, list) or len(pairs) != len(inputs[0]) - 2:
            raise NoRule(f"{key} does not fit the shape")
        width = [sum(sides({key: pair}, key, 2)) for pair in pairs]
        return _spatial(config, inputs[0], lambda index, side: side + sign * width[index], None)

    return rule


def _resized(config: Config, inputs: list[Shape]) -> Shape:
    size = whole(config, "height"), whole(config, "width")
    return _spatial(config, inputs[0], lambda index, side: size[index] if index < 2 else side, None)


SAME = words(
    """
    Activation ActivityRegularization AlphaDropout AutoContrast BatchNormalization Dropout ELU Equalization
    GaussianDropout GaussianNoise GroupNormalization Identity LayerNormalization LeakyReLU Masking Normalization PReLU
    RMSNormalization RandomBrightness RandomContrast RandomFlip RandomGrayscale RandomHue RandomInvert RandomRotation
    RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU Rescaling Softmax SpatialDropout1D
    SpatialDropout2D SpatialDropout3D ThresholdedReLU UnitNormalization
    Absolute Clip Exp Log Negative Sqrt Square Relu Sigmoid LogSoftmax Softplus Silu Gelu Elu Selu
    """
)
_DIMENSIONS = ("1D", "2D", "3D")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(words("Add Average Maximum Minimum Multiply Subtract Divide TrueDivide Power"), _broadcast),
    **{f"Conv{d}": _convolution for d in _DIMENSIONS},
    **{f"SeparableConv{d}": _convolution for d in _DIMENSIONS[:2]},
    **{f"DepthwiseConv{d}": _depthwise for d in _DIMENSIONS[:2]},
    **{f"Conv{d}Transpose": _transposed for d in _DIMENSIONS},
    **{f"{kind}Pooling{d}": _pooling for d in _DIMENSIONS for kind in ("Max", "Average")},
    **{f"Global{kind}Pooling{d}": _global_pooling for d in _DIMENSIONS for kind in ("Max", "Average")},
    **{f"UpSampling{d}": _scaled for d in _DIMENSIONS},
    **{f"ZeroPadding{d}": _bordered(1, "padding") for d in _DIMENSIONS},
    **{f"Cropping{d}": _bordered(-1, "cropping") for d in _DIMENSIONS},
    **dict.fromkeys(words("LSTM GRU SimpleRNN"), _recurrent),
    **dict.fromkeys(words("Attention AdditiveAttention"), _attention),
    **dict.fromkeys(words("MultiHeadAttention GroupedQueryAttention GroupQueryAttention"), _heads),
    **dict.fromkeys(words("Resizing CenterCrop RandomCrop"), _resized),
    "Dense": _dense,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
    "Concatenate": _concatenate,
}
