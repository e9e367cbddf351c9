"""Gadgets: functions that a pickle can name and whose call does what its author likes.

Each stands as (name, opcodes made from the canary). REAL ones are proved in a child process; NAMED ones need a network,
a window, another file or another version, so only their names are tested.
"""

import marshal
import struct
from collections.abc import Callable
from types import CodeType

from veriward.adapters.scan.words import words

from .assembly import Code, call, named, push, stream

Gadget = Callable[[str], Code]


def script(canary: str) -> str:
    """A line of Python that makes the canary."""
    return f"__import__('os').mkdir({canary!r})"


def mkdir(canary: str) -> Code:
    return call("os:mkdir", canary)


def nested(canary: str) -> bytes:
    """A whole pickle, as bytes for whoever unpickles again."""
    return stream(mkdir(canary))


def compiled(canary: str) -> CodeType:
    return compile(script(canary), "model", "exec")


def _os() -> Code:
    return call("importlib:import_module", "os")


def _command(canary: str) -> list[str]:
    return ["mkdir", canary]


def _get(target: Code, name: str) -> Code:
    return call("builtins:getattr", target, name)


def _interpreter(canary: str) -> Code:
    return call("code:InteractiveInterpreter.runsource", call("code:InteractiveInterpreter"), script(canary))


def _log_settings(canary: str) -> dict[str, object]:
    return {"version": 1, "formatters": {"a": {"()": "os.mkdir", "path": canary}}}


def _loop(canary: str) -> Code:
    return call("asyncio:run", call("asyncio:create_subprocess_exec", "mkdir", canary))


def _graph(canary: str) -> dict[str, object]:
    return {"_code": f"\ndef forward(self):\n    pass\n{script(canary)}\n", "_graphmodule_cls_name": "G"}


def _tensor_bytes(canary: str) -> Code:
    return call("torch.storage:_load_from_bytes", nested(canary))


def _library(canary: str) -> Code:
    return call(_get(call("ctypes:CDLL", None), "mkdir"), canary.encode(), 0o755)


# Functions of the standard library, each in its simplest call.
COMMANDS: dict[str, Gadget] = {
    "os.mkdir": mkdir,
    "posix.mkdir": lambda c: call("posix:mkdir", c),
    "os.makedirs": lambda c: call("os:makedirs", c),
    "os.system": lambda c: call("os:system", f"mkdir {c}"),
    "posix.system": lambda c: call("posix:system", f"mkdir {c}"),
    "os.popen": lambda c: call("os:popen", f"mkdir {c}"),
    "os.spawnlp": lambda c: call("os:spawnlp", 0, "mkdir", "mkdir", c),
    "os.posix_spawnp": lambda c: call("os:posix_spawnp", "mkdir", _command(c), {"PATH": "/bin:/usr/bin"}),
    "subprocess.Popen": lambda c: call("subprocess:Popen", _command(c)),
    "subprocess.call": lambda c: call("subprocess:call", _command(c)),
    "subprocess.run": lambda c: call("subprocess:run", _command(c)),
    "subprocess.check_output": lambda c: call("subprocess:check_output", _command(c)),
    "subprocess.getoutput": lambda c: call("subprocess:getoutput", f"mkdir {c}"),
    "_posixsubprocess by multiprocessing": lambda c: call(
        "multiprocessing.util:spawnv_passfds", b"/bin/mkdir", [b"mkdir", c.encode()], ()
    ),
    "pty.spawn": lambda c: call("pty:spawn", _command(c)),
    "asyncio.create_subprocess_exec": _loop,
    "uuid._get_command_stdout": lambda c: call("uuid:_get_command_stdout", "mkdir", c),
    "imaplib.IMAP4_stream": lambda c: call("imaplib:IMAP4_stream", f"mkdir {c}"),
    "_osx_support._read_output": lambda c: call("_osx_support:_read_output", f"mkdir {c}"),
    "pydoc.pipepager": lambda c: call("pydoc:pipepager", "", f"mkdir {c}"),
    "mailcap.findmatch": lambda c: call(
        "mailcap:findmatch", {"text/plain": [{"view": "cat", "test": f"mkdir {c}"}]}, "text/plain"
    ),
    "test.support assert_python_ok": lambda c: call("test.support.script_helper:assert_python_ok", "-c", script(c)),
    "ctypes.CDLL": _library,
    "torch collect_env.run": lambda c: call("torch.utils.collect_env:run", _command(c)),
}

