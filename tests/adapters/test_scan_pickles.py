"""Hand-made malicious pickles, opcode by opcode. None is clean; corpus/routes.py proves the ways of calling real."""

import io
import pickle
import struct
from pathlib import Path

import pytest
import torch

from veriward.adapters.scan import ScanResult, scan, scanner
from veriward.adapters.scan.place import Purse
from veriward.adapters.scan.words import words

from .corpus.assembly import short
from .corpus.routes import by_dotted_name, by_global, by_instance, by_object, by_stack_global


def scanned(tmp_path: Path, content: bytes) -> ScanResult:
    path = tmp_path / "file"
    path.write_bytes(content)
    return scan(path)


GADGETS = sorted(
    words("""
    os.system posix.system nt.system subprocess.Popen commands.getoutput builtins.eval builtins.exec
    builtins.compile builtins.open builtins.getattr builtins.__import__ __builtin__.eval __builtin__.apply
    __builtin__.reduce importlib.import_module runpy.run_path ctypes.CDLL pty.spawn socket.create_connection
    sys.exit shutil.rmtree webbrowser.open operator.attrgetter operator.methodcaller functools.partial
    types.CodeType types.FunctionType pickle.loads _pickle.loads cPickle.loads dill.loads cloudpickle.loads
    joblib.load torch.load torch.hub.load torch.serialization.load torch.utils.cpp_extension.load_inline numpy.load
    numpy.f2py.crackfortran.getlincoef numpy.testing._private.utils.runstring pandas.read_pickle pandas.eval
    pip.main pip._internal.main timeit.timeit code.InteractiveInterpreter bdb.Bdb pdb.run cProfile.run
    asyncio.subprocess.create_subprocess_shell multiprocessing.util.spawnv_passfds
    idlelib.pyshell.ModifiedInterpreter six.moves.builtins.eval some.module.of.theirs.eval
""")
)


@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets_are_dangerous(tmp_path: Path, gadget: str) -> None:
    module, _, name = gadget.rpartition(".")
    for route in (by_global, by_stack_global, by_instance, by_dotted_name):
        assert scanned(tmp_path, route(module, name, "x")).outcome == "dangerous"


@pytest.mark.parametrize("gadget", ["somewhere.Model", "pathlib.PosixPath", "joblib.numpy_pickle.NumpyArrayWrapper"])
def test_names_that_nobody_knows_are_unknown(tmp_path: Path, gadget: str) -> None:
    module, _, name = gadget.rpartition(".")
    for route in (by_global, by_stack_global, by_instance, by_object):
        assert scanned(tmp_path, route(module, name, "x")).outcome == "unknown"


def made(*parts: bytes) -> bytes:
    return b"".join((b"\x80\x04", *parts, b"."))


