"""ONNX: models that the real tools write are clean; operators, sizes and files that harm are not."""

import io
import random
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from veriward.adapters.scan import ScanResult, scan

from .test_scan_fuzz import mutated

onnx = pytest.importorskip("onnx")
h, T, nh = onnx.helper, onnx.TensorProto, onnx.numpy_helper

DRAW = np.random.default_rng(0)


def weights(name: str, *shape: int, dtype: object = np.float32) -> object:
    return nh.from_array(DRAW.normal(size=shape).astype(dtype), name)


def value(name: str, shape: list[object] | None = None, kind: int = T.FLOAT) -> object:
    return h.make_tensor_value_info(name, kind, shape)


def model(nodes: list[object], tensors: list[object] = (), imports: dict[str, int] | None = None, **more: object):
    graph = h.make_graph(nodes, "g", [value("x", ["n", 4])], [value("y", ["any"])], list(tensors))
    opsets = [h.make_opsetid(domain, version) for domain, version in (imports or {"": 17}).items()]
    return h.make_model(graph, opset_imports=opsets, ir_version=9, **more)


def scanned(tmp_path: Path, content: object, name: str = "model.onnx") -> ScanResult:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return scan(path)


def mlp():
    nodes = [
        h.make_node("Gemm", ["x", "w", "b"], ["a"]),
        h.make_node("Relu", ["a"], ["r"]),
        h.make_node("MatMul", ["r", "v"], ["z"]),
        h.make_node("Softmax", ["z"], ["y"], axis=-1),
    ]
    return model(nodes, [weights("w", 4, 8), weights("b", 8), weights("v", 8, 3)])


def cnn():
    nodes = [
        h.make_node("Unsqueeze", ["x", "axes"], ["image"]),
        h.make_node("Conv", ["image", "k"], ["c"], kernel_shape=[3], pads=[1, 1]),
        h.make_node("BatchNormalization", ["c", "one", "one", "one", "one"], ["n"]),
        h.make_node("Relu", ["n"], ["r"]),
        h.make_node("Add", ["r", "image"], ["s"]),
        h.make_node("GlobalAveragePool", ["s"], ["p"]),
        h.make_node("Flatten", ["p"], ["y"]),
    ]
    one = nh.from_array(np.ones(4, np.float32), "one")
    return model(nodes, [weights("k", 4, 1, 3), one, nh.from_array(np.array([1]), "axes")])


def branch(value_: float) -> object:
    tensor = h.make_tensor("t", T.FLOAT, [1], [value_])
    return h.make_graph([h.make_node("Constant", [], ["y0"], value=tensor)], "b", [], [value("y0", [1])])


def control():
    body = h.make_graph(
        [h.make_node("Identity", ["go"], ["go_on"]), h.make_node("Add", ["s", "c"], ["s2"])],
        "body",
        [value("i", [], T.INT64), value("go", [], T.BOOL), value("s", [1])],
        [value("go_on", [], T.BOOL), value("s2", [1])],
    )
    nodes = [
        h.make_node("If", ["yes"], ["c"], then_branch=branch(1.0), else_branch=branch(2.0)),
        h.make_node("Loop", ["three", "yes", "c"], ["d"], body=body),
        h.make_node("Add", ["x", "d"], ["y"]),
    ]
    return model(nodes, [nh.from_array(np.array(True), "yes"), nh.from_array(np.array(3), "three")])


def functions():
    inner = h.make_function(
        "my", "Twice", ["a"], ["b"], [h.make_node("Add", ["a", "a"], ["b"])], [h.make_opsetid("", 17)]
    )
    calls = [h.make_node("Twice", ["a"], ["t"], domain="my"), h.make_node("Twice", ["t"], ["b"], domain="my")]
    outer = h.make_function("my", "Four", ["a"], ["b"], calls, [h.make_opsetid("", 17), h.make_opsetid("my", 1)])
    return model([h.make_node("Four", ["x"], ["y"], domain="my")], imports={"": 17, "my": 1}, functions=[inner, outer])


def quantised():
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        h.make_node("QLinearMatMul", ["q", "s", "z", "w", "s", "z", "s", "z"], ["p"]),
        h.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    scale = nh.from_array(np.array(0.1, np.float32), "s")
    zero = nh.from_array(np.array(0, np.uint8), "z")
    return model(nodes, [scale, zero, nh.from_array(np.ones((4, 2), np.uint8), "w")])


def halves():
    nodes = [
        h.make_node("Cast", ["w"], ["f"], to=T.FLOAT),
        h.make_node("Cast", ["v"], ["g"], to=T.FLOAT),
        h.make_node("Add", ["f", "g"], ["a"]),
        h.make_node("Add", ["x", "a"], ["y"]),
    ]
    brain = h.make_tensor("v", T.BFLOAT16, [4], [1.0, 2.0, 3.0, 4.0])
    return model(nodes, [weights("w", 4, dtype=np.float16), brain])


def trees():
    node = h.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "y"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0, 0],
        class_nodeids=[1, 2],
        class_ids=[0, 1],
        class_weights=[1.0, 1.0],
        classlabels_strings=["no", "yes"],
        post_transform="NONE",
    )
    return model([node], imports={"": 17, "ai.onnx.ml": 3})


def linear():
    node = h.make_node(
        "LinearClassifier", ["x"], ["label", "y"], domain="ai.onnx.ml", coefficients=[0.1] * 8, intercepts=[0.0, 1.0],
        classlabels_ints=[0, 1],
    )  # fmt: skip
    return model([node], imports={"": 17, "ai.onnx.ml": 3})


def texts():
    nodes = [h.make_node("Shape", ["words"], ["s"]), h.make_node("Cast", ["s"], ["f"], to=T.FLOAT)]
    words = h.make_tensor("words", T.STRING, [2], ["中文", "b"])
    found = model([*nodes, h.make_node("Add", ["x", "f"], ["y"])], [words])
    h.set_model_props(found, {"author": "somebody"})
    return found


