"""Models of Keras and ONNX, written by hand: what their libraries would refuse to write can be in a file."""

import base64
import io
import json
import marshal
from functools import cache
from typing import Any

from .gadgets import compiled, script
from .zips import zipped

Node = dict[str, Any]


def keras(layer: Node, **members: bytes) -> bytes:
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [keras_layer("InputLayer", batch_shape=[None, 4]), layer]},
        "registered_name": None,
        "build_config": {"input_shape": [None, 4]},
    }
    found = {"metadata.json": b'{"keras_version": "3.15.1"}', "config.json": json.dumps(config).encode()}
    return zipped(found | {"model.weights.h5": _weights()} | members)


def keras_layer(name: str, module: str = "keras.layers", **config: object) -> Node:
    return {"module": module, "class_name": name, "config": {"name": name.lower(), **config}, "registered_name": None}


@cache
def _weights() -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers")
        file.create_group("vars")
    return buffer.getvalue()


def lambda_layer(canary: str) -> Node:
    code = marshal.dumps(compile(f"lambda x: {script(canary)} or x", "model", "eval").co_consts[0])
    value = {"class_name": "__lambda__", "config": {"code": base64.b64encode(code).decode(), "defaults": None}}
    return keras_layer("Lambda", function=value | {"config": value["config"] | {"closure": None}}, arguments={})


def old_keras(canary: str) -> bytes:
    import h5py

    code = base64.b64encode(marshal.dumps(compiled(canary))).decode()
    layer = {"class_name": "Lambda", "config": {"name": "a", "function": [code, None, None]}}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
        file.create_group("model_weights")
    return buffer.getvalue()


def hdf5_elsewhere(_: str) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers"] = h5py.ExternalLink("/etc/passwd", "/")
        file.create_dataset("w", (8,), "u1", external=[("/etc/passwd", 0, 8)])
    return buffer.getvalue()


def onnx(location: str = "", domain: str = "", op: str = "Identity") -> bytes:
    import onnx as library
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0] * 4)
    if location:
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(op, ["w"], ["y"], domain=domain)],
        "g",
        [],
        [value("y", TensorProto.FLOAT, [4])],
        [weight],
    )
    imports = [helper.make_opsetid("", 20)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return library.ModelProto.SerializeToString(helper.make_model(graph, opset_imports=imports))
