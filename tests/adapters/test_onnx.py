"""ONNX files: gradients by the torch reading, scores by onnxruntime, and refusals that name what is wrong."""

import io
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from veriward.adapters import load
from veriward.adapters.artefact import Artefact
from veriward.adapters.loading import Loading
from veriward.adapters.modules import ModuleBackend
from veriward.adapters.onnx import OnnxBackend
from veriward.adapters.onnx_graph import operator, session, tensors
from veriward.adapters.onnx_graph.graph import read_graph
from veriward.adapters.onnx_graph.module import read_module
from veriward.adapters.onnx_graph.operator import Entry
from veriward.adapters.opened import open_subject
from veriward.core.data import Table
from veriward.core.errors import ArtefactError, DataError, ModelError, SettingsError
from veriward.core.subject import Subject

from .onnx_models import artefact_of, initialisers, model_of, opened


class Block(nn.Module):
    """A residual block. Smooth activations: at a kink rounding alone may turn a gradient."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inside, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.SiLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.short = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(self.main(x) + self.short(x))


class Attention(nn.Module):
    """One head over the positions of a row, by hand: shapes are taken from the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows, places, _ = x.shape
        q, k, v = (part(x).view(rows, places, 2, 4).transpose(1, 2) for part in (self.query, self.key, self.value))
        mixed = (q @ k.transpose(2, 3) / 2).softmax(-1) @ v
        return self.head(self.norm(mixed.transpose(1, 2).reshape(rows, places, 8)).mean(1))


