"""ONNX files that harm: those that attack are dangerous, those that cannot be judged are unknown, none is clean."""

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from veriward.adapters.scan import ScanResult, scan

onnx = pytest.importorskip("onnx")
h, T, nh = onnx.helper, onnx.TensorProto, onnx.numpy_helper
RELU = ("Relu", ["x"], ["y"])


def model(nodes: list[object] = (), tensors: list[object] = (), imports: dict[str, int] | None = None, **more: object):
    inputs = [h.make_tensor_value_info("x", T.FLOAT, ["n", 4])]
    outputs = [h.make_tensor_value_info("y", T.FLOAT, ["n", 4])]
    graph = h.make_graph(list(nodes) or [h.make_node(*RELU)], "g", inputs, outputs, list(tensors))
    opsets = [h.make_opsetid(domain, version) for domain, version in (imports or {"": 17}).items()]
    return h.make_model(graph, opset_imports=opsets, ir_version=9, **more)


def scanned(tmp_path: Path, content: object) -> ScanResult:
    path = tmp_path / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return scan(path)


def beside(location: str, *more: tuple[str, str], shape: tuple[int, ...] = (4,)) -> object:
    tensor = T(name="w", data_type=T.FLOAT, dims=shape, data_location=T.EXTERNAL)
    for key, text in (("location", location), *more):
        tensor.external_data.add(key=key, value=text)
    return model(tensors=[tensor])


def python(domain: str = "ai.onnx.contrib", operator: str = "PyOp") -> object:
    return h.make_node(operator, ["x"], ["y"], domain=domain, code="import os")


def in_branch() -> object:
    graph = h.make_graph([python()], "b", [], [h.make_tensor_value_info("y", T.FLOAT, [1])])
    return model([h.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=graph)])


def function(name: str, calls: list[object]) -> object:
    return h.make_function("my", name, ["x"], ["y"], calls, [h.make_opsetid("", 17), h.make_opsetid("my", 1)])


def call(name: str) -> object:
    return h.make_node(name, ["x"], ["y"], domain="my")


def in_function() -> object:
    return model([call("F")], functions=[function("F", [python()])])


def endless() -> object:
    return model([call("F")], functions=[function("F", [call("G")]), function("G", [call("F")])])


def bomb() -> object:
    steps = [function(f"F{step}", [call(f"F{step + 1}")] * 10) for step in range(12)]
    return model([call("F0")], functions=[*steps, function("F12", [h.make_node(*RELU)])])


def raw(dims: list[int], content: bytes, kind: int = T.FLOAT) -> object:
    return T(name="w", data_type=kind, dims=dims, raw_data=content)


def two_graphs() -> bytes:
    return model().SerializeToString() + model([python()]).SerializeToString()


def two_names() -> bytes:
    """One node, and two names of operators in it: parsers run the last."""
    node = h.make_node(*RELU).SerializeToString() + b"\x22\x04PyOp"
    graph = b"\x0a" + bytes([len(node)]) + node
    return b"\x08\x09\x3a" + bytes([len(graph)]) + graph


def sparse(indices: list[int], dims: list[int]) -> object:
    values = h.make_tensor("w", T.FLOAT, [len(indices)], [1.0] * len(indices))
    found = model()
    places = h.make_tensor("i", T.INT64, [len(indices)], indices)
    found.graph.sparse_initializer.append(h.make_sparse_tensor(values, places, dims))
    return found


def duplicate_location() -> object:
    return beside("w.bin", ("location", "../../secret"))


