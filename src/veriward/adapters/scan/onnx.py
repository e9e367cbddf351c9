"""ONNX: a graph of operators and their tensors, as Protocol Buffers, perhaps with tensors in files beside it.

Every message is read, field by field, with its subgraphs and functions; the numbers of tensors are measured and left
where they are. Format: onnx.ai, docs/IR.md and onnx/onnx.proto.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from .onnx_external import Beside
from .onnx_operators import LIBRARIES, is_known, runs_python, why_unknown
from .onnx_schema import MESSAGES
from .onnx_shapes import Shapes
from .onnx_tensors import check_sparse, check_tensor, entries
from .place import Place
from .protobuf import BadProtobuf, Message, Wire
from .source import Source

_MAX_NESTING = 100  # where parsers of Protocol Buffers stop, too
_MAX_INLINED = 1_000_000  # nodes, once functions are unfolded
_HUGE = 10**18
_NEWEST_IR = 14
_Key = tuple[str, ...]  # domain and name
_MAIN: _Key = ()  # the owner of the nodes of the main graph


def scan_onnx(source: Source, place: Place) -> None:
    r"""Read a model: its operators, its tensors, its functions, and the files that it needs.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_onnx(Source.of(b"\x08\x08\x3a\x00\x42\x02\x10\x13"), place); place.notes.outcome
    'clean'
    """

    def odd(at: int, what: str, why: str, grave: bool) -> None:
        (place.dangerous if grave else place.unknown)(at, what, why)

    walk = _Walk(Wire(source, place.purse, odd), place, Beside(place))
    try:
        walk.visit(0, source.size, "Model", 0)
        walk.check_functions()
        walk.shapes.check(place)
    except BadProtobuf as error:
        place.unknown(error.at, "broken message", str(error))


@dataclass
class _Walk:
    """The way through one model, and what must be known of all of it before it can be judged."""

    wire: Wire
    place: Place
    beside: Beside
    shapes: Shapes = field(default_factory=Shapes)
    functions: set[_Key] = field(default_factory=set)
    owner: _Key = _MAIN
    calls: dict[_Key, Counter[_Key]] = field(default_factory=lambda: defaultdict(Counter))

    def visit(self, start: int, end: int, kind: str, depth: int) -> None:
        """Judge a message and everything in it."""
        if depth > _MAX_NESTING:
            self.place.unknown(start, "nested messages", f"lie more than {_MAX_NESTING} deep and are not read")
            return
        message = self.wire.message(start, end, MESSAGES[kind])
        self._judge(kind, message)
        for spec in MESSAGES[kind].values():
            if spec.message:
                for part in message.parts(spec.name):
                    self.visit(*part, spec.message, depth + 1)
        if kind == "Function":
            self.owner = _MAIN

    def _judge(self, kind: str, message: Message) -> None:
        match kind:
            case "Model":
                self._model(message)
            case "Function":
                self.owner = self._named(message, "name")
            case "Node":
                self._node(message)
            case "Tensor":
                check_tensor(self.wire, message, self.place, self.beside)
                self.shapes.keep(self.wire, message)
            case "Sparse":
                check_sparse(self.wire, message, self.place)
            case "OperatorSet":
                self._operator_set(message)

    def _text(self, message: Message, name: str) -> str:
        part = next(message.parts(name), None)
        return self.wire.text(*part) if part else ""

    def _named(self, message: Message, name: str) -> tuple[str, str]:
        domain = self._text(message, "domain")
        return ("" if domain == "ai.onnx" else domain), self._text(message, name)

    def _model(self, model: Message) -> None:
        if not 1 <= model.number("ir_version") <= _NEWEST_IR:
            what = f"version {model.number('ir_version')}"
            self.place.unknown(0, what, f"is no version of the format that is known; 1 to {_NEWEST_IR} are")
        if not model.count("graph"):
            self.place.unknown(0, "a model", "has no graph")
        for key, _ in entries(self.wire, model, "metadata_props"):
            if key == "ort_config":
                self.place.unknown(0, key, "sets options of the onnxruntime session that loads the model")
        for start, end in model.parts("functions"):
            named = self._named(self.wire.message(start, end, MESSAGES["Function"]), "name")
            if named in self.functions:
                self.place.unknown(start, ":".join(named), "is a function that stands twice")
            if is_known(*named):
                self.place.unknown(start, ":".join(named), "is a function in the place of a standard operator")
            self.functions.add(named)

    def _operator_set(self, imported: Message) -> None:
        domain = self._text(imported, "domain")
        if domain in LIBRARIES:
            self.place.unknown(imported.at, domain, "is a library of custom operators that the loader must be given")
        if not 0 <= imported.number("version") < 1 << 31:
            self.place.unknown(imported.at, domain, "is imported in a version that is no number of one")

    def _node(self, node: Message) -> None:
        domain, operator = named = self._named(node, "op_type")
        name = f"{domain}:{operator}" if domain else operator
        self.calls[self.owner][named] += 1
        if runs_python(domain, operator):
            self.place.dangerous(node.at, name, "calls Python code from inside the graph")
        elif named not in self.functions and not is_known(domain, operator):
            self.place.unknown(node.at, name, why_unknown(domain, operator))
        self.shapes.note(self.wire, node, operator)

    def check_functions(self) -> None:
        """Loaders unfold functions into the graph: that must end, and must not multiply."""
        weights: dict[_Key, int] = {}
        for function in (_MAIN, *self.functions):
            if self._weigh(function, weights) is None:
                why = "calls itself, so a loader that unfolds functions never ends"
                self.place.dangerous(0, ":".join(function), why)
                return
        if weights[_MAIN] > _MAX_INLINED + sum(self.calls[_MAIN].values()):
            why = "come from functions that call each other many times over: a bomb for loaders that unfold them"
            self.place.dangerous(0, f"{weights[_MAIN]} nodes", why)

    def _weigh(self, top: _Key, weights: dict[_Key, int]) -> int | None:
        """The nodes of a function once all calls are unfolded; None where that never ends. Without recursion."""
        stack, open_ones = [top], set[_Key]()
        while stack:
            here = stack[-1]
            inner = [name for name in self.calls[here] if name in self.functions]
            missing = [name for name in inner if name not in weights]
            if here in weights or not missing:
                counts = self.calls[here]
                weights.setdefault(here, min(_HUGE, sum(n * weights.get(name, 1) for name, n in counts.items())))
                open_ones.discard(stack.pop())
                continue
            if here in open_ones or any(name in open_ones for name in missing):
                return None
            open_ones.add(here)
            stack += missing
        return weights[top]
