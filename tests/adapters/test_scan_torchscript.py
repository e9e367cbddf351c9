"""TorchScript archives: honest ones are clean, and what a program may not do is told without running it."""

import io
import pickle
import random
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from veriward.adapters.scan import ScanResult, scan

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = x + torch.relu(self.second(x))
        return torch.softmax(self.head(self.drop(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))), -1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(4, 5, batch_first=True, num_layers=2)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cells(x)
        return self.head(states[:, -1])


class Flow(nn.Module):
    tensors: list[Tensor]
    table: dict[str, Tensor]
    names: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.tensors = [torch.ones(4), torch.zeros(4)]
        self.table = {"a": torch.ones(4), "b": torch.zeros(4)}
        self.names = ["x", "y"]
        self.sides = (1, 2.5, "text")
        self.register_buffer("scale", torch.ones(4).half())

    def forward(self, x: Tensor, steps: int = 2) -> tuple[Tensor, list[Tensor], str]:
        for _ in range(steps):
            x = self.inner(x) if bool(x.sum() > 0) else x + self.tensors[0]
        for tensor in self.tensors:
            x = x + tensor * self.scale
        while steps > 0:
            steps -= 1
            if steps == 5:
                break
        assert x.dim() == 2, "two dimensions are wanted"
        if x.size(0) == 0:
            raise ValueError(f"empty after {steps}")
        found = [value * x for _, value in self.table.items()]
        x = x.masked_fill(x > 9, float("-inf"))
        return torch.stack(found), [one + 1 for one in self.tensors], self.names[0] + f"{steps}"


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def script(model: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return torch.jit.script(model)


def trace(model: nn.Module, x: Tensor) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        return torch.jit.trace(model, x)


def saved(model: torch.jit.ScriptModule, **extra: bytes) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.jit.save(model, buffer, _extra_files=extra or None)
    return buffer.getvalue()


def load(content: bytes) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return torch.jit.load(io.BytesIO(content))


def scanned(tmp_path: Path, content: bytes) -> ScanResult:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    return scan(path)


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(found: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in found.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def layer(model: nn.Module | None = None) -> dict[str, bytes]:
    """The members of a small archive, without the numbers that torch gives to classes that it saw before."""
    return {
        re.sub(r"/___torch_mangle_\d+", "", name): content
        if name.endswith("debug_pkl")
        else re.sub(rb"\.___torch_mangle_\d+", b"", content)
        for name, content in members(saved(script(model or nn.Linear(2, 2)))).items()
    }


def changed(ending: str, change: Callable[[bytes], bytes]) -> bytes:
    """The archive of a linear layer, with one member changed."""
    found = layer()
    name = next(name for name in found if name.endswith(ending))
    found[name] = change(found[name])
    return zipped(found)


def with_line(line: str) -> bytes:
    """A linear layer whose forward holds one more statement."""
    return changed(
        "linear.py",
        lambda code: code.replace(
            b"    weight = self.weight\n", f"    {line}\n".encode() + b"    weight = self.weight\n"
        ),
    )


def with_code(text: str) -> bytes:
    """A linear layer with more code behind it, in the same file."""
    return changed("linear.py", lambda code: code + text.encode())


X = torch.ones(2, 3, 8, 8)
HONEST: dict[str, Callable[[], bytes]] = {
    "scripted mlp": lambda: saved(script(mlp())),
    "traced mlp": lambda: saved(trace(mlp(), torch.ones(2, 4))),
    "half mlp": lambda: saved(script(mlp().half())),
    "extra text": lambda: saved(script(mlp()), **{"notes.txt": b"trained in spring"}),
    "scripted cnn": lambda: saved(script(Residual())),
    "traced cnn": lambda: saved(trace(Residual().eval(), X)),
    "frozen cnn": lambda: saved(torch.jit.freeze(script(Residual().eval()))),
    "scripted lstm": lambda: saved(script(Recurrent())),
    "traced lstm": lambda: saved(trace(Recurrent(), torch.ones(2, 3, 4))),
    "control flow": lambda: saved(script(Flow())),
    "transformer": lambda: saved(
        script(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2))
    ),
    "gru": lambda: saved(script(nn.GRU(4, 4))),
    "attention": lambda: saved(script(nn.MultiheadAttention(8, 2))),
    "embedding": lambda: saved(script(nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4), nn.GELU()))),
    "module list": lambda: saved(script(nn.Sequential(mlp(), mlp()))),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_torch_saves_is_clean(tmp_path: Path, name: str) -> None:
    result = scanned(tmp_path, HONEST[name]())
    assert (result.outcome, result.kind, result.reasons) == ("clean", "torchscript", ())


