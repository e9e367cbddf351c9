"""The config of a Keras model: every dictionary that names a class or a function, wherever it stands.

Judged as `keras.saving.deserialize_keras_object` (keras/src/saving/serialization_lib.py, Keras 3) and its legacy twin
(keras/src/legacy/saving) would build it, but by the allowlist of keras_layers.py: with safe mode off, and whatever is
installed. Not judged: classes that the loading program itself registered under an allowed name.
"""

import re
from dataclasses import dataclass

from .jsons import BadJson, read_json
from .keras_layers import HOLDERS, KEYS, MODELS, attack_by, is_allowed_class, is_allowed_function, is_layer
from .keras_parameters import WEIGHTLESS
from .keras_sizes import check_sizes
from .place import Place
from .result import shown

_MAX_DEPTH = 96
_MAX_INTEGER = 1 << 31
_MAX_TEXT = 1 << 16
_HUGE_KEYS = {"shared_object_id", "seed", "salt", "mask_value", "ignore_class"}  # identities, not sizes
_TABLES = {"max_tokens", "num_tokens", "num_bins", "vocabulary_size"}  # allocated without any weights
_MAX_TABLE = 1 << 24
_ENVELOPE = {
    *("module", "class_name", "config", "registered_name", "build_config", "compile_config", "name", "inbound_nodes"),
    *("shared_object_id", "__passive_serialization__", "trainable", "keras_version", "backend", "dtype"),
}
_PLAIN_DTYPE = re.compile(r"bool|string|(float|int|uint|bfloat|complex)\d{1,3}|float8_e\dm\d(fn)?")
_NAMED_TEXTS = {
    "encoding": re.compile(r"utf-?8|ascii", re.IGNORECASE),
    "standardize": re.compile(r"lower_and_strip_punctuation|lower|strip_punctuation"),
    "split": re.compile(r"whitespace|character"),
}
_LITERALS = {  # the special forms of the serializer, and the keys of their config
    "__keras_tensor__": {"shape", "dtype", "keras_history"},
    "__tensor__": {"value", "dtype"},
    "__numpy__": {"value", "dtype"},
    "__bytes__": {"value"},
    "__slice__": {"start", "stop", "step"},
    "__ellipsis__": set[str](),
}


def judge_config(content: bytes, place: Place, elements: int, *, legacy: bool = False, training: bool = False) -> None:
    """Judge the JSON of a model's config; `elements` is how many numbers the file holds beside it.

    `legacy`: the form that Keras writes to HDF5, where classes are named without their module; `training`: losses,
    metrics and an optimiser alone, where else a model is wanted.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> judge_config(b'{"class_name": "Lambda", "config": {}}', place, 0); place.notes.outcome
    'dangerous'
    """
    try:
        config = read_json(content)
    except BadJson as error:
        (place.dangerous if error.twice else place.unknown)(0, "config", str(error))
        return
    if not isinstance(config, dict):
        place.unknown(0, "config", "is no JSON object")
        return
    if not training and config.get("class_name") not in MODELS:
        place.unknown(0, str(config.get("class_name")), "is no model of Keras")
    _ConfigWalk(place, legacy).visit(config, "", 0, holds=True)
    if place.notes.outcome == "clean":  # sizes are read from a config whose form is known
        check_sizes(config, elements, place)


