"""A campaign of mutated files: every one is scanned, and asked of unpicklers that are not ours.

A file may not be called clean if one of them names, calls or fetches anything beyond the allowlist.
"""

import json
import pickle
import random
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import TracebackType

import numpy as np

from veriward.adapters.scan import scan_content
from veriward.adapters.scan.calls import CALLS, TYPES

from .assembly import stream
from .benign_others import plain
from .benign_torch import STATES, saved
from .gadgets import REAL, mkdir
from .mutation import mutated, mutated_zip
from .routes import ROUTES
from .zips import LOCAL, members_of, zipped

SLOWEST = 1.0  # seconds that one small file may take


class Oracle:
    """The process that runs oracle.py."""

    def __enter__(self) -> "Oracle":
        self._child = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(__file__).parent / "oracle.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._send(json.dumps(sorted(CALLS.keys() | TYPES)).encode() + b"\n")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._child.communicate()

    def _send(self, content: bytes) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(content)
        self._child.stdin.flush()

    def ask(self, content: bytes, persistent: bool) -> None:
        self._send(struct.pack("<BI", persistent, len(content)) + content)

    def answer(self) -> list[str]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line, "the oracle died of the last input"
        return json.loads(line)


@dataclass
class Tally:
    """What a campaign came to."""

    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    beyond: int = 0  # inputs in which an oracle found something beyond the allowlist
    slowest: float = 0.0
    violations: list[tuple[str, list[str], bytes]] = field(default_factory=list)


def verdict(content: bytes) -> tuple[str, float]:
    """The outcome, and the CPU seconds it took."""
    start = time.process_time()
    outcome = scan_content(content).outcome
    return outcome, time.process_time() - start


def plain_seeds() -> list[bytes]:
    """Pickles that are harmless, and others in which something waits."""
    values = [
        plain(),
        OrderedDict(a=[1, 2.0, "text"], b=(None, True, b"x")),
        [np.arange(3.0), np.float64(1), np.array(["a", "bc"]), np.dtype("i4")],
        {"d": defaultdict(list, a=[1]), "c": Counter("ab"), "s": {1}, "z": 1j},
        np.array([1, "a", None], dtype=object),
        "text",
    ]
    honest = [pickle.dumps(value, protocol) for value in values for protocol in (0, 2, 4, 5)]
    return (
        honest * 6
        + [route("os", "mkdir", "x") for route in ROUTES.values()]
        + [stream(gadget("x")) for name, gadget in REAL.items() if name.startswith(("os.", "builtins."))]
    )


def checkpoint_seeds() -> list[dict[str, bytes]]:
    return [members_of(saved(STATES[name]())) for name in ("views", "parameters", "containers", "numpy", "float8")]


def run(seed: int, count: int) -> Tally:
    """Scan `count` mutated files: loose pickles, pickles of checkpoints, archives with other headers."""
    draw = random.Random(seed)
    tally = Tally()
    start = time.monotonic()
    with Oracle() as oracle:
        for content, pickles, persistent in _drawn(draw, count):
            for inner in pickles:
                oracle.ask(inner, persistent)
            outcome, seconds = verdict(content)
            found = sorted({event for _ in pickles for event in oracle.answer()})
            _count(tally, outcome, seconds, found, content)
    tally.seconds = time.monotonic() - start
    return tally


def _count(tally: Tally, outcome: str, seconds: float, found: list[str], content: bytes) -> None:
    tally.inputs += 1
    tally.outcomes[outcome] += 1
    tally.beyond += bool(found)
    tally.slowest = max(tally.slowest, seconds)
    if outcome == "clean" and found:
        tally.violations.append(("clean", found, content))
    if seconds > SLOWEST:
        tally.violations.append((f"{seconds:.2f} s", found, content))


def _drawn(draw: random.Random, count: int) -> Iterator[tuple[bytes, list[bytes], bool]]:
    """(file, the pickles in it, whether they may hold persistent ids)"""
    seeds, checkpoints = plain_seeds(), checkpoint_seeds()
    archives = [zipped({"a.pkl": seeds[0], "b.pkl": stream(mkdir("x"))}), zipped({"a.pkl": seeds[1], "b/c": seeds[2]})]
    archives += [zipped(members) for members in checkpoints[:2]]
    archives.append(zipped({"a.pkl": seeds[1], "b.pkl": seeds[5]}, zipfile.ZIP_DEFLATED))
    for _ in range(count):
        way = draw.random()
        if way < 0.7:
            content = mutated(draw.choice(seeds), draw.choice(seeds), draw)
            yield content, [content], False
        elif way < 0.85:
            members = draw.choice(checkpoints)
            inner = mutated(members["archive/data.pkl"], draw.choice(seeds), draw)
            yield zipped(members | {"archive/data.pkl": inner}), [inner], True
        else:
            content = mutated_zip(draw.choice(archives), draw)
            yield content, list(pickles_of(content)), True


def pickles_of(content: bytes) -> Iterator[bytes]:
    """What zipfile finds, checksums or not, and what follows each local header; no storages of numbers."""
    with suppress(Exception), zipfile.ZipFile(BytesIO(content)) as archive:
        for entry in archive.infolist():
            if "/data/" not in entry.filename:
                with suppress(Exception), _unchecked(archive, entry) as member:
                    yield member.read(1 << 20)

    yield from _behind_local_headers(content)


def _behind_local_headers(content: bytes) -> Iterator[bytes]:
    at = content.find(LOCAL)
    while at >= 0:
        begin = at
        at = content.find(LOCAL, at + 1)
        with suppress(struct.error, zlib.error):
            method, name_size, extra_size = struct.unpack_from("<8xH16xHH", content, begin)
            data = content[begin + 30 + name_size + extra_size : at if at >= 0 else len(content)]
            if b"/data/" not in content[begin + 30 :][:name_size]:
                yield zlib.decompressobj(-15).decompress(data, 1 << 20) if method else data


@contextmanager
def _unchecked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[zipfile.ZipExtFile]:
    with archive.open(entry) as member:
        member._expected_crc = None  # type: ignore[attr-defined]
        yield member  # type: ignore[misc]