def test_operators_that_write_files_are_real_and_dangerous(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for line in (
        f'torch.save(input, "{canary}")',
        f'ops.aten.save(input, "{canary}")',
        f'_9 = torch.save\n    _9(input, "{canary}")',
        f'_9 = torch\n    _9.save(input, "{canary}")',
        f'getattr(torch, "save")(input, "{canary}")',
        f'_9 = [torch.save(input, "{canary}") for i in [1]]',
    ):
        content = with_line(line)
        assert scanned(tmp_path, content).outcome == "dangerous", line
        assert not canary.exists()
        load(content)(torch.ones(1, 2))
        assert canary.exists()
        canary.unlink()


def test_mapping_a_file_is_real_and_dangerous(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(16))
    content = with_line(f'input = torch.fill_(torch.from_file("{victim}", True, 2, dtype=6), 1)')
    assert scanned(tmp_path, content).outcome == "dangerous"
    assert victim.read_bytes() == bytes(16)
    load(content)(torch.ones(2))
    assert victim.read_bytes() != bytes(16)


def test_code_that_runs_while_loading_is_not_clean(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    kind = "__torch__.torch.nn.modules.linear.Linear"
    state = "Tuple[Tensor, Tensor, bool, NoneType]"
    text = (
        f"  def __getstate__(self: {kind}) -> {state}:\n    return (self.weight, self.bias, self.training, None)\n"
        f"  def __setstate__(self: {kind}, state: {state}) -> NoneType:\n"
        f'    torch.save(1, "{canary}")\n    return None\n'
    )
    assert scanned(tmp_path, with_code(text)).outcome == "dangerous"
    harmless = text.replace(f'    torch.save(1, "{canary}")\n', "")
    assert scanned(tmp_path, with_code(harmless)).outcome == "unknown"
    assert not canary.exists()


def test_tensors_beyond_their_storage_are_dangerous(tmp_path: Path) -> None:
    # the shape (2, 2) of the weight becomes (2, 99)
    content = changed("data.pkl", lambda data: data.replace(b"(K\x02K\x02t", b"(K\x02K\x63t", 1))
    with pytest.raises(RuntimeError, match="require a storage"):  # older versions of torch believed it
        load(content)
    result = scanned(tmp_path, content)
    assert result.outcome == "dangerous"
    assert "memory" in result.reasons[0].why


def test_objects_of_another_class_are_dangerous(tmp_path: Path) -> None:
    found = layer(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    name = next(name for name in found if name.endswith("/data.pkl"))
    # where the class promises a linear layer, the pickle holds an activation, which has fewer slots
    found[name] = found[name].replace(
        b"__torch__.torch.nn.modules.linear\nLinear", b"__torch__.torch.nn.modules.activation\nReLU"
    )
    result = scanned(tmp_path, zipped(found))
    assert result.outcome == "dangerous"


DANGEROUS_LINES = (
    'ops.image.write_file("a", input)',
    'ops.debugprims.load_tensor("a", [1], [1], dtype=6, device=torch.device("cpu"))',
    "_9 = torch._reshape_alias(input, [99], [1])",
    '_9 = ops.prim.rpc_sync("worker", input)',
    "_9 = ops.prim.PythonOp(input)",
    "_9 = ops",
    '_9 = __torch__.torch.classes.dist_rpc.WorkerInfo("a", 1)',
    '_9 = getattr(__torch__, "a")',
)
ODD_LINES = (
    "_9 = ops.mylib.fused(input)",
    "_9 = ops.quantized.add(input, input, 1., 0)",
    "_9 = torch.unheard_of(input)",
    '_9 = torch.jit.load("a")',
    "_9 = torch.set_num_threads(3)",
    "_9 = torch.manual_seed(3)",
    "_9 = torch.resize_(input, [999])",
    '_9 = input.save("a")',
    "_9 = input.unheard_of(1)",
    'print("hello")',
    "_9 = fork(input, 1)",
    "_9 = __torch__.missing(input)",
    "_9 = __torch__.torch.classes.mylib.Engine(input)",
    "_9 = unchecked_cast(__torch__.torch.nn.modules.linear.Linear, input)",
    "_9 = uninitialized(__torch__.torch.nn.modules.linear.Linear)",
    "_9 = lambda: 1",
    "import os",
    "global x",
    "_9 = 1 # type: int",
    "_9 = 'single'",
    '_9 = """three"""',
    '_9 = b"a"',
    '_9 = f"{input}"',
    "_9 = 1; _8 = 2",
    "\t_9 = 1",
    "_9 = \\\n 1",
    '_9 = "\u00e9"',
    "torch = 1",
    "annotate = 1",
    "_9 = open",
    "_9 = " + "(" * 90 + "1" + ")" * 90,
    "_9 = " + "-" * 90_000 + "1",
    "_9 = " + "+".join("1" * 30_000),
    "_9 = " + ".x" * 1 + ".".join("x" * 30_000),
    "_9 = CONSTANTS.c0.x",
    "_9 = CONSTANTS.weights",
    "_9 = self.__class__",
    "_9 = torch.add(*[input])",
    "del input",
    "raise input",
    "try:\n      pass\n    except:\n      pass",
    "def f(x):\n      return x",
    "@decorated\n    def f(x):\n      return x",
)


@pytest.mark.parametrize("line", DANGEROUS_LINES)
def test_operators_that_reach_out_are_dangerous(tmp_path: Path, line: str) -> None:
    assert scanned(tmp_path, with_line(line)).outcome == "dangerous"


@pytest.mark.parametrize("line", ODD_LINES, ids=lambda line: line[:40])
def test_lines_that_are_not_understood_are_unknown(tmp_path: Path, line: str) -> None:
    result = scanned(tmp_path, with_line(line))
    assert result.outcome in ("unknown", "dangerous")
    assert any(".py" in reason.where for reason in result.reasons)


def test_a_method_that_is_named_like_an_operator_is_told_from_it(tmp_path: Path) -> None:
    kind = "__torch__.torch.nn.modules.linear.Linear"
    method = f"  def resize_(self: {kind},\n    n: int) -> int:\n    return n\n"
    honest = changed(
        "linear.py",
        lambda code: (
            code.replace(b"    bias = self.bias\n", b"    bias = self.bias\n    _9 = (self).resize_(1, )\n", 1)
            + method.encode()
        ),
    )
    assert load(honest)(torch.ones(1, 2)).shape == (1, 2)
    assert scanned(tmp_path, honest).outcome == "clean"
    attack = honest and changed(
        "linear.py",
        lambda code: (
            code.replace(b"    bias = self.bias\n", b"    bias = self.bias\n    _9 = (input).resize_([99], )\n", 1)
            + method.encode()
        ),
    )
    assert scanned(tmp_path, attack).outcome == "unknown"
    twice = changed(
        "linear.py",
        lambda code: (
            code.replace(
                b"    bias = self.bias\n",
                b"    bias = self.bias\n    _8 = self\n    _8 = input\n    _9 = (_8).resize_([99], )\n",
                1,
            )
            + method.encode()
        ),
    )
    assert scanned(tmp_path, twice).outcome == "unknown"


DEFINITIONS = {
    "a statement": "x = 1\n",
    "an old version": "op_version_set = 1\n",
    "an import": "import __torch__.other\n",
    "a base": "class B(object):\n  x : int\n",
    "a decorator": "@torch.jit.export\nclass B(Module):\n  x : int\n",
    "a type": "class B(Module):\n  x : os.system\n",
    "a native type": "class B(Module):\n  x : __torch__.torch.classes.mylib.Engine\n",
    "a hidden default": "def f(x: Tensor=torch.save) -> Tensor:\n  return x\n",
    "a second definition": "class Linear(Module):\n  x : int\n",
    "many arguments": "def f(*x) -> Tensor:\n  return x\n",
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definitions_that_torch_does_not_write_are_not_clean(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, with_code(DEFINITIONS[name])).outcome != "clean"


EVIL = b"cos\nsystem\n(Vid\ntR."
PICKLES = {
    "an attack in the objects": ("data.pkl", lambda data: EVIL),
    "an attack behind the objects": ("data.pkl", lambda data: data + EVIL),
    "an attack in the constants": ("constants.pkl", lambda data: EVIL),
    "an attack in the debug data": ("linear.py.debug_pkl", lambda data: EVIL),
    "an attack in an attribute": (
        "data.pkl",
        lambda data: data.replace(b"X\x04\x00\x00\x00bias", b"cos\nsystem\nX\x04\x00\x00\x00bias", 1),
    ),
}


@pytest.mark.parametrize("name", PICKLES)
def test_attacks_in_the_pickles_are_dangerous(tmp_path: Path, name: str) -> None:
    member, change = PICKLES[name]
    assert scanned(tmp_path, changed(member, change)).outcome == "dangerous"


ODD_PICKLES = {
    "a native class": lambda data: data.replace(
        b"__torch__.torch.nn.modules.linear\n", b"__torch__.torch.classes.mylib\n"
    ),
    "a class that is not there": lambda data: data.replace(b"\nLinear\n", b"\nMissing\n"),
    "no object": lambda data: pickle.dumps([1], protocol=2),
    "another type": lambda data: data.replace(b"trainingq", b"trainingq", 1).replace(b"\x88", b"N", 3),
    "a missing attribute": lambda data: data.replace(b"X\x04\x00\x00\x00bias", b"X\x04\x00\x00\x00bisa"),
    "no attributes": lambda data: data[: data.index(b"}")] + b".",
    "cut off": lambda data: data[:-9],
    "a tag with a class": lambda data: data.replace(
        b"N", b"ctorch.jit._pickle\nrestore_type_tag\n]X\x0b\x00\x00\x00List[__a__]\x86R", 1
    ),
}


@pytest.mark.parametrize("name", ODD_PICKLES)
def test_objects_that_do_not_fit_their_classes_are_not_clean(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, changed("data.pkl", ODD_PICKLES[name])).outcome != "clean"


def test_members_of_no_known_part_are_not_clean(tmp_path: Path) -> None:
    found = members(saved(script(mlp())))
    root = next(iter(found)).partition("/")[0]
    for name, content in {
        "handler.py": b"import os",
        "extra/handler.py": b"import os",
        "extra/evil.txt": EVIL,
        "bytecode.pkl": pickle.dumps((1,)),
        "model.json": b"{}",
        "code/other.py": b"x = 1",
        "code/__torch__/../x.py": b"x = 1",
        "data/99": bytes(4),
        "constants/0": bytes(4),
    }.items():
        assert scanned(tmp_path, zipped(found | {f"{root}/{name}": content})).outcome != "clean", name
    short = {name: content[:-4] if name.endswith("/data/0") else content for name, content in found.items()}
    assert scanned(tmp_path, zipped(short)).outcome != "clean"


def test_programs_for_phones_and_other_archives_of_code_say_what_they_are(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Lite Interpreter", category=DeprecationWarning)
        content = script(mlp())._save_to_buffer_for_lite_interpreter()
    result = scanned(tmp_path, content)
    assert (result.outcome, result.kind) == ("unknown", "torchscript")
    assert any("phones" in reason.why for reason in result.reasons)
    archive = zipped({"MAR-INF/MANIFEST.json": b"{}", "handler.py": b"import os"})
    assert (scanned(tmp_path, archive).outcome, scanned(tmp_path, archive).kind) == ("unknown", "mar")
    archive = zipped({"MAR-INF/MANIFEST.json": b"{}", "weights.bin": EVIL})
    assert scanned(tmp_path, archive).outcome == "dangerous"
    archive = zipped({"x/.data/extern_modules": b"", "x/mod.py": b"import os"})
    assert (scanned(tmp_path, archive).outcome, scanned(tmp_path, archive).kind) == ("unknown", "torch-package")


def test_a_program_is_read_in_time_that_grows_with_its_size(tmp_path: Path) -> None:
    line = "    _9 = torch.add(input, 1)\n"
    content = changed(
        "linear.py",
        lambda code: code.replace(
            b"    weight = self.weight\n", line.encode() * 20_000 + b"    weight = self.weight\n"
        ),
    )
    assert scanned(tmp_path, content).outcome == "clean"
    chain = "".join(f"    x{i} = x{i - 1}\n    x{i} = x{i - 1}\n" for i in range(1, 400))
    content = changed(
        "linear.py",
        lambda code: code.replace(
            b"    weight = self.weight\n",
            b"    x0 = self\n" + chain.encode() + b"    _9 = (x399).forward(input, )\n    weight = self.weight\n",
        ),
    )
    assert scanned(tmp_path, content).outcome in ("clean", "unknown")


@pytest.mark.parametrize("seed", range(3))
def test_mutated_archives_end_with_a_verdict(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    found = members(saved(script(mlp())))
    for _ in range(200):
        name = draw.choice([name for name in found if not name.endswith("serialization_id")])
        spoilt = bytearray(found[name])
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(spoilt) + 1)
            if draw.random() < 0.5:
                spoilt[at : at + 1] = bytes([draw.randrange(256)])
            else:
                spoilt[at : at + draw.randint(0, 9)] = spoilt[: draw.randint(0, 20)]
        result = scanned(tmp_path, zipped(found | {name: bytes(spoilt)}))
        assert result.outcome == "clean" or result.reasons