@dataclass
class _ConfigWalk:
    place: Place
    legacy: bool

    def visit(self, value: object, key: str, depth: int, holds: bool = False) -> None:
        """Judge a value under the key that it has in its parent, which `holds` layers there or does not."""
        self.place.purse.spend("expressions", 1)
        if depth > _MAX_DEPTH:
            self.place.unknown(0, shown(key), f"lies more than {_MAX_DEPTH} levels deep and is not read")
        elif isinstance(value, dict):
            self._dictionary(value, key, depth, holds)
        elif isinstance(value, list):
            for item in value:
                self.visit(item, key, depth + 1, holds)
        elif isinstance(value, str):
            self._text(value, key)
        elif isinstance(value, int) and abs(value) > (_MAX_TABLE if key in _TABLES else _MAX_INTEGER):
            self._large(value, key)

    def _large(self, value: int, key: str) -> None:
        if key not in _HUGE_KEYS or abs(value) >= 1 << 64:
            self.place.dangerous(
                0, f"{key} {str(value)[:40]}", "is a size that no model has, and memory for no machine"
            )

    def _text(self, text: str, key: str) -> None:
        if len(text) > _MAX_TEXT:
            self.place.unknown(0, key, f"is a text of {len(text)} characters where a name is expected")
        wanted = _NAMED_TEXTS.get(key)
        if wanted is not None and not wanted.fullmatch(text):
            self.place.unknown(0, f"{key} {text}", "is none of the choices that only work on text")

    def _dictionary(self, value: dict[str, object], key: str, depth: int, holds: bool) -> None:
        if "class_name" in value:
            self._object(value, depth, holds)
            return
        if not self.legacy and "module" in value:
            self.place.unknown(0, f"{key} of module {value['module']}", "names a module but no class")
        for name, item in value.items():
            self.visit(item, name, depth + 1)

    # -- what names a class or a function ----------------------------------------------------------------------------

    def _object(self, value: dict[str, object], depth: int, holds: bool) -> None:
        name, module = value["class_name"], value.get("module")
        if not isinstance(name, str) or not (module is None or isinstance(module, str)):
            self.place.unknown(0, f"class {name!r} of {module!r}", "are no names")
            self._search(value, depth)
            return
        if name == "function":
            self._function(value, module, depth)
        elif name in _LITERALS or name == "__tuple__":
            self._literal(name, value, depth)
        elif name == "__typespec__":
            self._named(module, str(value.get("spec_name")), "asks for a type of TensorFlow, which is not read")
        else:
            if is_layer(name) and not holds and name not in WEIGHTLESS:
                self.place.unknown(0, name, "is a layer where no layer is expected, so its size is not counted")
            self._class(name, module, value, depth)

    def _search(self, value: dict[str, object], depth: int) -> None:
        """Look for attacks in what has no form that is known."""
        for key, item in value.items():
            self.visit(item, key, depth + 1)

    def _named(self, module: str | None, name: str, why: str) -> None:
        attack = attack_by(module, name)
        path = f"{module}.{name}" if module else name
        if attack is not None:
            self.place.dangerous(0, path, attack)
        else:
            self.place.unknown(0, path, why)

    def _function(self, value: dict[str, object], module: str | None, depth: int) -> None:
        self._search({key: item for key, item in value.items() if not isinstance(item, str)}, depth)
        for named in {str(value.get("config")), str(value.get("registered_name") or value.get("config"))}:
            if not is_allowed_function(module, named):
                self._named(module or "builtins", named, "is a function that is not on the allowlist")

    def _literal(self, name: str, value: dict[str, object], depth: int) -> None:
        inner = value.get("config", value if self.legacy else {})
        if name == "__tuple__":
            self._search(value, depth)
            return
        known = _LITERALS[name] | ({"class_name"} if inner is value else set())
        if not isinstance(inner, dict) or not inner.keys() <= known:
            self.place.unknown(0, name, "holds other things than its form allows")
            self._search(value, depth)
            return
        dtype = inner.get("dtype", "bool")
        if not isinstance(dtype, str) or not _PLAIN_DTYPE.fullmatch(dtype):
            self.place.unknown(0, f"dtype {dtype}", "is no type of numbers")
        for key, item in inner.items():
            if key != "class_name":
                self.visit(item, key, depth + 1)

    def _class(self, name: str, module: str | None, value: dict[str, object], depth: int) -> None:
        legacy = "module" not in value
        if (module is None and not legacy) or not is_allowed_class(module, name):
            self._named(module, name, "is a class that is not on the allowlist")
        registered = value.get("registered_name")
        if registered is not None and registered != name:
            self._named(None, str(registered), f"is asked for where the config shows {name}")
        if not value.keys() <= _ENVELOPE:
            odd = sorted(value.keys() - _ENVELOPE)[0]
            self.place.unknown(0, f"{name} {odd}", "is a key that configs of Keras do not have")
        for key, item in value.items():
            if key == "config":
                self._config(name, item, depth + 1)
            elif not isinstance(item, str):
                self.visit(item, key, depth + 1)

    def _config(self, name: str, config: object, depth: int) -> None:
        if not isinstance(config, dict):
            if config is not None:
                self.place.unknown(0, name, "has a config that is no JSON object")
                self.visit(config, "config", depth)
            return
        if "class_name" in config:
            self.place.unknown(0, name, "has a config that is an object itself")
            self.visit(config, "config", depth + 1)
            return
        for key, item in config.items():
            if key not in KEYS:
                self._odd_key(name, key)
            elif key in ("vocabulary", "idf_weights") and isinstance(item, str):
                why = "is the path of a file, which the layer reads (CVE-2025-12058)"
                self.place.dangerous(0, f"{name} {key} {item}", why)
            if key == "unroll" and item is True:
                self.place.unknown(0, f"{name} {key}", "makes a loader take as many steps as a shape says")
            self.visit(item, key, depth + 1, holds=key in HOLDERS.get(name, ()))

    def _odd_key(self, name: str, key: str) -> None:
        if attack_by("builtins", key) is not None:
            self.place.dangerous(0, f"{name} {key}", "is a key that smuggles a function into a class")
        else:
            self.place.unknown(0, f"{name} {key}", "is a key that is not on the allowlist")