def typed():
    kinds = {"f": T.FLOAT, "d": T.DOUBLE, "i": T.INT32, "l": T.INT64, "u": T.UINT64, "b": T.BOOL, "q": T.INT4}
    tensors = [h.make_tensor(name, kind, [3], [1, 0, 1]) for name, kind in kinds.items()]
    tensors.append(h.make_tensor("minus", T.INT64, [3], [-1, -(1 << 62), 1 << 62]))
    return model([h.make_node("Relu", ["x"], ["y"])], tensors)


def sparse():
    values = h.make_tensor("w", T.FLOAT, [2], [1.0, 2.0])
    found = model([h.make_node("MatMul", ["x", "w"], ["y"])])
    indices = h.make_tensor("i", T.INT64, [2], [0, 7])
    found.graph.sparse_initializer.append(h.make_sparse_tensor(values, indices, [4, 2]))
    return found


HONEST = [mlp, cnn, control, functions, quantised, halves, trees, linear, texts, typed, sparse]


@pytest.mark.parametrize("make", HONEST, ids=lambda make: make.__name__)
def test_models_are_clean(tmp_path: Path, make: Callable[[], object]) -> None:
    onnx.checker.check_model(make())
    result = scanned(tmp_path, make())
    assert (result.outcome, result.kind, result.reasons, result.parts) == ("clean", "onnx", (), ())


def exported(path: Path) -> bytes:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
            self.more, self.head = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.norm(self.stem(x)))
            return self.head((x + self.more(x)).mean((2, 3)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Net().eval(), torch.zeros(1, 3, 8, 8), path, dynamo=False)
    return path.read_bytes()


def test_what_torch_exports_is_clean_and_stays_so_when_onnxruntime_fuses_it(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    content = exported(tmp_path / "net.onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    runtime.InferenceSession(content, options)
    assert [scan(tmp_path / name).reasons for name in ("net.onnx", "fused.onnx")] == [(), ()]


def test_files_beside_a_model_are_read_and_become_part_of_the_verdict(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "data").mkdir()
    onnx.save(mlp(), tmp_path / "m.onnx", save_as_external_data=True, location="data/w.bin", size_threshold=0)
    result = scan(tmp_path / "m.onnx")
    digest = hashlib.sha256((tmp_path / "data" / "w.bin").read_bytes()).hexdigest()
    assert (result.outcome, result.parts) == ("clean", (("data/w.bin", digest),))
    assert onnx.load(tmp_path / "m.onnx").graph.initializer[0].raw_data == mlp_bytes(tmp_path)


def mlp_bytes(tmp_path: Path) -> bytes:
    return (tmp_path / "data" / "w.bin").read_bytes()[: 4 * 8 * 4]


def test_other_protobufs_are_not_taken_for_onnx(tmp_path: Path) -> None:
    node = b"\x0a\x01x\x12\x0bPlaceholder"
    graph = b"\x0a" + bytes([len(node)]) + node + b"\x22\x02\x08\x1b"
    meta = b"\x12" + bytes([len(graph)]) + graph
    saved = b"\x08\x01\x12" + bytes([len(meta)]) + meta
    for content in (graph, saved):
        result = scanned(tmp_path, content)
        assert (result.outcome, result.kind) == ("unknown", "tensorflow")
    assert scanned(tmp_path, b"\x0a\x05caffe\x1a\x02\x08\x01").kind == "unknown"


def test_large_tensors_are_measured_and_not_read(tmp_path: Path) -> None:
    large = model([h.make_node("Relu", ["x"], ["y"])], [nh.from_array(np.zeros((4096, 4096), np.float32), "w")])
    path = tmp_path / "large.onnx"
    path.write_bytes(large.SerializeToString())
    from veriward.adapters.scan.onnx import scan_onnx
    from veriward.adapters.scan.place import Place, Purse
    from veriward.adapters.scan.result import Notes
    from veriward.adapters.scan.source import Source

    content, asked = path.read_bytes(), []

    def fetch(at: int, count: int) -> bytes:
        asked.append(count)
        return content[at : at + count]

    place = Place("large", Notes(), Purse(), lambda source, place: "")
    scan_onnx(Source(fetch, 0, len(content)), place)
    assert place.notes.outcome == "clean"
    assert sum(asked) < 1 << 20 < len(content)


@pytest.mark.parametrize("make", HONEST, ids=lambda make: make.__name__)
def test_the_scan_of_a_spoilt_model_ends(tmp_path: Path, make: Callable[[], object]) -> None:
    draw, content = random.Random(7), make().SerializeToString()
    for _ in range(150):
        begin = time.process_time()
        result = scanned(tmp_path, mutated(content, draw))
        assert result.outcome == "clean" or result.reasons
        assert time.process_time() - begin < 1


def test_no_beginning_of_a_model_is_clean(tmp_path: Path) -> None:
    content = control().SerializeToString()
    at_fields = {len(content)}
    for size in range(len(content)):
        if scanned(tmp_path, content[:size]).outcome == "clean":
            at_fields.add(size)
    # a message may end after any outermost field; the graph must be among them
    assert min(at_fields) > len(content) - 16


def test_a_model_in_an_archive_has_no_folder(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(4 * 8 * 4 + 8 * 4 + 8 * 3 * 4))
    onnx.save(mlp(), tmp_path / "m.onnx", save_as_external_data=True, location="w2.bin", size_threshold=0)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(tmp_path / "m.onnx", "m.onnx")
    result = scanned(tmp_path, packed.getvalue(), "m.zip")
    assert (result.outcome, result.parts) == ("unknown", ())
