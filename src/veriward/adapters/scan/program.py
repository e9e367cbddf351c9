"""The JSON of an exported program: every text in it, judged by the field it stands in.

torch.export.load turns this document into Python code: names of nodes and arguments are pasted into a function that
is exec'd, targets are looked up as attributes, sizes and guards are evaluated, contexts of tree specs may import a
module (torch/_export/serde/serialize.py, torch/fx/graph.py `_gen_python_code`, torch/export/_unlift.py,
torch/utils/_pytree.py `enum_object_hook`). So each text must have the form that torch.export itself writes.
"""

import re
from collections.abc import Callable

from .expressions import guard_outcome, size_outcome
from .jsons import BadJson, read_json
from .operators import target_outcome
from .place import Place
from .result import Outcome
from .words import words

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,400}|")
_PATH = re.compile(r"[A-Za-z0-9_.\-:/ ]{0,1000}")
_DEVICE = re.compile(r"[a-z]{2,16}")
# A symbol or a product of one; torch counts up to the number of an unbacked symbol (u0), so it may not be huge.
_SYMBOL = re.compile(r"(?!(u|zuf)\d{7})[A-Za-z0-9_+\-*/%(), ]{1,200}")
_PLAIN = re.compile(r"[^'\"\\\x00-\x1f]{0,4000}")
_MEMBER = re.compile(r"(weight|tensor)_\d{1,9}")
_NUMBER = re.compile(r"-?Infinity|NaN")
_SIGNS, _PER_SIGN = "+-*/,(<>=[", 5  # a sum of digits takes longer to parse than names of the same length

# Containers whose elements are registered by torch itself and rebuilt from their items alone.
_TREES = words("builtins.tuple builtins.list builtins.dict collections.OrderedDict")

# Fields of free text: kept for people, or looked up as names of what is already loaded.
_FREE = words("stack_trace nn_module_stack source_fn_stack torch_fn from_node custom torch_version verifiers metadata")
_KEY_FORMS = {"range_constraints": _SYMBOL, "config": _PATH, "treespec_namedtuple_fields": _PATH}


def _fits(pattern: re.Pattern[str]) -> Callable[[str], Outcome]:
    return lambda text: "clean" if pattern.fullmatch(text) else "dangerous"


# field: (what a text in it does, and what is wrong with one that is not clean)
_FORMS: dict[str, tuple[Callable[[str], Outcome], str]] = {
    **dict.fromkeys(
        ("name", "as_name", "forward_arg_names", "field_names", "as_string_to_argument"),
        (_fits(_NAME), "is no identifier, and torch pastes it into code"),
    ),
    **dict.fromkeys(
        ("fqn", "parameter_name", "buffer_name", "tensor_constant_name", "user_input_name"),
        (_fits(_PATH), "is no path of attributes, and torch pastes it into code"),
    ),
    **dict.fromkeys(("as_float", "as_floats", "real", "imag"), (_fits(_NUMBER), "is no number")),
    "expr_str": (size_outcome, "is no arithmetic, and torch evaluates it"),
    "guards_code": (guard_outcome, "is no comparison of sizes, and torch runs it"),
    "type": (_fits(_DEVICE), "is no device"),
    "path_name": (_fits(_MEMBER), "is no weight or constant of this archive"),
}


def scan_program(content: bytes, place: Place) -> object:
    """Judge every text of a program or of a table of weights; returns the document, None where it is none.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> scan_program(b'{"guards_code": ["print(1)"]}', place) is None, place.notes.outcome
    (False, 'dangerous')
    """
    try:
        document = read_json(content)
    except BadJson as error:
        (place.dangerous if error.twice else place.unknown)(0, "broken program", str(error))
        return None
    _scan_node(document, "", "", place)
    return document


def _scan_node(node: object, field: str, above: str, place: Place) -> None:
    """`field` is the nearest key, `above` the one before it; elements of a list stand in the field of the list."""
    if isinstance(node, dict):
        for key, value in node.items():
            _scan_key(key, value, field, place)
            _scan_node(value, key, field, place)
    elif isinstance(node, list):
        for value in node:
            _scan_node(value, field, above, place)
    elif isinstance(node, str):
        _scan_text(node, field, above, place)


def _scan_key(key: str, value: object, field: str, place: Place) -> None:
    if field in _FREE and isinstance(value, str):
        return
    form = _KEY_FORMS.get(field, _NAME)
    if not form.fullmatch(key):
        place.dangerous(0, key, f"is no name, as a key of {field or 'the program'}, and torch pastes names into code")


def _scan_text(text: str, field: str, above: str, place: Place) -> None:
    # The form comes first: a node may be called "custom", and what is below it is not free for that.
    if field in ("target", "as_operator"):
        _scan_target(text, place)
    elif field in ("in_spec", "out_spec"):
        _scan_tree(text, place)
    elif field in ("as_string", "as_strings"):
        # arguments of operators are quoted by torch; constants among the inputs are compared in a guard, as they are
        if above in ("inputs", "value") and not _PLAIN.fullmatch(text):
            place.dangerous(0, text, "is an input with quotes or control characters, and torch pastes it into code")
    elif field in _FORMS:
        judge, why = _FORMS[field]
        if field in ("expr_str", "guards_code"):
            place.purse.spend("expressions", len(text) + _PER_SIGN * sum(map(text.count, _SIGNS)))  # these are parsed
        outcome = judge(text)
        if outcome != "clean":
            note = place.dangerous if outcome == "dangerous" else place.unknown
            note(0, text, f"in the field {field} {why}")
    elif field not in _FREE and above not in _FREE:
        place.unknown(0, text, f"is a text in the field {field[:40]}, where this reader expects none")


def _scan_target(target: str, place: Place) -> None:
    outcome = target_outcome(target)
    if outcome == "dangerous":
        place.dangerous(0, target, "is called by the graph, and is a function rather than an operator")
    elif outcome == "unknown":
        place.unknown(0, target, "is called by the graph, and is not on the list of operators")


def _scan_tree(text: str, place: Place) -> None:
    try:
        document = read_json(text.encode())
    except (BadJson, UnicodeEncodeError):
        place.unknown(0, text, "is a tree specification that cannot be read")
        return
    match document:
        case [1, dict() as root]:
            _scan_branch(root, place)
        case _:
            place.unknown(0, text, "is a tree specification of another version")


def _scan_branch(branch: object, place: Place) -> None:
    match branch:
        case {"type": None, "context": None, "children_spec": []}:
            return
        case {"type": str() as kind, "context": context, "children_spec": list() as children}:
            if kind not in _TREES:
                place.unknown(0, kind, "is a container in a tree specification that is not on the allowlist")
            _scan_context(context, place)
            for child in children:
                _scan_branch(child, place)
        case _:
            place.unknown(0, "tree specification", "is not written as torch writes it")


def _scan_context(context: object, place: Place) -> None:
    """The keys of a dict, as JSON in JSON. An object in it may name an enum, whose module torch imports."""
    try:
        keys = read_json(context.encode()) if isinstance(context, str) else context
    except (BadJson, UnicodeEncodeError):
        keys = {}
    plain = keys is None or (isinstance(keys, list) and all(_is_key(key) for key in keys))
    if not plain:
        place.dangerous(0, context, "is a context that may import modules, or a key that torch pastes into code")


def _is_key(key: object) -> bool:
    return type(key) is int or (isinstance(key, str) and _NAME.fullmatch(key) is not None)