def named(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


ORDERED = named("collections", "OrderedDict")
EMPTY = ORDERED + b")R"
DTYPE = named("numpy", "dtype")
ARRAY = named("numpy._core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
TENSOR = named("torch._utils", "_rebuild_tensor_v2")


def dtype(letters: str, flags: int, size: int = -1) -> bytes:
    state = b"(K\x03" + short("|") + b"NNN" + struct.pack("<cicici", b"J", size, b"J", -1, b"J", flags) + b"tb"
    return DTYPE + short(letters) + b"\x89\x88\x87R" + state


DANGEROUS = {
    "a name that is computed": made(named("builtins", "str"), b")R", short("system"), b"\x93"),
    "a name that is a number": made(b"K\x01", short("system"), b"\x93"),
    "a call of what a call returned": made(EMPTY, b")R"),
    "a call of a number": made(b"K\x01)R"),
    "a state for a class": made(ORDERED, b"}", short("__reduce__"), b"K\x01sb"),
    "a state for a function": made(named("_codecs", "encode"), b"}b"),
    "a call by NEWOBJ": made(named("subprocess", "Popen"), short("ls"), b"\x85\x81"),
    "a call by NEWOBJ_EX": made(named("subprocess", "Popen"), short("ls"), b"\x85}\x92"),
    "a gadget that is only named": made(named("os", "system")),
    "a gadget in the second pickle": b"N." + by_stack_global("os", "system", "id"),
    "a gadget in the third pickle": b"N.N." + by_global("os", "system", "id"),
    "a gadget as a default factory": made(
        named("collections", "defaultdict"), named("os", "getcwd"), b"\x85R", short("__missing__"), b"0"
    ),
    "a gadget as a persistent id": made(named("os", "system"), b"Q"),
    "a gadget as a hook": made(EMPTY, b"K\x01", named("os", "system"), b"s"),
    "bytes that torch unpickles again": made(
        named("torch.storage", "_load_from_bytes"),
        b"C" + bytes([len(by_global("os", "system", "id"))]) + by_global("os", "system", "id"),
        b"\x85R",
    ),
    "bytes for torch that are computed": made(named("torch.storage", "_load_from_bytes"), EMPTY, b"\x85R"),
}

UNKNOWN = {
    "an extension code": made(b"\x82\x01"),
    "a wide extension code": made(b"\x84\x01\x00\x00\x00)R"),
    "a persistent id": made(short("anything"), b"Q"),
    "a persistent line": b"Panything\n.",
    "a storage outside of torch": made(
        b"(", short("storage"), named("torch", "FloatStorage"), short("0"), short("cpu"), b"K\x01tQ"
    ),
    "a buffer that is elsewhere, read-only": b"\x80\x05\x97\x98.",
    "trailing bytes": b"N.rubbish",
    "no end": b"\x80\x02N",
    "a protocol of the future": b"\x80\x07N.",
    "a frame beyond the end": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "a length beyond the end": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc.",
    "a negative length": b"\x80\x02T\xff\xff\xff\xffabc.",
    "an endless line": b"\x80\x02V" + b"x" * 200_000,
    "a long number": b"\x80\x02L" + b"9" * 100_000 + b"L\n" + b"cm\nn\n.",
    "a memo that was never written": made(b"h\x07"),
    "a memo entry far away": made(b"Nr\xff\xff\xff\x7f"),
    "an empty stack": made(),
    "no mark": made(b"t"),
    "an unfinished object": made(b"(o"),
    "an object with keywords": made(ORDERED, b")}\x92"),
    "a call of a type": made(named("numpy", "float64"), b"K\x01\x85R"),
    "a call of a storage": made(named("torch", "FloatStorage"), b"K\x01\x85R"),
    "memory for the asking": made(named("builtins", "bytearray"), b"J\xff\xff\xff\x7f\x85R"),
    "a list of a range": made(named("builtins", "list"), named("builtins", "range"), b"J\xff\xff\xff\x7f\x85R\x85R"),
    "a fraction of a tower": made(named("fractions", "Fraction"), short("1e999999999"), b"\x85R"),
    "another encoding": made(named("_codecs", "encode"), short("x"), short("idna"), b"\x86R"),
    "a factory that is called": made(named("collections", "defaultdict"), named("torch", "Size"), b"\x85R"),
    "items in a number": made(b"K\x01K\x02a"),
    "items in a class": made(ORDERED, b"K\x01K\x02s"),
    "a state for a list": made(b"]}b"),
    "an array of another class": made(
        named("numpy._core.multiarray", "_reconstruct"), ORDERED, b"K\x00\x85C\x01b\x87R"
    ),
    "an array with a state of another shape": made(ARRAY, b"}b"),
    "objects as numbers": made(dtype("O8", 0)),
    "numbers as objects": made(dtype("f8", 63)),
    "a text type of another size": made(dtype("U5", 8, 4000)),
    "fields at any offset": made(
        DTYPE, short("V8"), b"\x89\x88\x87R(K\x03", short("|"), b"N", short("a"), b"\x85}K\x08K\x01K\x00tb"
    ),
    "objects from bytes": made(ARRAY, b"(K\x01K\x01\x85", dtype("O8", 63), b"\x89C\x08" + bytes(8) + b"tb"),
    "an array of negative length": made(
        ARRAY, b"(K\x01J\xff\xff\xff\xff\x85", dtype("f8", 0), b"\x89C\x08" + bytes(8) + b"tb"
    ),
    "a tensor of no storage": made(TENSOR, b"(K\x01K\x00K\x01\x85K\x01\x85\x89", EMPTY, b"tR"),
    "an instance of any class": made(
        named("copyreg", "_reconstructor"), named("builtins", "int"), named("builtins", "object"), b"N\x87R"
    ),
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_attacks_are_dangerous(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, DANGEROUS[name]).outcome == "dangerous"


@pytest.mark.parametrize("name", UNKNOWN)
def test_oddities_are_unknown(tmp_path: Path, name: str) -> None:
    result = scanned(tmp_path, UNKNOWN[name])
    assert result.outcome == "unknown", result


def test_an_attack_behind_a_harmless_pickle_of_torch_is_found(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    assert scanned(tmp_path, content).outcome == "clean"
    assert scanned(tmp_path, content + b"x").outcome == "unknown"
    assert scanned(tmp_path, content[:-1]).outcome == "unknown"
    evil = content.replace(b"torch._utils\n_rebuild_tensor_v2\n", b"torch.serialization\nload\n")
    assert evil != content
    assert scanned(tmp_path, evil).outcome == "dangerous"


def test_a_pickled_tensor_is_clean_and_so_is_what_it_nests(tmp_path: Path) -> None:
    assert scanned(tmp_path, pickle.dumps({"w": torch.ones(3)})).outcome == "clean"
    assert scanned(tmp_path, made(named("torch.storage", "_load_from_bytes"), b"C\x02N.\x85R")).outcome == "unknown"


def test_a_pickled_model_is_unknown_not_dangerous(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), buffer)
    result = scanned(tmp_path, buffer.getvalue())
    assert (result.outcome, result.kind) == ("unknown", "torch-zip")
    assert "torch.nn.modules.linear.Linear" in {reason.what for reason in result.reasons}


@pytest.mark.parametrize("filler", [b"]2", b"(", b"N\x94", b")\x85", b")2\x86"])
def test_memory_is_bounded(tmp_path: Path, filler: bytes) -> None:
    result = scanned(tmp_path, b"\x80\x04" + filler * 600_000 + b".")
    assert result.outcome in ("clean", "unknown")


def test_time_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "Purse", lambda: Purse(opcodes=10_000))
    result = scanned(tmp_path, b"\x80\x04" + b"N0" * 6000 + b"cos\nsystem\n.")
    assert (result.outcome, result.reasons[0].what) == ("unknown", "opcodes")
    assert scanned(tmp_path, b"cos\nsystem\n" + b"N0" * 6000 + b".").outcome == "dangerous"


def test_reasons_do_not_grow_with_the_file(tmp_path: Path) -> None:
    names = b"".join(b"cmodule%d\nname\n" % number for number in range(5000))
    result = scanned(tmp_path, b"\x80\x02" + names + b"cos\nsystem\n.")
    assert len(result.reasons) <= 64
    assert result.reasons[0].what == "os.system"