class Recurrent(nn.Module):
    """A bidirectional LSTM before a GRU, rows first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
        self.second, self.head = nn.GRU(8, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)[0])[0][:, -1])


NETS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 4)), (6,)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ELU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 4)
        ),
        (1, 8, 8),
    ),
    "resnet": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            Block(8, 8, 1),
            Block(8, 16, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 4),
        ),
        (3, 8, 8),
    ),
    "series": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 8, 3, dilation=2), nn.Tanh(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(64, 3)
        ),
        (2, 20),
    ),
    "attention": (Attention, (5, 6)),
    "recurrent": (Recurrent, (7, 3)),
}


def net(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, shape = NETS[name][0](), NETS[name][1]
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean, layer.running_var = torch.rand_like(layer.bias), 1 + torch.rand_like(layer.bias)
    return module.eval().requires_grad_(False), shape


def exported(module: nn.Module, shape: tuple[int, ...], *, opset: int = 17, fixed: int | None = None) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            module,
            (torch.zeros(fixed or 2, *shape),),
            content,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=None if fixed else {"x": {0: "rows"}, "y": {0: "rows"}},
        )
    return content.getvalue()


def rows_of(shape: tuple[int, ...], n: int = 100) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).random((n, *shape), dtype=np.float32))


def why(backend: Any) -> str:
    """Why there are no gradients, as the report tells it."""
    return " ".join(str(note.values["why"]) for note in backend.notes if note.code == "model.no_gradients")


SLOW_OPSETS = [pytest.param(opset, marks=pytest.mark.slow) for opset in (9, 11, 13, 18)]


@pytest.mark.parametrize("opset", [17, *SLOW_OPSETS])
@pytest.mark.parametrize("name", NETS)
def test_scores_and_gradients_are_those_of_the_exported_net(name: str, opset: int, tmp_path: Path) -> None:
    module, shape = net(name)
    backend = opened(exported(module, shape, opset=opset), tmp_path)
    assert isinstance(backend, ModuleBackend)
    x = rows_of(shape).requires_grad_()
    wanted = module(x)
    found = backend.forward(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    (theirs,) = torch.autograd.grad(wanted.exp().sum(), x)
    (ours,) = torch.autograd.grad(found.exp().sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in backend.module.parameters())


@pytest.mark.parametrize("access", [None, "scores"])
@pytest.mark.parametrize("fixed", [None, 1, 7])
@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_answers_do_not_depend_on_the_batch(name: str, fixed: int | None, access: str | None, tmp_path: Path) -> None:
    module, shape = net(name)
    backend = opened(exported(module, shape, fixed=fixed), tmp_path, access)
    x = rows_of(shape)
    whole = backend.raw(x)
    torch.testing.assert_close(whole, module(x), rtol=1e-5, atol=1e-5)
    for rows in ([3], [99, 0], list(range(50, 100)), list(reversed(range(100)))):
        assert torch.equal(backend.raw(x[rows]), whole[rows])


def test_a_batch_of_one_in_the_export_runs_in_whole_tiles(tmp_path: Path) -> None:
    module, shape = net("cnn")
    assert opened(exported(module, shape, fixed=1), tmp_path).tile == 64


def test_a_batch_that_the_graph_insists_on_is_kept(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    constants = {"shape": np.array([1, 6]), "w": np.eye(6, 3, dtype=np.float32)}
    for size in (1, "rows"):  # some exports call the batch open, and mean 1 all the same
        backend = opened(model_of(nodes, [size, 2, 3], constants), tmp_path)
        assert isinstance(backend, ModuleBackend)
        assert backend.tile == 1
        x = rows_of((2, 3), 5)
        torch.testing.assert_close(backend.raw(x), x.reshape(5, 6)[:, :3])


def test_the_same_numbers_from_both_doors(tmp_path: Path) -> None:
    module, shape = net("resnet")
    content, x = exported(module, shape), rows_of(shape)
    reading, runtime = opened(content, tmp_path), opened(content, tmp_path, "scores")
    assert isinstance(runtime, OnnxBackend)
    torch.testing.assert_close(reading.raw(x), runtime.raw(x), rtol=1e-5, atol=1e-5)


def dense(op: str = "Relu", **attributes: Any) -> Any:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node(op, ["h"], ["y"], **attributes),
    ]
    generator = np.random.default_rng(0)
    constants = {"w": generator.normal(size=(4, 3)).astype(np.float32), "b": np.zeros(3, np.float32)}
    return model_of(nodes, ["rows", 4], constants)


def test_unsupported_operators_are_named_all_at_once_and_scores_remain(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Bernoulli", ["x"], ["a"], seed=1.0),
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "scale"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "scale"], ["y"]),
    ]
    model = model_of(nodes, ["rows", 4], {"scale": np.float32(0.01)})
    backend = opened(model, tmp_path)
    assert isinstance(backend, OnnxBackend)
    assert backend.access == "scores"
    # what the answer does not depend on is not named
    assert why(backend) == "no torch reading of DequantizeLinear × 2, QuantizeLinear × 2"
    x = rows_of((4,))
    torch.testing.assert_close(backend.raw(x), (x / 0.01).round() * 0.01)
    with pytest.raises(SettingsError, match=r"gives none: no torch reading of DequantizeLinear × 2"):
        opened(model, tmp_path, "gradients")


def test_a_reading_that_differs_from_onnxruntime_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operator.OPERATORS, "Relu", Entry(lambda node: lambda x: x.relu() * 1.001))
    backend = opened(dense(), tmp_path)
    assert isinstance(backend, OnnxBackend)
    assert why(backend) == "the torch reading differs from onnxruntime: by 0.001 of the largest answer (want 1e-04)"
    with pytest.raises(SettingsError, match=r"differs from onnxruntime: by 0\.001"):
        opened(dense(), tmp_path, "gradients")


def test_rows_that_influence_each_other_get_no_gradients(tmp_path: Path) -> None:
    node = helper.make_node("CumSum", ["x", "axis"], ["y"])
    backend = opened(model_of([node], ["rows", 4], {"axis": np.int64(0)}), tmp_path)
    assert "depends on a row's place in its batch" in why(backend)


def test_half_and_double_precision(tmp_path: Path) -> None:
    for elem, dtype in ((TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float64)):
        node = helper.make_node("Gemm", ["x", "w"], ["y"])
        weight = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)
        backend = opened(model_of([node], ["rows", 4], {"w": weight}, elem=elem), tmp_path)
        assert isinstance(backend, ModuleBackend)
        assert backend.dtype == torch.from_numpy(weight).dtype
        x = rows_of((4,))
        np.testing.assert_allclose(backend.raw(x).float(), x.numpy() @ weight.astype(np.float32), atol=1e-2)


def test_pictures_of_open_size_are_read_too(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["p"])]
    nodes += [helper.make_node("Flatten", ["p"], ["y"])]
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    backend = opened(model_of(nodes, ["rows", 3, "height", "width"], {"w": weight}), tmp_path)
    assert isinstance(backend, ModuleBackend)
    assert backend.raw(rows_of((3, 11, 13), 2)).shape == (2, 4)


@pytest.mark.parametrize("access", [None, "scores"])
def test_rows_of_a_wrong_shape_are_named(access: str | None, tmp_path: Path) -> None:
    backend = opened(dense(), tmp_path, access)
    assert backend.width == 4
    with pytest.raises(ModelError, match=r"takes rows of shape \(4\), got rows of shape \(5,\)"):
        backend.raw(rows_of((5,)))
    with pytest.raises(ModelError, match=r"takes rows of shape \(4\), got rows of shape \(1, 4\)"):
        backend.raw(rows_of((1, 4)))


def test_a_table_becomes_a_matrix(tmp_path: Path) -> None:
    backend = opened(dense(), tmp_path, "scores")
    x = rows_of((4,), 10)
    table = Table({name: x[:, i].numpy() for i, name in enumerate("abcd")})
    assert torch.equal(backend.raw(table), backend.raw(x))
    with pytest.raises(DataError, match="columns hold texts: a"):
        backend.raw(Table({**table.columns, "a": np.array(["u"] * 10, object)}))


def test_whole_numbers_are_rounded_to_and_kept_in_their_range(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=1), helper.make_node("Identity", ["f"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    backend = opened(model_of(nodes, ["rows", 2], elem=TensorProto.UINT8, outputs=outputs), tmp_path)
    assert why(backend) == "its input takes no floating numbers"
    assert backend.raw(torch.tensor([[1.4, 1.6], [254.6, 0.0]])).tolist() == [[1, 2], [255, 0]]
    for strange in (-1.0, 256.0, np.nan):
        with pytest.raises(ModelError, match="takes uint8; some rows have no value, or one out of range"):
            backend.raw(torch.tensor([[strange, 0.0]]))


def classical(names: list[Any], *, zipped: bool, columns: bool = False) -> Any:
    """A logistic regression as skl2onnx writes it: label and probabilities, by name or in one matrix."""
    kind = "strings" if isinstance(names[0], str) else "int64s"
    listed = {f"classlabels_{kind if kind == 'strings' else 'ints'}": names}
    nodes = [
        helper.make_node(
            "LinearClassifier", ["v"], ["label", "scores"], domain="ai.onnx.ml", post_transform="SOFTMAX",
            coefficients=[1.0, -1.0, 0.0, 2.0, -1.0, 0.5], intercepts=[0.0, 0.5, -0.5], **listed,
        )
    ]  # fmt: skip
    label = TensorProto.STRING if kind == "strings" else TensorProto.INT64
    outputs = [helper.make_tensor_value_info("label", label, [None])]
    if zipped:
        nodes.append(
            helper.make_node("ZipMap", ["scores"], ["map"], domain="ai.onnx.ml", **{f"classlabels_{kind}": names})
        )
        key = helper.make_map_type_proto(label, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        outputs.append(helper.make_value_info("map", helper.make_sequence_type_proto(key)))
    else:
        nodes.append(helper.make_node("Identity", ["scores"], ["probabilities"]))
        outputs.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]))
    if columns:
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("age", "income")]
        nodes.insert(0, helper.make_node("Concat", ["age", "income"], ["v"], axis=1))
    else:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])]
        nodes.insert(0, helper.make_node("Scaler", ["x"], ["v"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]))
    graph = helper.make_graph(nodes, "classical", inputs, outputs)
    imports = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def softmaxed(x: Any) -> Any:
    logits = x @ np.array([[1, 0, -1], [-1, 2, 0.5]]) + np.array([0, 0.5, -0.5])
    return torch.from_numpy(logits).softmax(1).float()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("names", [["no", "perhaps", "yes"], [3, 5, 9]])
def test_classical_classifiers_give_probabilities_and_class_names(
    names: list[Any], zipped: bool, tmp_path: Path
) -> None:
    backend = opened(classical(names, zipped=zipped), tmp_path)
    assert backend.access == "scores"
    assert backend.classes == tuple(names)
    assert backend.width == 2
    x = rows_of((2,))
    torch.testing.assert_close(backend.raw(x), softmaxed(x.numpy()))
    assert torch.equal(backend.raw(x[40:41]), backend.raw(x)[40:41])
    with pytest.raises(SettingsError, match="gives none"):
        opened(classical(names, zipped=zipped), tmp_path, "gradients")


def test_one_input_per_column_is_fed_by_name(tmp_path: Path) -> None:
    backend = opened(classical(["a", "b", "c"], zipped=True, columns=True), tmp_path)
    assert backend.columns == ("age", "income")
    assert why(backend) == "it takes 2 inputs"
    age, income = np.arange(5), np.linspace(0, 1, 5)
    table = Table({"city": np.array(["x"] * 5, object), "income": income, "age": age})
    torch.testing.assert_close(backend.raw(table), softmaxed(np.stack([age, income], 1)))
    with pytest.raises(DataError, match="no column age"):
        backend.raw(Table({"income": income}))


def test_texts_and_whole_numbers_reach_inputs_of_their_type(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "LabelEncoder", ["city"], ["code"], domain="ai.onnx.ml",
            keys_strings=["north", "south"], values_floats=[10.0, 20.0], default_float=-1.0,
        ),
        helper.make_node("Cast", ["rooms"], ["r"], to=1),
        helper.make_node("Add", ["code", "r"], ["y"]),
    ]  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("city", TensorProto.STRING, [None, 1]),
        helper.make_tensor_value_info("rooms", TensorProto.INT64, [None, 1]),
    ]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    imports = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, out), opset_imports=imports, ir_version=9)
    backend = opened(model, tmp_path)
    city = np.array(["north", "south", "moon"], object)
    assert backend.raw(Table({"city": city, "rooms": np.array([1, 2, 3])})).reshape(-1).tolist() == [11, 22, 2]
    with pytest.raises(ModelError, match="'city' takes texts, and some rows have none"):
        backend.raw(Table({"city": np.array(["north", None], object), "rooms": np.array([1, 2])}))
    with pytest.raises(ModelError, match="'rooms' takes numbers, got object; encode the texts"):
        backend.raw(Table({"city": city, "rooms": city}))


def test_regressors_give_values_and_label_models_labels(tmp_path: Path) -> None:
    node = helper.make_node(
        "LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", coefficients=[1.0, 2.0], intercepts=[0.5]
    )
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    backend = opened(model_of([node], [None, 2], outputs=outputs), tmp_path)
    assert backend.output == "value"
    assert backend.raw(torch.tensor([[1.0, 1.0]])).tolist() == [[3.5]]
    model = classical(["no", "perhaps", "yes"], zipped=False)
    del model.graph.output[1]
    backend = opened(model, tmp_path)
    assert (backend.access, backend.output, backend.classes) == ("labels", "labels", ("no", "perhaps", "yes"))
    x = rows_of((2,))
    assert torch.equal(backend.raw(x), softmaxed(x.numpy()).argmax(1))


def test_the_output_with_a_telling_name_is_chosen(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["features"]), helper.make_node("Neg", ["x"], ["logits"])]
    outputs = [helper.make_tensor_value_info(name, 1, [None, 3]) for name in ("features", "logits")]
    x = rows_of((3,))
    assert torch.equal(opened(model_of(nodes, [None, 3], outputs=outputs), tmp_path).raw(x), -x)


def test_external_tensors_come_from_files_that_were_scanned(tmp_path: Path) -> None:
    from veriward.adapters.loading import Loading
    from veriward.adapters.onnx import from_onnx

    model = dense()
    weight = model.graph.initializer[0]
    values = numpy_helper.to_array(weight).copy()
    (tmp_path / "weights.bin").write_bytes(b"\0" * 16 + values.tobytes())
    onnx.external_data_helper.set_external_data(weight, "weights.bin", offset=16, length=values.nbytes)
    weight.ClearField("raw_data")
    subject = Subject(model="model.onnx", data={"test": (np.zeros((2, 1)), [0, 1])})
    artefact = artefact_of(model, tmp_path)
    with pytest.raises(ArtefactError, match=r"wants the file 'weights\.bin', which the scanner did not read"):
        from_onnx(artefact, subject, Loading("cpu"))

    artefact = Artefact.passed(artefact.path, trust=False)
    x = rows_of((4,))
    backend = from_onnx(artefact, subject, Loading("cpu"))
    torch.testing.assert_close(backend.raw(x), (x @ torch.from_numpy(values)).relu())
    (tmp_path / "weights.bin").write_bytes(b"\1" * 64)
    with pytest.raises(ArtefactError, match="changed between the scan and the load"):
        from_onnx(artefact, subject, Loading("cpu"))


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(op, inputs, outputs, **attributes)


def joined(nodes: list[Any], last: str, **constants: Any) -> Any:
    """A graph that adds what hostile constants make to its input."""
    return model_of([*nodes, node("Add", ["x", last], ["y"])], [None, 2], constants)


BIG = "more than 536870912 numbers"
HOSTILE: dict[str, tuple[Any, str]] = {
    "circle": (
        model_of([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])], [None, 2]),
        "read each other in a circle: ",
    ),
    "missing": (model_of([node("Add", ["x", "nobody"], ["y"])], [None, 2]), "reads nobody, which nothing gives"),
    "twice": (model_of([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], [None, 2]), "'y' is given twice"),
    "no output": (model_of([node("Relu", ["x"], ["z"])], [None, 2]), "output y is given by no node"),
    "no node": (model_of([], [None, 2]), "no node"),
    "unknown operator": (
        model_of([node("Backdoor", ["x"], ["y"], domain="evil")], [None, 2]),
        "onnxruntime refuses it",
    ),
    "wrong setting": (model_of([node("LRN", ["x"], ["y"])], [None, 2]), "has settings it cannot have"),
    "giant fill": (
        joined([node("ConstantOfShape", ["shape"], ["big"])], "big", shape=np.array([1 << 20, 1 << 40])),
        BIG,
    ),
    "giant tile": (joined([node("Tile", ["c", "by"], ["big"])], "big", c=np.ones(2), by=np.array([1 << 40])), BIG),
    "giant range": (
        joined([node("Range", ["a", "b", "c"], ["big"])], "big", a=np.int64(0), b=np.int64(1 << 60), c=np.int64(1)),
        BIG,
    ),
    "giant pad": (model_of([node("Pad", ["x", "by"], ["y"])], [None, 2], {"by": np.array([0, 0, 0, 1 << 40])}), BIG),
    "division by zero": (
        joined([node("Div", ["a", "b"], ["c"])], "c", a=np.int64(1), b=np.int64(0)),
        "cannot be computed",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graphs_are_refused_by_name(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, told = HOSTILE[name]
    started = time.monotonic()
    with pytest.raises(ArtefactError, match=told) as caught:
        opened(model, tmp_path)
    assert "model.onnx" in str(caught.value)
    assert time.monotonic() - started < 5
    assert capfd.readouterr() == ("", "")


def test_initialisers_that_do_not_fill_their_shape(tmp_path: Path) -> None:
    for spoil in ("short", "negative", "giant", "type"):
        model = dense()
        weight = model.graph.initializer[0]
        if spoil == "short":
            weight.raw_data = weight.raw_data[:-4]
        elif spoil == "type":
            weight.data_type = 99
        else:
            del weight.dims[:]
            weight.dims.extend([-1, 3] if spoil == "negative" else [1 << 40, 1 << 20])
        with pytest.raises(ArtefactError, match=r"tensor 'w' of shape .* does not hold the numbers it says"):
            opened(model, tmp_path)


def test_bytes_that_are_no_graph(tmp_path: Path) -> None:
    for content in (
        b"",
        b"\x08\x07",
        b"\xff" * 100,
        b"\x08\x09\x3a\xff\xff\xff\x7f",
        dense().SerializeToString()[:-40],
    ):
        with pytest.raises(ArtefactError, match=r"model\.onnx"):
            opened(content, tmp_path)


def test_every_cut_and_flipped_byte_is_an_error_of_ours_or_a_model(tmp_path: Path) -> None:
    content = dense().SerializeToString()
    generator = np.random.default_rng(0)
    x = rows_of((4,), 2)
    for _ in range(150):
        spoiled = bytearray(content)
        for place in generator.integers(0, len(content), 2):
            spoiled[place] = generator.integers(0, 256)
        try:
            opened(bytes(spoiled), tmp_path).raw(x)
        except (ArtefactError, ModelError):
            continue


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    model = dense()
    call = helper.make_node("Again", ["a"], ["b"], domain="local")
    model.functions.append(helper.make_function("local", "Again", ["a"], ["b"], [call], model.opset_import))
    with pytest.raises(ArtefactError, match="functions call themselves"):
        opened(model, tmp_path)


def test_a_loop_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 0.3)
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [None, 2]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [None, 2]),
        ],
    )
    model = model_of([node("Loop", ["", "yes", "x"], ["y"], body=body)], [None, 2], {"yes": np.array(True)})
    backend = opened(model, tmp_path)
    assert why(backend) == "no torch reading of Loop × 1"
    started = time.monotonic()
    with pytest.raises(ModelError, match="onnxruntime answers"):
        backend.raw(rows_of((2,), 3))
    assert time.monotonic() - started < 5


def test_a_missing_package_is_told_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from veriward.core.errors import DependencyMissing

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyMissing, match=r"pip install 'veriward\[onnx\]'"):
        opened(dense(), tmp_path)


def test_initialisers_of_old_files_are_listed_among_the_inputs(tmp_path: Path) -> None:
    model = dense()
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, 1, list(t.dims))
        for t in initialisers({"w": np.zeros((4, 3), np.float32)})
    )
    assert isinstance(opened(model, tmp_path), ModuleBackend)


@pytest.mark.parametrize("name", NETS)
def test_everything_but_sizes_lives_on_the_device(name: str, tmp_path: Path) -> None:
    """The meta device stands for a GPU: it refuses to meet the host's tensors, and to tell its numbers to the host."""
    module, shape = net(name)
    for opset in (9, 17):
        backend = opened(exported(module, shape, opset=opset), tmp_path)
        out = backend.module.to("meta")(torch.zeros(64, *shape, device="meta"))
        assert out.device.type == "meta"
        assert out.shape == module(torch.zeros(64, *shape)).shape


