"""Which format a Protocol Buffers message is: they have no magic, so the outermost fields must tell."""

import re

from .onnx_schema import MESSAGES
from .place import Exhausted, Purse
from .protobuf import BadProtobuf, Message, Shape, Wire, shapes
from .source import Source

_PROBED_FIELDS = 20_000
_OPERATOR = re.compile(r"_?[A-Z][A-Za-z0-9_>]*")
_TENSORFLOW = shapes("""
SavedModel
  1 schema int
  2 meta_graphs* MetaGraph
MetaGraph
  1 info bytes
  2 graph Graph
  3 saver bytes
  4 collections* bytes
  5 signatures* bytes
  6 assets* bytes
  7 objects bytes
Graph
  1 node* Node
  2 library bytes
  3 version int
  4 versions bytes
  5 debug_info bytes
Node
  1 name text
  2 op text
  3 input* text
  4 device text
  5 attr* bytes
  6 debug_info bytes
  7 full_type bytes
""")


def protobuf_kind(source: Source) -> str | None:
    r"""`onnx` or `tensorflow`, where the outermost fields are those of one of them.

    >>> protobuf_kind(Source.of(b"\x08\x08\x3a\x00")), protobuf_kind(Source.of(b"hello"))
    ('onnx', None)
    """
    model, _ = _read(source, 0, source.size, MESSAGES["Model"])
    if "ir_version" in model.numbers and "graph" in model.extents:
        return "onnx"
    return "tensorflow" if _is_saved_model(source) or _is_graph(source, 0, source.size) else None


def _read(source: Source, start: int, end: int, shape: Shape) -> tuple[Message, bool]:
    """As much of a message as can be read, and whether all of it is known."""
    found, odds = Message(start), list[int]()
    wire = Wire(source, Purse(fields=_PROBED_FIELDS), lambda at, *_: odds.append(at))
    try:
        wire.message(start, end, shape, found)
    except BadProtobuf:
        return found, False
    except Exhausted:
        return found, not odds
    return found, not odds


def _is_saved_model(source: Source) -> bool:
    saved, sound = _read(source, 0, source.size, _TENSORFLOW["SavedModel"])
    first = next(saved.parts("meta_graphs"), None)
    if not sound or first is None or saved.number("schema") != 1:
        return False
    inner, sound = _read(source, *first, _TENSORFLOW["MetaGraph"])
    return sound and "graph" in inner.extents


def _is_graph(source: Source, start: int, end: int) -> bool:
    graph, sound = _read(source, start, end, _TENSORFLOW["Graph"])
    first = next(graph.parts("node"), None)
    if not sound or first is None:
        return False
    node, sound = _read(source, *first, _TENSORFLOW["Node"])
    operator = next(node.parts("op"), None)
    if not sound or operator is None or operator[1] - operator[0] > 200:
        return False
    text = source.read(operator[0], operator[1] - operator[0]).decode("latin-1")
    return _OPERATOR.fullmatch(text) is not None