CODE: dict[str, Gadget] = {
    "builtins.exec": lambda c: call("builtins:exec", script(c)),
    "builtins.eval": lambda c: call("builtins:eval", script(c)),
    "__builtin__.eval": lambda c: call("__builtin__:eval", script(c)),
    "exec of compile": lambda c: call("builtins:exec", call("builtins:compile", script(c), "m", "exec")),
    "getattr of __import__": lambda c: call(_get(call("builtins:__import__", "os"), "mkdir"), c),
    "getattr of import_module": lambda c: call(_get(_os(), "mkdir"), c),
    "pkgutil.resolve_name": lambda c: call(call("pkgutil:resolve_name", "os:mkdir"), c),
    "pydoc.locate": lambda c: call(call("pydoc:locate", "os.mkdir"), c),
    "logging.config._resolve": lambda c: call(call("logging.config:_resolve", "os.mkdir"), c),
    "logging.config.dictConfig": lambda c: call("logging.config:dictConfig", _log_settings(c)),
    "operator.methodcaller": lambda c: call(call("operator:methodcaller", "mkdir", c), _os()),
    "operator.attrgetter": lambda c: call(call(call("operator:attrgetter", "mkdir"), _os()), c),
    "operator.call": lambda c: call("operator:call", named("os:mkdir"), c),
    "functools.partial": lambda c: call(call("functools:partial", named("os:mkdir"), c)),
    "functools.reduce": lambda c: call("functools:reduce", named("builtins:exec"), [script(c), {}]),
    "list of map": lambda c: call("builtins:list", call("builtins:map", named("os:mkdir"), [c])),
    "tuple of starmap": lambda c: call("builtins:tuple", call("itertools:starmap", named("os:mkdir"), [(c,)])),
    "set of filter": lambda c: call("builtins:set", call("builtins:filter", named("os:mkdir"), [c])),
    "types.FunctionType of marshal": lambda c: call(
        call("types:FunctionType", call("marshal:loads", marshal.dumps(compiled(c))), {}),
    ),
    "exec of codecs.decode": lambda c: call("builtins:exec", call("codecs:decode", script(c), "raw_unicode_escape")),
    "runpy._run_code": lambda c: call("runpy:_run_code", script(c), {}),
    "timeit.timeit": lambda c: call("timeit:timeit", script(c), "pass", named("time:time"), 1),
    "cProfile.runctx": lambda c: call("cProfile:runctx", script(c), {}, {}, "/dev/null"),
    "profile.run": lambda c: call("profile:run", script(c), "/dev/null"),
    "bdb.Bdb.run": lambda c: call("bdb:Bdb.runctx", call("bdb:Bdb", ["*"]), script(c), {}, {}),
    "trace.Trace.run": lambda c: call("trace:Trace.runctx", call("trace:Trace", 0, 0), script(c), {}, {}),
    "code.InteractiveInterpreter": _interpreter,
    "_xxsubinterpreters": lambda c: call(
        "_xxsubinterpreters:run_string", call("_xxsubinterpreters:create"), f"import os\nos.mkdir({c!r})"
    ),
    "lib2to3 Grammar.loads": lambda c: call(
        "lib2to3.pgen2.grammar:Grammar.loads", call("lib2to3.pgen2.grammar:Grammar"), nested(c)
    ),
    "idlelib.calltip.get_entity": lambda c: call("idlelib.calltip:get_entity", script(c)),
    "typing.ForwardRef": lambda c: call(
        "typing:ForwardRef._evaluate", call("typing:ForwardRef", script(c)), {}, {}, push(())
    ),
    "copy._reconstruct": lambda c: call("copy:_reconstruct", 0, None, named("os:mkdir"), (c,)),
    "pickle.loads": lambda c: call("pickle:loads", nested(c)),
    "_pickle.loads": lambda c: call("_pickle:loads", nested(c)),
    "multiprocessing ForkingPickler": lambda c: call("multiprocessing.reduction:ForkingPickler.loads", nested(c)),
    "sympy.parse_expr": lambda c: call("sympy.parsing.sympy_parser:parse_expr", script(c)),
    "cloudpickle.subimport": lambda c: call(_get(call("cloudpickle.cloudpickle:subimport", "os"), "mkdir"), c),
}