ATTACKS: dict[str, Callable[[], object]] = {
    "parent": lambda: beside("../secret"),
    "parent inside": lambda: beside("data/../../secret"),
    "absolute": lambda: beside("/etc/passwd"),
    "backslash": lambda: beside("..\\secret"),
    "drive": lambda: beside("C:secret"),
    "home": lambda: beside("~/secret"),
    "linked file": lambda: beside("link"),
    "linked folder": lambda: beside("folder/secret"),
    "hard link": lambda: beside("hard"),
    "memory": lambda: beside("*/_ORT_MEM_ADDR_/*", ("offset", "140000000"), ("length", "16")),
    "beyond the file": lambda: beside("w.bin", ("offset", "16")),
    "offset below zero": lambda: beside("w.bin", ("offset", "-16")),
    "location twice": duplicate_location,
    "python": lambda: model([python()]),
    "python of extensions": lambda: model([python("com.microsoft.extensions", "PyCustomOp")]),
    "python of training": lambda: model([python("com.microsoft", "PythonOp")]),
    "python in a branch": in_branch,
    "python in a function": in_function,
    "endless functions": endless,
    "function bomb": bomb,
    "side below zero": lambda: model(tensors=[raw([-1, 4], bytes(16))]),
    "overflow": lambda: model(tensors=[raw([1 << 32, 1 << 32, 4], bytes(16))]),
    "two graphs": two_graphs,
    "two operators in a node": two_names,
    "sparse index outside": lambda: sparse([0, 99], [4, 2]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the model, with links that lead out of it to a secret."""
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_bytes(bytes(16))
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "w.bin").write_bytes(bytes(16))
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "folder").symlink_to(tmp_path / "other")
    os.link(tmp_path / "secret", inside / "hard")
    return inside


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_dangerous(folder: Path, name: str) -> None:
    result = scanned(folder, ATTACKS[name]())
    assert (result.outcome, result.kind) == ("dangerous", "onnx"), result.reasons
    assert not {path for path, _ in result.parts} - {"w.bin"}


def test_two_graphs_are_one_for_the_loader() -> None:
    merged = onnx.load_from_string(two_graphs())
    assert [node.op_type for node in merged.graph.node] == ["Relu", "PyOp"]
    assert onnx.load_from_string(two_names()).graph.node[0].op_type == "PyOp"


def deep() -> bytes:
    graph = b""
    for _ in range(40):
        attribute = b"\x32" + varint(len(graph)) + graph
        node = b"\x22\x02If\x2a" + varint(len(attribute)) + attribute
        graph = b"\x0a" + varint(len(node)) + node
    return b"\x08\x09\x3a" + varint(len(graph)) + graph


def constant(name: str, *sides: int) -> object:
    return nh.from_array(np.array(sides, np.int64), name)


def through_node(value: int) -> list[object]:
    made = h.make_node("Constant", [], ["s"], value_ints=[value, value])
    return [made, h.make_node("ConstantOfShape", ["s"], ["z"]), h.make_node(*RELU)]


def with_option() -> object:
    found = model()
    h.set_model_props(found, {"ort_config": '{"session_options": {}}'})
    return found


def twice_stored() -> object:
    return model(tensors=[T(name="w", data_type=T.FLOAT, dims=[1], raw_data=bytes(4), float_data=[1.0])])


PLAIN = model().SerializeToString()

UNJUDGED: dict[str, Callable[[], object]] = {
    "missing file": lambda: beside("missing.bin"),
    "folder as file": lambda: beside("."),
    "another size": lambda: beside("w.bin", ("length", "12")),
    "unknown key": lambda: beside("w.bin", ("prefetch", "1")),
    "custom domain": lambda: model([python("com.example", "Mine")]),
    "library import": lambda: model(imports={"": 17, "ai.onnx.contrib": 1}),
    "compiled": lambda: model([python("com.microsoft", "EPContext")]),
    "no standard operator": lambda: model([h.make_node("Frobnicate", ["x"], ["y"])]),
    "function in place of an operator": lambda: model(
        [call("F")], functions=[h.make_function("", "Relu", ["x"], ["y"], [h.make_node("Abs", ["x"], ["y"])], [])]
    ),
    "more announced than stored": lambda: model(tensors=[raw([1 << 20], bytes(16))]),
    "nothing stored": lambda: model(tensors=[T(name="w", data_type=T.FLOAT, dims=[1 << 30])]),
    "fewer entries": lambda: model(tensors=[T(name="w", data_type=T.FLOAT, dims=[3], float_data=[1.0])]),
    "stored twice": twice_stored,
    "unknown type": lambda: model(tensors=[raw([1], bytes(4), kind=99)]),
    "sparse bomb": lambda: sparse([0], [1 << 20, 1 << 14]),
    "constant bomb": lambda: model(through_node(1 << 18)),
    "expand bomb": lambda: model([h.make_node("Expand", ["x", "s"], ["y"])], [constant("s", 1 << 17, 1 << 17)]),
    "range bomb": lambda: model(
        [h.make_node("Range", ["a", "b", "c"], ["y"])], [constant("a", 0), constant("b", 1 << 40), constant("c", 1)]
    ),
    "options of the session": with_option,
    "too deep": deep,
    "unknown field": lambda: PLAIN + b"\xfa\x01\x01\x00",
    "group": lambda: PLAIN + b"\x0b\x0c",
    "needless bytes": lambda: PLAIN + b"\x28\x81\x00",
    "length beyond the end": lambda: PLAIN + b"\x32\x7f",
    "cut": lambda: PLAIN[:-1],
    "trailing zeros": lambda: PLAIN + bytes(8),
    "no graph": lambda: b"\x08\x09\x42\x02\x10\x11",
    "later version": lambda: model().__class__.FromString(PLAIN + b"\x08\x63"),
}


@pytest.mark.parametrize("name", UNJUDGED)
def test_what_cannot_be_judged_is_unknown(folder: Path, name: str) -> None:
    result = scanned(folder, UNJUDGED[name]())
    assert result.outcome == "unknown"
    assert result.reasons


@pytest.mark.slow
def test_messages_without_end_cost_little(tmp_path: Path) -> None:
    empty = b"\x0a\x00" * 500_000  # nodes without a name
    dims = b"\x08\x01" * 500_000
    tensor = b"\x2a" + varint(len(dims)) + dims
    for graph in (empty, tensor, b"\x0a\x02\x2a\x00" * 250_000):
        content = b"\x08\x09\x3a" + varint(len(graph)) + graph
        begin = time.process_time()
        assert scanned(tmp_path, content).outcome == "unknown"
        assert time.process_time() - begin < 6


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def test_a_verdict_names_the_operator_and_escapes_it(tmp_path: Path) -> None:
    result = scanned(tmp_path, model([h.make_node("A\nclean", ["x"], ["y"], domain="evil\x1b[2K")]))
    assert result.reasons[0].what == "evil\\x1b[2K:A\\nclean"


def test_packed_numbers_must_be_numbers(tmp_path: Path) -> None:
    tensor = T(name="w", data_type=T.INT64, dims=[2]).SerializeToString()
    for packed, why in ((b"\x01\x82", "cut off"), (b"\xff" * 11 + b"\x01", "too long"), (b"\x81\x00\x01", "too long")):
        content = tensor + b"\x3a" + bytes([len(packed)]) + packed
        graph = b"\x2a" + bytes([len(content)]) + content
        result = scanned(tmp_path, b"\x08\x09\x3a" + bytes([len(graph)]) + graph)
        assert (result.outcome, why in result.reasons[0].why) == ("unknown", True), result.reasons


def test_sides_in_both_forms_are_summed_up(tmp_path: Path) -> None:
    tensor = b"\x0a\x02\x02\x03" + b"\x08\x02" + b"\x10\x01" + b"\x4a\x30" + struct.pack("<12f", *range(12))
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    assert scanned(tmp_path, b"\x08\x09\x3a" + bytes([len(graph)]) + graph).outcome == "clean"
