"""Names whose presence in a model file is an attack: they run code, open files, start processes, or reach such names.

This list only tells `dangerous` from `unknown`. What is safe is decided by allowlists, so a gap here costs
a word of warning, never a clean verdict.
"""

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

from .words import words

# Whole modules, with all that lies below them; a dotted name that walks through one counts too.
MODULES = words(
    """
    os posix nt subprocess commands popen2 pty sys _posixsubprocess _winapi winreg msvcrt signal resource
    importlib _frozen_importlib _frozen_importlib_external imp zipimport pkgutil runpy pydoc ensurepip venv site
    code codeop bdb pdb trace timeit profile cProfile doctest gc faulthandler test.support
    ctypes _ctypes cffi _cffi_backend mmap shelve dbm pickle _pickle cPickle cloudpickle dill jsonpickle
    socket _socket socketserver ssl asyncio http urllib urllib2 urllib3 requests httpx aiohttp ftplib telnetlib
    smtplib poplib imaplib nntplib xmlrpc webbrowser antigravity shutil tempfile fileinput glob linecache
    multiprocessing _multiprocessing _thread thread concurrent.futures pip setuptools distutils pkg_resources
    idlelib lib2to3 tkinter pytest _pytest IPython ipykernel invoke fabric paramiko sh plumbum smart_open boto3
    sqlite3 numpy.distutils numpy.f2py numpy.testing numpy.lib.npyio numpy.lib._npyio_impl numpy.ctypeslib
    numpy.core.memmap numpy._core.memmap
    joblib.load joblib.dump joblib.numpy_pickle.load joblib.memory joblib.parallel joblib.externals
    pandas.io.pickle pandas.core.computation pandas.compat.pickle_compat
    torch.hub torch.package torch.serialization torch.multiprocessing torch.utils.cpp_extension torch.utils.model_zoo
    torch.utils.bottleneck torch.utils.collect_env torch.utils._config_module torch.utils.file_baton torch.export
    torch.distributed.rpc torch._inductor torch._dynamo torch.fx.experimental.symbolic_shapes torch.jit.frontend
    torch.jit.unsupported_tensor_ops torch.classes torch.ops torch.library torch.testing torch.onnx
    torch.utils.benchmark torch.utils.data.datapipes.utils.decoder torch.distributed.distributed_c10d
    torch.distributed.launcher torch.distributed.run torch.distributed.elastic
    _osx_support _aix_support _bootsubprocess _pyrepl mailcap modulefinder unittest logging.config logging.handlers
    _xxsubinterpreters _interpreters _testcapi _testinternalcapi _imp _pyio zipfile tarfile gzip bz2 lzma atexit
    threading zipapp compileall py_compile sysconfig cgitb pstats tracemalloc readline rlcompleter
    sympy.parsing sympy.core.sympify sympy.utilities.lambdify yaml jinja2 mako numexpr huggingface_hub scipy.weave
    keras.src.saving.serialization_lib keras.src.saving.saving_lib keras.src.saving.saving_api
    keras.src.utils.python_utils keras.src.utils.file_utils
    tensorflow.io tensorflow.saved_model
    """
)

