"""`convert`: a checkpoint that is clean, or unknown only by classes that nobody needs, becomes safetensors."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veriward.adapters.artefact import Artefact
from veriward.adapters.scan import ScanResult, scan
from veriward.adapters.scan.names import UNLISTED
from veriward.core.errors import ArtefactError, SettingsError

KINDS = ("pickle", "torch-zip", "torch-legacy")
_SECONDS = 900
_MAX_REASONS = 64  # a scan keeps no more: beyond it, other reasons may have been dropped
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG")  # no secrets for the child


@dataclass(frozen=True)
class Converted:
    """What came of it: `taken` is the part of the checkpoint ("" for all), `replaced` the classes by stand-ins."""

    path: Path
    tensors: int
    size_bytes: int
    taken: str
    left_out: tuple[str, ...]
    replaced: tuple[str, ...]
    walls: tuple[str, ...]
    scanned: ScanResult


def convert(path: Path, out: Path | None = None, *, key: str | None = None, force: bool = False) -> Converted:
    """Write the tensors of a pickled checkpoint as safetensors; nothing of the file's author runs.

    Unknown classes become inert stand-ins, in a child process with limits on memory, time and files, and without
    network. `key` names the part to take (dotted; "" is all); default: the usual entry of a training checkpoint.
    Raises ArtefactError for what is dangerous, unknown for other reasons, or holds no tensors.
    """
    target = out or path.with_suffix(".safetensors")
    if target.exists() and not force:
        raise SettingsError(f"{target}: exists already; give another --out, or --force")
    artefact = Artefact(path, scan(path))
    _check(artefact)
    with artefact.copy("checkpoint") as copy:
        made = copy.with_name("converted.safetensors")
        report = _run(copy, made, artefact.kind, key)
        if "error" in report:
            raise ArtefactError(f"{path}: {report['error']}")
        scanned = scan(made)
        if scanned.outcome != "clean":
            raise ArtefactError(f"{path}: what came out is {scanned.outcome}, which is a bug of ours; it is not kept")
        _install(made, target)
    return Converted(
        target,
        report["tensors"],
        report["bytes"],
        report["taken"],
        left_out=tuple(report["left_out"]),
        replaced=tuple(report["replaced"]),
        walls=tuple(report["walls"]),
        scanned=scanned,
    )


def _check(artefact: Artefact) -> None:
    """Refuse what stand-ins do not make harmless."""
    path, found = artefact.path, artefact.scanned
    if found.kind not in KINDS:
        raise ArtefactError(f"{path}: holds {found.kind}; want a checkpoint of torch.save or a pickle of arrays")
    if found.outcome == "dangerous":
        raise artefact.refused()
    others = [reason for reason in found.reasons if reason.why not in UNLISTED]
    if others or len(found.reasons) >= _MAX_REASONS:
        what = (
            f"{others[0].what} ({others[0].where}): {others[0].why}" if others else f"{_MAX_REASONS} findings or more"
        )
        raise ArtefactError(f"{path}: is unknown for more than the classes it names, so it is not converted: {what}")


def _run(source: Path, target: Path, kind: str, key: str | None) -> dict[str, Any]:
    command = [sys.executable, "-I", "-m", "veriward.adapters.convert.child"]
    words = [*command, str(source), str(target), kind, "-" if key is None else f"={key}"]
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603 -- our own interpreter and module, no shell
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=kept,
            cwd=source.parent,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {_SECONDS} s, so the conversion was ended"}
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        return {"error": f"the conversion was ended by its limits or broke ({done.returncode}: {last[0][:200]})"}
    return report if isinstance(report, dict) else {"error": "the child answered no report"}


def _install(made: Path, target: Path) -> None:
    """Put the file where the user wants it, whole or not at all."""
    try:
        with (
            made.open("rb") as file,
            tempfile.NamedTemporaryFile(dir=target.parent, prefix=".veriward-", delete=False) as beside,
        ):
            shutil.copyfileobj(file, beside)
        mask = os.umask(0)
        os.umask(mask)
        Path(beside.name).chmod(0o666 & ~mask)
        Path(beside.name).replace(target)
    except OSError as error:
        raise SettingsError(f"{target}: cannot be written ({error.strerror}); give another --out") from None