@pytest.mark.parametrize("op", ["Resize", "Pad", "Expand", "Slice"])
def test_arguments_are_read_without_waiting_for_the_device(op: str, tmp_path: Path) -> None:
    constants: dict[str, Any] = {
        "Resize": {"roi": np.empty(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)},
        "Pad": {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "value": np.float32(3)},
        "Expand": {"shape": np.array([2, 1, 1, 1, 1])},
        "Slice": {"starts": np.array([1]), "ends": np.array([3]), "axes": np.array([2]), "steps": np.array([1])},
    }[op]
    model = model_of([node(op, ["x", *constants], ["y"])], [None, 2, 4, 4], constants)
    graph = read_graph(model, "test.onnx")
    module = read_module(graph, graph.inputs[0], "y").to("meta")
    assert module(torch.zeros(8, 2, 4, 4, device="meta")).device.type == "meta"


def test_more_than_two_gigabytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "MOST_BYTES", 100)
    with pytest.raises(ArtefactError, match="want less than 2 GB"):
        opened(dense(), tmp_path)


def test_a_subject_with_columns_opens_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(load.OPENERS, "onnx", ("onnx", "from_onnx"))
    artefact_of(classical(["a", "b", "c"], zipped=True, columns=True), tmp_path)
    generator = np.random.default_rng(0)
    income, age = generator.normal(size=90), generator.integers(0, 3, 90)
    answers = softmaxed(np.stack([age, income], 1)).argmax(1)
    columns = {"income": income, "age": age, "kind": np.array(["a", "b", "c"], object)[answers.numpy()]}
    data = {"test": columns, "label": "kind"}
    subject = Subject.model_validate({"model": {"path": "model.onnx"}, "data": data, "folder": tmp_path})
    found = open_subject(subject, device="cpu")
    assert (found.format, found.access, found.output) == ("onnx", "scores", "probabilities")
    assert found.classes == ("a", "b", "c")
    assert torch.equal(found.model.labels(found.domain.decode(found.encoded("test"))), answers)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(("width", "activation"), [(3, nn.Softmax(1)), (1, nn.Sigmoid())])
def test_graphs_that_end_in_probabilities_are_asked_for_logits(
    tmp_path: Path, width: int, activation: nn.Module, opset: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear = nn.Linear(4, width)
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        net = nn.Sequential(linear, activation).eval()
        torch.onnx.export(net, (torch.zeros(2, 4),), path, dynamo=False, opset_version=opset, input_names=["x"],
                          dynamic_axes={"x": {0: "rows"}})  # fmt: skip
    x = 100 * torch.ones(5, 4) * torch.arange(1, 6)[:, None]
    data = {"test": ([[0.0]], [0])}
    asked = load.load_backend(Subject(model=path, data=data), Loading(device="cpu"))
    assert torch.allclose(asked.raw(x), linear(x), rtol=1e-5)
    assert (asked.output, [note.code for note in asked.notes]) == ("logits", ["model.activation_off"])
    kept = Subject(model={"path": str(path), "output": "probabilities"}, data=data)
    assert torch.allclose(load.load_backend(kept, Loading(device="cpu")).raw(x), net(x), atol=1e-6)