FILES: dict[str, Gadget] = {
    "builtins.open": lambda c: call("builtins:open", c, "w"),
    "io.open": lambda c: call("io:open", c, "w"),
    "_io.FileIO": lambda c: call("_io:FileIO", c, "w"),
    "_pyio.open": lambda c: call("_pyio:open", c, "w"),
    "codecs.open": lambda c: call("codecs:open", c, "w"),
    "pathlib.Path.mkdir": lambda c: call("pathlib:Path.mkdir", call("pathlib:Path", c)),
    "pathlib.Path.write_text": lambda c: call("pathlib:Path.write_text", call("pathlib:Path", c), "x"),
    "logging.FileHandler": lambda c: call("logging:FileHandler", c),
    "distutils write_file": lambda c: call("distutils.file_util:write_file", c, ["x"]),
    "urllib.request.urlretrieve": lambda c: call("urllib.request:urlretrieve", "data:,x", c),
    "sqlite3.connect": lambda c: call("sqlite3:connect", c),
    "shelve.open": lambda c: call("shelve:open", c, "c"),
    "tempfile.mkdtemp": lambda c: call("tempfile:mkdtemp", "", c.rpartition("/")[2], c.rpartition("/")[0]),
    "zipfile.ZipFile": lambda c: call("zipfile:ZipFile", c, "w"),
    "tarfile.open": lambda c: call("tarfile:open", c, "w"),
    "gzip.open": lambda c: call("gzip:open", c, "w"),
    "bz2.open": lambda c: call("bz2:open", c, "w"),
    "lzma.open": lambda c: call("lzma:open", c, "w"),
    "argparse.FileType": lambda c: call(call("argparse:FileType", "w"), c),
    "numpy.save": lambda c: call("numpy:save", c, [1]),
    "numpy.savetxt": lambda c: call("numpy:savetxt", c, [1]),
    "numpy.memmap": lambda c: call("numpy:memmap", c, "u1", "w+", 0, (1,)),
    "torch.save": lambda c: call("torch:save", [1], c),
    "torch storage from_file": lambda c: call("torch:UntypedStorage.from_file", c, True, 8),
    "joblib.dump": lambda c: call("joblib:dump", [1], c),
    "pandas.to_pickle": lambda c: call("pandas:to_pickle", [1], c),
}

SCIENCE: dict[str, Gadget] = {
    "numpy f2py getlincoef": lambda c: call("numpy.f2py.crackfortran:getlincoef", script(c), {}),
    "numpy f2py myeval": lambda c: call("numpy.f2py.crackfortran:myeval", script(c)),
    "numpy runstring": lambda c: call("numpy.testing._private.utils:runstring", script(c), {}),
    "numpy.frompyfunc": lambda c: call(call("numpy:frompyfunc", named("os:mkdir"), 1, 1), c),
    "numpy.vectorize": lambda c: call(call("numpy:vectorize", named("os:mkdir")), c),
    "torch._load_from_bytes": _tensor_bytes,
    "torch execWrapper": lambda c: call("torch.jit.unsupported_tensor_ops:execWrapper", script(c), {}, {}),
    "torch basichandlers": lambda c: call(
        "torch.utils.data.datapipes.utils.decoder:basichandlers", "pickle", nested(c)
    ),
    "torch.fx reduce_graph_module": lambda c: call("torch.fx.graph_module:reduce_graph_module", _graph(c), ""),
    "torch.fx _exec_with_source": lambda c: call("torch.fx.graph_module:_exec_with_source", script(c), {}),
    "torch evaluate_guards": lambda c: call(
        "torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression", None, script(c), []
    ),
    "torch benchmark Timer": lambda c: call(
        "torch.utils.benchmark:Timer.timeit", call("torch.utils.benchmark:Timer", script(c)), 1
    ),
}

REAL: dict[str, Gadget] = COMMANDS | CODE | FILES | SCIENCE

