"""Programs of torch.export: harmless ones are clean; every text that torch would turn into code is judged.

torch.export.load evaluates some of these texts, which two tests prove on the spot.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from veriward.adapters.scan import ScanResult, scan

Change = Callable[[dict[str, Any]], object]
EVIL = b"cos\nsystem\n(Vid\ntR."


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.GroupNorm(2, 4), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.first(x)))
        y = y + self.second(y)
        return self.head(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.ones(4))

    def forward(self, x: torch.Tensor, *, names: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.seen.add_(1)
        with torch.no_grad():
            y = x * self.seen + torch.tensor([1.0])
        return {"out": torch.cond(y.sum() > 0, torch.sin, torch.cos, (y + names["a"],))}


@cache
def exported(name: str, dynamic: bool = True) -> bytes:
    mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    models: dict[str, tuple[nn.Module, tuple[torch.Tensor, ...], dict[str, Any] | None]] = {
        "mlp": (mlp, (torch.randn(5, 4),), None),
        "residual": (Residual(), (torch.randn(5, 3, 6, 6),), None),
        "encoder": (Encoder(), (torch.randint(0, 20, (5, 6)),), None),
        "branches": (Branches(), (torch.randn(4),), {"names": {"a": torch.randn(4)}}),
    }
    model, args, kwargs = models[name]
    shapes = ({0: torch.export.Dim("batch", min=1, max=256)},) if dynamic else None
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model.eval(), args, kwargs, dynamic_shapes=shapes), buffer)
    return buffer.getvalue()


def scanned(tmp_path: Path, content: bytes) -> ScanResult:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    return scan(path)


def rebuilt(content: bytes, changed: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        root = archive.namelist()[0].split("/")[0]
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {f"{root}/{name}": value for name, value in changed.items()}
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in members.items():
            archive.writestr(zipfile.ZipInfo(name), value)
    return buffer.getvalue()


def part(content: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(archive.namelist()[0].split("/")[0] + "/" + name)


def changed(change: Change, name: str = "models/model.json") -> bytes:
    document = json.loads(part(exported("mlp"), name))
    change(document)
    return rebuilt(exported("mlp"), {name: json.dumps(document).encode()})


def graph(document: dict[str, Any]) -> dict[str, Any]:
    return document["graph_module"]["graph"]


def batch(document: dict[str, Any]) -> dict[str, Any]:
    sizes = next(iter(value["sizes"] for name, value in graph(document)["tensor_values"].items() if name == "input"))
    return sizes[0]["as_expr"]


def signature(document: dict[str, Any]) -> dict[str, Any]:
    return document["graph_module"]["module_call_graph"][0]["signature"]


def tree(context: object) -> str:
    leaf = {"type": None, "context": None, "children_spec": []}
    return json.dumps([1, {"type": "builtins.dict", "context": context, "children_spec": [leaf]}])


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", ["mlp", "residual", "encoder"])
def test_exported_programs_are_clean(tmp_path: Path, name: str, dynamic: bool) -> None:
    result = scanned(tmp_path, exported(name, dynamic))
    assert (result.outcome, result.kind, result.reasons) == ("clean", "torch-export", ())


def test_control_flow_and_keywords_are_clean(tmp_path: Path) -> None:
    assert scanned(tmp_path, exported("branches", dynamic=False)).reasons == ()


DANGEROUS: dict[str, Change] = {
    "a size": lambda d: batch(d).update(expr_str="__import__('os').system('id')"),
    "a size in a list": lambda d: batch(d).update(expr_str=["__import__('os')"]),
    "a size that walks attributes": lambda d: batch(d).update(expr_str="Symbol('s0').__class__"),
    "a size below a node of a free name": lambda d: graph(d)["tensor_values"].update(
        metadata={"sizes": [{"as_expr": {"expr_str": "exec('')", "hint": None}}]}
    ),
    "a size that grows for ever": lambda d: batch(d).update(expr_str="Pow(Pow(Pow(Pow(9,9),9),9),9)"),
    "a guard": lambda d: d.update(guards_code=["print(1)"]),
    "a guard by attribute": lambda d: d.update(guards_code=["L['x'].size.__globals__['os']"]),
    "a guard with a quote": lambda d: d.update(guards_code=["L['a\"b'].size()[0] == 1"]),
    "a guard of two lines": lambda d: d.update(guards_code=["1 == 1)\n  import os\n  (1"]),
    "a function of torch": lambda d: graph(d)["nodes"][0].update(target="torch.hub.load"),
    "a module within torch": lambda d: graph(d)["nodes"][0].update(target="torch.serialization.os.system"),
    "a library": lambda d: graph(d)["nodes"][0].update(target="torch.ops.load_library"),
    "a caller of methods": lambda d: graph(d)["nodes"][0].update(target="_operator.methodcaller"),
    "an operator as argument": lambda d: graph(d)["nodes"][0]["inputs"].append(
        {"name": "f", "arg": {"as_operator": "torch.load"}, "kind": 2}
    ),
    "an operator in a dict": lambda d: graph(d)["nodes"][0]["inputs"].append(
        {"name": "f", "arg": {"as_string_to_argument": {"custom": {"as_operator": "torch.load"}}}, "kind": 2}
    ),
    "a name of a node": lambda d: graph(d)["nodes"][0].update(name="a = exec('')"),
    "a name of a tensor": lambda d: graph(d)["tensor_values"].update({"a;b": {}}),
    "a name of a keyword": lambda d: graph(d)["nodes"][0]["inputs"][0].update(name="a=1,b"),
    "a name of an argument": lambda d: signature(d).update(forward_arg_names=["x=exec('')"]),
    "a key of the arguments": lambda d: signature(d).update(in_spec=tree('["x=1"]')),
    "an enum": lambda d: signature(d).update(out_spec=tree('[{"__enum__": true, "fqn": "evil:E", "name": "X"}]')),
    "a path of a buffer": lambda d: d["graph_module"]["signature"]["input_specs"][0].update(
        buffer={"arg": {"name": "x"}, "buffer_name": 'a"b', "persistent": True}
    ),
    "a constant of the inputs": lambda d: graph(d)["inputs"].append({"as_string": "' + exec('') + '"}),
}

UNKNOWN: dict[str, Change] = {
    "an operator of somebody": lambda d: graph(d)["nodes"][0].update(target="torch.ops.their.op.default"),
    "an operator that reads files": lambda d: graph(d)["nodes"][0].update(target="torch.ops.aten.from_file.default"),
    "an operator that writes files": lambda d: graph(d)["nodes"][0].update(target="torch.ops.aten.save.default"),
    "an operator by extension": lambda d: graph(d)["nodes"][0].update(target="#their:op"),
    "a higher operator": lambda d: graph(d)["nodes"][0].update(target="torch.ops.higher_order.call_torchbind"),
    "an object": lambda d: graph(d)["inputs"].append({"as_custom_obj": {"name": "o", "class_fqn": "__torch__.O"}}),
    "a text where none belongs": lambda d: d.update(schema_version={"major": "8", "minor": 20}),
    "a container of somebody": lambda d: signature(d).update(
        in_spec=tree("[]").replace("builtins.dict", "collections.defaultdict")
    ),
    "a tree of another version": lambda d: signature(d).update(in_spec="[2, {}]"),
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_texts_that_would_run_are_dangerous(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, changed(DANGEROUS[name])).outcome == "dangerous"


@pytest.mark.parametrize("name", UNKNOWN)
def test_programs_beyond_the_allowlist_are_unknown(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, changed(UNKNOWN[name])).outcome == "unknown"


@pytest.mark.parametrize("where", ["size", "guard"])
def test_torch_does_run_such_texts_and_the_scanner_does_not(tmp_path: Path, where: str) -> None:
    canary = tmp_path / "canary"
    call = f"__import__('os').mkdir({str(canary)!r})"

    def plant(document: dict[str, Any]) -> None:
        if where == "size":
            batch(document).update(expr_str=f"{call} or {batch(document)['expr_str']}")
        else:
            document["guards_code"] = [f"{call} is None"]

    content = changed(plant)
    assert scanned(tmp_path, content).outcome == "dangerous"
    assert not canary.exists()
    with suppress(Exception):  # what torch makes of the rest of the program is its own affair
        torch.export.load(io.BytesIO(content)).module()(torch.randn(5, 4))
    assert canary.exists(), "torch no longer runs this text: the rule may be relaxed"


def test_a_document_with_a_key_twice_is_dangerous(tmp_path: Path) -> None:
    document = part(exported("mlp"), "models/model.json")
    twice = document.replace(b"{", b'{"guards_code": [], ', 1)
    assert scanned(tmp_path, rebuilt(exported("mlp"), {"models/model.json": twice})).outcome == "dangerous"


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def weights(**entry: object) -> bytes:
    def change(document: dict[str, Any]) -> None:
        next(iter(document["config"].values())).update(entry)

    return part(changed(change, "data/weights/model_weights_config.json"), "data/weights/model_weights_config.json")


TABLE = "data/weights/model_weights_config.json"
HARMLESS, HARMFUL = pickled(torch.ones(2)), pickled(nn.Linear(1, 1))
MEMBERS: dict[str, tuple[dict[str, bytes], str]] = {
    "pickled weights": ({TABLE: weights(use_pickle=True), "data/weights/weight_0": HARMLESS}, "clean"),
    "weights that are an object": ({TABLE: weights(use_pickle=True), "data/weights/weight_0": HARMFUL}, "unknown"),
    "weights that are an attack": ({TABLE: weights(use_pickle=True), "data/weights/weight_0": EVIL}, "dangerous"),
    "weights that hide an attack": ({"data/weights/weight_0": EVIL}, "dangerous"),
    "weights elsewhere": ({TABLE: weights(path_name="../models/model.json")}, "dangerous"),
    "weights that are missing": ({TABLE: weights(path_name="weight_999")}, "unknown"),
    "weights of an old layout": ({"data/weights/model.pt": EVIL}, "dangerous"),
    "constants of an old layout": ({"data/constants/model.pt": HARMFUL}, "unknown"),
    "sample inputs that are an attack": ({"data/sample_inputs/model.pt": EVIL}, "dangerous"),
    "sample inputs that are an object": ({"data/sample_inputs/model.pt": HARMFUL}, "unknown"),
    "sample inputs that are text": ({"data/sample_inputs/model.pt": b"hello"}, "unknown"),
    "no sample inputs": ({"data/sample_inputs/model.pt": b""}, "clean"),
    "a key that breaks out of a guard": (
        {"data/sample_inputs/model.pt": pickled((({'" + exec(chr(49)) + "': torch.ones(1)},), {}))},
        "unknown",
    ),
    "a script object": ({"data/constants/custom_obj_0": HARMLESS}, "unknown"),
    "an opaque object": ({"data/constants/opaque_obj_0": pickle.dumps({"a": 1})}, "unknown"),
    "an opaque attack": ({"data/constants/opaque_obj_0": EVIL}, "dangerous"),
    "compiled code": ({"data/aotinductor/model/a.so": b"\x7fELF" + bytes(50)}, "dangerous"),
    "sources of compiled code": ({"data/aotinductor/model/a.cpp": b"int main() {}"}, "dangerous"),
    "another runtime": ({"data/executorch/a.pte": bytes(50)}, "unknown"),
    "a file that is an attack": ({"extra/notes": EVIL}, "dangerous"),
    "a second model": ({"models/other.json": b'{"guards_code": ["exec()"]}'}, "dangerous"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_is_read(tmp_path: Path, name: str) -> None:
    members, outcome = MEMBERS[name]
    result = scanned(tmp_path, rebuilt(exported("mlp"), members))
    assert (result.outcome, result.kind) == (outcome, "torch-export"), result.reasons