# Single names in modules that also hold harmless ones.
NAMES = words(
    """
    builtins.eval builtins.exec builtins.compile builtins.open builtins.__import__ builtins.getattr builtins.setattr
    builtins.delattr builtins.globals builtins.locals builtins.vars builtins.input builtins.breakpoint builtins.help
    builtins.map builtins.filter builtins.exit builtins.quit builtins.execfile builtins.reload builtins.file
    builtins.apply builtins.raw_input
    io.open io.open_code io.FileIO _io.open _io.open_code _io.FileIO codecs.open marshal.load marshal.loads
    operator.attrgetter operator.methodcaller operator.call _operator.attrgetter _operator.methodcaller _operator.call
    functools.partial functools.reduce functools.partialmethod _functools.partial _functools.reduce
    itertools.starmap itertools.accumulate itertools.takewhile itertools.dropwhile itertools.filterfalse
    types.CodeType types.FunctionType types.LambdaType types.MethodType types.ModuleType types.DynamicClassAttribute
    copyreg.add_extension copyreg.constructor copyreg.pickle
    numpy.load numpy.save numpy.savez numpy.loadtxt numpy.savetxt numpy.fromfile numpy.memmap numpy.genfromtxt
    numpy.frompyfunc numpy.vectorize numpy.apply_along_axis numpy.fromfunction numpy.piecewise numpy.fromregex
    torch.load torch.save torch.compile torch.jit.load torch.jit.save torch.jit.script torch.jit.CompilationUnit
    torch.FloatStorage.from_file torch.UntypedStorage.from_file
    pandas.eval pandas.read_pickle pandas.to_pickle pandas.read_csv pandas.read_html pandas.read_sql
    keras.models.load_model keras.saving.load_model keras.utils.get_file keras.config.enable_unsafe_deserialization
    keras.layers.Lambda keras.src.layers.core.lambda_layer.Lambda tensorflow.py_function tensorflow.keras.layers.Lambda
    tensorflow.keras.models.load_model transformers.pipeline sklearn.externals.joblib.load
    sklearn.externals.joblib.numpy_pickle.load sklearn.datasets.fetch_openml sklearn.datasets.load_files
    uuid._get_command_stdout typing.ForwardRef._evaluate logging.FileHandler argparse.FileType copy._reconstruct
    pathlib.Path.open pathlib.Path.mkdir pathlib.Path.write_text pathlib.Path.write_bytes pathlib.Path.unlink
    pathlib.Path.rmdir pathlib.Path.rename pathlib.Path.replace pathlib.Path.touch pathlib.Path.chmod
    pathlib.Path.symlink_to pathlib.Path.read_text pathlib.Path.read_bytes
    pandas.core.frame.DataFrame.query pandas.core.frame.DataFrame.eval scipy.io.loadmat
    torch.fx.graph_module._exec_with_source torch.fx.graph_module._forward_from_src torch._C.import_ir_module
    """
)

# Bare names that are a gadget in whatever module re-exports them.
ANYWHERE = words(
    """
    eval exec execfile exec_command system popen popen2 popen3 popen4 Popen check_output check_call getoutput
    getstatusoutput spawnl spawnle spawnlp spawnv spawnve spawnvp execl execle execlp execv execve execvp
    posix_spawn fork forkpty startfile __import__ import_module load_module load_source load_dynamic load_library
    runsource runcode run_code run_path run_module runstring runctx __globals__ __builtins__ __subclasses__
    __getattribute__ __reduce__ __reduce_ex__ __code__ __loader__ __class__ __bases__ __mro__ __dict__ __init__
    get_type_hints _os _sys os sys subprocess builtins importlib from_pretrained
    """
)

# Lookups of a constant, in modules that are gadgets otherwise: how torch pickles a layout.
_LOOKUPS = {("torch.serialization", "_get_layout")}

_ROOTS = ("builtins", "__builtin__", "__builtins__", "future.builtins", "six.moves.builtins")


def is_gadget(module: str, name: str) -> bool:
    """Whether a name, as written or as Python 3 renames it for old pickles, is a known way to run code.

    >>> is_gadget("commands", "getoutput"), is_gadget("collections", "OrderedDict")
    (True, False)
    """
    return (module, name) not in _LOOKUPS and any(_listed(*pair) for pair in {(module, name), renamed(module, name)})


def renamed(module: str, name: str) -> tuple[str, str]:
    """What pickle.load makes of a name of Python 2.

    >>> renamed("__builtin__", "xrange")
    ('builtins', 'range')
    """
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


def _listed(module: str, name: str) -> bool:
    steps = [step for step in f"{module}.{name}".split(".") if step]
    inner = steps[len(module.split(".")) :]
    if module in _ROOTS:
        steps = ["builtins", *inner]
    if any(step in ANYWHERE for step in inner) or any(step in MODULES for step in inner[:-1]):
        return True
    starts = {".".join(steps[:count]) for count in range(1, len(steps) + 1)}
    return bool(starts & MODULES or starts & NAMES)