# "module:name", called with one text, or with what stands behind it.
NAMED = sorted(
    words("""
    nt:system os:execv os:fork os:startfile builtins:breakpoint builtins:globals __builtin__:execfile __builtin__:apply
    commands:getoutput popen2:popen3 platform:popen runpy:run_path runpy:run_module webbrowser:open
    antigravity:webbrowser shutil:rmtree shutil:copyfile shutil:unpack_archive socket:create_connection socket:socket
    ssl:get_server_certificate http.client:HTTPSConnection http.server:test ftplib:FTP smtplib:SMTP telnetlib:Telnet
    xmlrpc.client:ServerProxy urllib.request:urlopen urllib2:urlopen requests:get requests.api:post httpx:get
    aiohttp:request multiprocessing:Process concurrent.futures:ThreadPoolExecutor threading:Timer
    _thread:start_new_thread signal:signal sys:setrecursionlimit sys:settrace gc:get_objects resource:setrlimit
    atexit:register pdb:run pdb:Pdb doctest:debug_script doctest:testfile zipimport:zipimporter venv:create
    ensurepip:_run_pip site:addsitedir idlelib.pyshell:ModifiedInterpreter.runcode idlelib.run:Executive.runcode
    idlelib.autocomplete:AutoComplete.get_entity idlelib.debugobj:ObjectTreeItem.SetText
    lib2to3.pgen2.pgen:ParserGenerator.make_label _interpreters:run_string _pyrepl.pager:pipe_pager _imp:create_dynamic
    importlib.machinery:ExtensionFileLoader asyncio.unix_events:_UnixSubprocessTransport._start
    asyncio:create_subprocess_shell modulefinder:ModuleFinder.run_script pip:main pip._internal:main
    pip._internal.cli.main:main setuptools:setup distutils.spawn:spawn numpy:load numpy.lib.npyio:NpzFile
    numpy.lib._npyio_impl:load numpy.ctypeslib:load_library numpy.distutils.exec_command:exec_command numpy.f2py:compile
    scipy.io:loadmat scipy.weave:inline pandas:read_pickle pandas:eval pandas:read_csv pandas.core.frame:DataFrame.query
    pandas.io.pickle:read_pickle joblib:load joblib.numpy_pickle:load joblib:Parallel sklearn.externals.joblib:load
    sklearn.externals.joblib.numpy_pickle:load sklearn.datasets:fetch_openml torch:load torch.serialization:load
    torch:compile torch.hub:load torch.hub:load_state_dict_from_url torch.jit:load torch.jit:script
    torch.utils.cpp_extension:load torch.utils.cpp_extension:load_inline torch.package:PackageImporter
    torch.utils._config_module:ConfigModule.load_config torch.utils.model_zoo:load_url
    torch.utils.bottleneck.__main__:run_cprofile torch._dynamo.guards:GuardBuilder.get
    torch._inductor.codecache:compile_file torch._inductor.codecache:PyCodeCache.load torch.distributed.rpc:rpc_sync
    torch.distributed.rpc.internal:_run_function torch.distributed.launcher:elastic_launch
    torch.distributed.distributed_c10d:_tensor_to_object torch.multiprocessing:spawn torch.ops:load_library
    torch.classes:load_library torch._C:import_ir_module torch.export:load torch.onnx:export torch.library:custom_op
    dill:loads dill._dill:_create_code dill._dill:_import_module cloudpickle:loads
    cloudpickle.cloudpickle:_make_function cloudpickle.cloudpickle:_builtin_type jsonpickle:decode yaml:unsafe_load
    marshal:loads shelve:Shelf dbm:open keras.models:load_model keras.saving:load_model keras.utils:get_file
    keras.layers:Lambda keras.src.utils.python_utils:func_load
    keras.src.saving.serialization_lib:deserialize_keras_object transformers:pipeline
    transformers:AutoModel.from_pretrained huggingface_hub:hf_hub_download tensorflow:py_function
    tensorflow.io:write_file tensorflow.keras.models:load_model
""")
)


def old_call(path: str) -> bytes:
    """The call of a name by GLOBAL in protocol 2, as most published attacks are written."""
    module, name = path.split(":")
    argument = b"X" + struct.pack("<I", 4) + b"evil"
    return b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\nq\x00" + argument + b"q\x01\x85q\x02Rq\x03."
