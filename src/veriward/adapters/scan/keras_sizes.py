"""Whether a Keras model allocates more than its file justifies: shapes are followed from the inputs through the layers.

A loader of Keras 3 builds a layer for the shape in its `build_config`, and for the shape that it is called with where
that is missing, so both count. Each variable is allocated once, and once more or twice by an optimizer.
"""

from dataclasses import dataclass, field
from math import prod

from .keras_parameters import parameters
from .keras_shapes import Config, NoRule, Shape, output_shape, shape_of, whole
from .place import Place, give_up

_MODELS = ("Sequential", "Functional", "Model")
_FACTOR, _ROOM = 4, 1 << 22  # numbers allocated for each that is stored, and 16 MiB for models without weights
_MAX_PASSES = 64
_MAX_OUTPUT = 1 << 28
_MATRICES = ("MeanIoU", "IoU", "BinaryIoU", "OneHotIoU", "OneHotMeanIoU")


def check_sizes(config: Config, elements: int, place: Place) -> None:
    """Note a model that allocates more numbers than a small multiple of the `elements` that the file holds.

    >>> from .place import Purse
    >>> from .result import Notes
    >>> place = Place("x", Notes(), Purse(), lambda source, place: "")
    >>> dense = {"class_name": "Dense", "config": {"units": 1 << 30}}
    >>> layers = [{"class_name": "InputLayer", "config": {"batch_shape": [None, 9]}}, dense]
    >>> check_sizes({"class_name": "Sequential", "config": {"layers": layers}}, 0, place); place.notes.outcome
    'dangerous'
    """
    sizes = _Sizes(place)
    try:
        sizes.metrics(config)
        if config.get("class_name") in _MODELS:
            sizes.model(config, [])
    except NoRule as error:
        place.unknown(0, "sizes", f"cannot be followed: {error}")
    if sizes.total > _FACTOR * elements + _ROOM:
        place.dangerous(0, f"{sizes.total} numbers", f"are allocated for a file that holds {elements}")


@dataclass
class _Sizes:
    place: Place
    total: int = 0
    _depth: int = field(default=0)

    def metrics(self, value: object) -> None:
        """Metrics keep matrices and thresholds, none of which the weights hold."""
        if isinstance(value, list):
            for item in value:
                self.metrics(item)
        elif isinstance(value, dict):
            config = value.get("config")
            if isinstance(config, dict) and "class_name" in value:
                square = whole(config, "num_classes", 0) if value["class_name"] in _MATRICES else 0
                thresholds, labels = config.get("num_thresholds"), config.get("num_labels")
                count = (thresholds if type(thresholds) is int else 0) * (labels if type(labels) is int else 1)
                self.total += square**2 + 4 * count
            for item in value.values():
                self.metrics(item)

    def model(self, layer: Config, inputs: list[Shape]) -> Shape:
        """Count a model and return the shape that it makes."""
        config = _config_of(layer)
        self._depth += 1
        if self._depth > 16:
            give_up("models within models")
        sequential = layer["class_name"] == "Sequential"
        shape = self._sequence(config, inputs, _claimed(layer)) if sequential else self._graph(config)
        self._depth -= 1
        return shape

    def _sequence(self, config: Config, inputs: list[Shape], claimed: list[Shape]) -> Shape:
        layers = _layers_of(config)
        shape = inputs[0] if inputs else ()
        # Keras looks at the shapes beside the layers only where the first layer does not say what it wants
        if not shape and layers and not _declared(str(layers[0].get("class_name")), _config_of(layers[0])):
            built = config.get("build_input_shape")
            shape = (shape_of(built) if built is not None else ()) or next(iter(claimed), ())
        for layer in layers:
            shape = self.layer(layer, [shape])
        return shape

    def layer(self, layer: Config, inputs: list[Shape]) -> Shape:
        """Count a layer and return the shape of its first output; () where it cannot be followed."""
        self.place.purse.spend("expressions", 16)
        name, config = str(layer.get("class_name")), _config_of(layer)
        inputs = _agreed(_declared(name, config), inputs if all(inputs) else [])
        if name in _MODELS:
            return self.model(layer, inputs)
        claimed = _claimed(layer)
        if name == "InputLayer":
            shape = inputs[0] if inputs else ()
        elif name in ("Bidirectional", "TimeDistributed"):
            shape = self._wrapped(name, config, _agreed(claimed[:1], inputs))
        else:
            # which of several shapes is which, only the layer's own code knows
            self.total += _largest(name, config, [inputs, claimed, *([shape] for shape in claimed)])
            shape = _followed(name, config, inputs or claimed)
        self._check_output(name, shape)
        return shape

    def _check_output(self, name: str, shape: Shape) -> None:
        """Keras on torch may compute the shape of an output by computing the output."""
        if prod(side for side in shape if side is not None) > _MAX_OUTPUT:
            self.place.unknown(0, f"{name} {shape}", "is an output larger than any machine should hold")

    def _wrapped(self, name: str, config: Config, inputs: list[Shape]) -> Shape:
        inner = config.get("layer")
        if not isinstance(inner, dict) or not inputs or not inputs[0]:
            raise NoRule(f"{name} has no layer or no shape")
        if name == "TimeDistributed":
            shape = self.layer(inner, [(inputs[0][0], *inputs[0][2:])])
            return (*inputs[0][:2], *shape[1:]) if shape else ()
        back = config.get("backward_layer")
        shape = self.layer(inner, inputs[:1])
        self.layer(back if isinstance(back, dict) else inner, inputs[:1])
        if config.get("merge_mode") != "concat" or not shape or shape[-1] is None:
            return shape
        return (*shape[:-1], 2 * shape[-1])

    # -- graphs: layers in an order that is found out ------------------------------------------------------------------

    def _graph(self, config: Config) -> Shape:
        """Follow the layers of a functional model as their inputs become known."""
        layers = _layers_of(config)
        waiting = {str(layer.get("name", _config_of(layer).get("name"))): layer for layer in layers}
        if len(waiting) < len(layers):
            raise NoRule("two layers have one name")
        shapes: dict[str, Shape] = {}
        for _ in range(_MAX_PASSES):
            before = len(waiting)
            for name, layer in list(waiting.items()):
                self.place.purse.spend("expressions", 16)
                if self._node(name, layer, shapes):
                    del waiting[name]
            if not waiting or len(waiting) == before:
                break
        if waiting:
            raise NoRule("layers of a functional model wait for one another")
        outputs = config.get("output_layers")
        while isinstance(outputs, list) and outputs and not isinstance(outputs[0], str):
            outputs = outputs[0] if isinstance(outputs[0], list) else None
        return shapes.get(str(outputs[0]), ()) if isinstance(outputs, list) and outputs else ()

    def _node(self, name: str, layer: Config, shapes: dict[str, Shape]) -> bool:
        """Count a layer whose inputs are all known; every call of it must see and make the same shape."""
        nodes = layer.get("inbound_nodes")
        sources = [_sources(node) for node in nodes] if isinstance(nodes, list) else []
        if any(source not in shapes for node in sources for source in node):
            return False
        calls = [[shapes[source] for source in node] for node in sources] or [[]]
        shapes[name] = self.layer(layer, calls[0])
        if any(call != calls[0] for call in calls):
            shapes[name] = ()
        return True


