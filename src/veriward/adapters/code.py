"""Code that a subject names: found in its folder, listed with its hash before it runs, refused under --no-code."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from veriward.core.canonical import digest
from veriward.core.errors import ArtefactError, SettingsError
from veriward.core.fingerprint import file_hash
from veriward.core.subject import Subject


def locate(subject: Subject, name: str, key: str) -> tuple[Path, str]:
    """Return the file and the function that "module:function" names.

    Raises SettingsError unless the file lies, links followed, in the subject's folder.
    """
    module, colon, function = name.partition(":")
    parts = module.split(".")
    if not colon or not all(part.isidentifier() for part in (*parts, function)):
        raise SettingsError(f"{key} = {name!r}: want 'module:function' of a file in the subject's folder")
    file = subject.folder.joinpath(*parts).with_suffix(".py")
    if not file.is_file():
        raise SettingsError(f"{key} = {name!r}: no file {file}; it must lie in the subject's folder")
    if not file.resolve().is_relative_to(subject.folder.resolve()):
        raise SettingsError(f"{key} = {name!r}: {file} leads out of the subject's folder; code must lie inside it")
    return file, function


def listed(subject: Subject) -> list[dict[str, str]]:
    """Return the files of the subject's that opening it runs, each with its SHA-256."""
    return _hashed(
        subject, {"model.factory": subject.model.factory, "threat.evasion.backward": subject.threat.evasion.backward}
    )


def listed_recipe(subject: Subject) -> list[dict[str, str]]:
    """Return the files of the subject's that training runs, each with its SHA-256."""
    said = subject.recipe
    keys = ("fit", "build", "loss", "optimiser") if said else ()
    named = {f"recipe.{key}": getattr(said, key) for key in keys}
    return _hashed(subject, {key: name for key, name in named.items() if name and ":" in name})


def _hashed(subject: Subject, named: Mapping[str, str | None]) -> list[dict[str, str]]:
    files = dict.fromkeys(locate(subject, name, key)[0] for key, name in named.items() if name is not None)
    return [{"file": file.name, "hash": file_hash(file)} for file in files]


def load_function(subject: Subject, name: str, key: str, *, code: bool) -> Callable[..., Any]:
    """Import the file and return the function; ArtefactError under --no-code or if the file does not run."""
    file, function = locate(subject, name, key)
    if not code:
        raise ArtefactError(f"{key} = {name!r}: would run {file.name}, and --no-code forbids it")
    with _importable(subject.folder):
        found = getattr(_module(file), function, None)
    if not callable(found):
        raise SettingsError(f"{key} = {name!r}: {file} has no function {function!r}")
    return found  # type: ignore[no-any-return]  # the caller names what it calls


def _module(file: Path) -> Any:
    """Import under a name of our own, so that a net.py of the user's hides nobody else's."""
    name = f"_veriward_subject_{digest(str(file.resolve()))[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ArtefactError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a module that leaves must not end us with its own exit code
        del sys.modules[name]
        raise ArtefactError(f"{file}: raised {type(error).__name__} when imported: {error}") from error
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
