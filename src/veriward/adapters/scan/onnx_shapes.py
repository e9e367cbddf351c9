"""Operators that make a large tensor out of a constant shape: a few bytes of file ask for gigabytes of memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from .onnx_schema import MESSAGES
from .onnx_tensors import MAX_ELEMENTS, small_integers
from .place import Place
from .protobuf import BadProtobuf, Message, Wire

_SHAPE_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3, "Upsample": 1, "OneHot": 1, "Pad": 1}
_SHAPE_ATTRIBUTE = {"RandomNormal", "RandomUniform", "Constant"}
_SIDES = 64


@dataclass
class Shapes:
    """Small constants by name, and the operators that take one of them for a shape.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> Shapes({"a": (1 << 20, 1 << 20)}, [(0, "Expand", ("x", "a"))]).check(place); place.notes.outcome
    'unknown'
    """

    constants: dict[str, tuple[int, ...]] = field(default_factory=dict)
    users: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)

    def keep(self, wire: Wire, tensor: Message, name: str = "") -> None:
        """Remember a tensor that may be a shape, by its own name or by the one of a node's output."""
        part = next(tensor.parts("name"), None)
        name = name or (wire.text(*part) if part else "")
        values = small_integers(wire, tensor) if name else None
        if values is not None:
            self._remember(name, values)

    def _remember(self, name: str, values: tuple[int, ...]) -> None:
        # names repeat in subgraphs and functions; the largest counts
        if _size(values) >= _size(self.constants.get(name, ())):
            self.constants[name] = values

    def note(self, wire: Wire, node: Message, operator: str) -> None:
        """Remember what a node takes for a shape, or the constant that it is."""
        if operator in _SHAPE_INPUT or operator == "Range":
            inputs = [wire.text(*part) for part, _ in zip(node.parts("input"), range(4), strict=False)]
            self.users.append((node.at, operator, tuple(inputs)))
        elif operator in _SHAPE_ATTRIBUTE:
            self._read_attributes(wire, node, operator)

    def _read_attributes(self, wire: Wire, node: Message, operator: str) -> None:
        output = next(node.parts("output"), None)
        name = wire.text(*output) if output else ""
        for start, end in node.parts("attribute"):
            attribute = wire.message(start, end, MESSAGES["Attribute"])
            for part in attribute.parts("t"):
                self.keep(wire, wire.message(*part, MESSAGES["Tensor"]), name)
            numbers = _few(wire, attribute) or ((attribute.number("i"),) if attribute.count("i") else ())
            if operator == "Constant":
                self._remember(name, numbers)
            elif numbers:
                self._remember(f"\0{node.at}", numbers)  # no name that a file can hold
                self.users.append((node.at, operator, (f"\0{node.at}",)))

    def check(self, place: Place) -> None:
        """Add up what the operators ask for, and note those that ask for too much."""
        total = 0
        for at, operator, inputs in self.users:
            total += self._asked(operator, inputs)
            if total > MAX_ELEMENTS:
                why = f"makes tensors of more than {MAX_ELEMENTS} elements out of constants"
                place.unknown(at, operator, why)
                return

    def _asked(self, operator: str, inputs: Sequence[str]) -> int:
        found = [self.constants.get(name, ()) for name in inputs]
        if operator == "Range":
            numbers = [values[0] if len(values) == 1 else 0 for values in (*found, (), (), ())[:3]]
            return abs(numbers[1] - numbers[0]) // max(1, abs(numbers[2]))
        index = _SHAPE_INPUT.get(operator, 0)
        values = found[index] if index < len(found) else ()
        return sum(map(abs, values)) if operator == "Pad" else _size(values)


def _size(values: Sequence[int]) -> int:
    return prod(max(1, abs(value)) for value in values[:_SIDES])


def _few(wire: Wire, attribute: Message) -> tuple[int, ...]:
    try:
        return tuple(wire.integers(attribute, "ints", _SIDES))
    except BadProtobuf:
        return ()