def _declared(name: str, config: Config) -> list[Shape]:
    """The shape that a layer asks for itself, as the first one of a model may."""
    found = [shape_of(config[key]) for key in ("batch_shape", "batch_input_shape") if config.get(key) is not None]
    if config.get("input_shape") is not None:
        found.append((None, *shape_of(config["input_shape"])))
    if config.get("input_dim") is not None and name != "Embedding":
        found.append((None, whole(config, "input_dim")))
    return _agreed(found[1:], found[:1])


def _agreed(claims: list[Shape], inputs: list[Shape]) -> list[Shape]:
    """The inputs, or what is claimed where nothing is known; raises NoRule where the two differ."""
    if inputs and any(claim[1:] != inputs[0][1:] for claim in claims):
        raise NoRule(f"{claims[0]} is claimed for an input of {inputs[0]}")
    return inputs or claims


def _claimed(layer: Config) -> list[Shape]:
    """The shapes that a layer of Keras 3 is built for; the older form, without a module, takes no notice of them."""
    build = layer.get("build_config")
    if not isinstance(build, dict) or "module" not in layer:
        return []
    shapes = build.get("input_shape", build.get("shapes_dict"))
    return _shapes_in(list(shapes.values()) if isinstance(shapes, dict) else shapes)


def _shapes_in(value: object) -> list[Shape]:
    if not isinstance(value, list) or not value:
        return []
    if all(isinstance(item, list) for item in value):
        return [shape for item in value for shape in _shapes_in(item)]
    return [shape_of(value)]


def _largest(name: str, config: Config, sources: list[list[Shape]]) -> int:
    """The most numbers that the layer may allocate, by what is known of its inputs."""
    counts: list[int] = []
    error: NoRule | None = None
    for shapes in sources:
        try:
            counts.append(parameters(name, config, shapes))
        except NoRule as found:
            error = error or found
    if not counts and error is not None:
        raise error
    return max(counts)


def _followed(name: str, config: Config, inputs: list[Shape]) -> Shape:
    try:  # the states of a recurrent layer are no larger than its output, which stands for all of them
        return output_shape(name, config, inputs)
    except NoRule:
        return ()  # layers behind it that need its shape are going to complain


def _config_of(layer: Config) -> Config:
    config = layer.get("config")
    if not isinstance(config, dict):
        raise NoRule("a layer has no config")
    return config


def _layers_of(config: Config) -> list[Config]:
    layers = config.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise NoRule("a model has no layers")
    return layers


def _sources(node: object) -> list[str]:
    """The names of the layers whose outputs a call takes, in order: the form of Keras 3, or lists of Keras 2."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            history = _config_of(node).get("keras_history")
            return [str(history[0])] if isinstance(history, list) and history else []
        return [name for value in node.values() for name in _sources(value)]
    if isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str) and type(node[1]) is int:
            return [node[0]]
        return [name for item in node for name in _sources(item)]
    return []
