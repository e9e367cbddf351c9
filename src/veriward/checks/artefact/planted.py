"""Controls of the artefact scan: files with gadgets that every scan must see, and files that hold none."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from veriward.checks.contract import Control
from veriward.core.subject import Subject
from veriward.core.threat import Threat

_GADGETS = (("os", "system"), ("builtins", "exec"), ("subprocess", "Popen"), ("runpy", "run_path"))


@dataclass(frozen=True)
class PlantedFiles:
    """A model without a file: the scan takes these contents instead. It answers like a coin with two sides."""

    contents: tuple[bytes, ...]

    def __call__(self, x: object) -> np.ndarray[Any, Any]:
        """Return the same two scores for every row."""
        return np.full((len(np.asarray(x)), 2), 0.5)


def planted_controls(threat: Threat) -> tuple[Control, ...]:
    """Return one control with a gadget in each of its files, and one with none."""
    hostile = tuple(make(*gadget) for gadget in _GADGETS for make in (_by_global, _by_stack))
    sound = (b"\x80\x04N.", b"\x80\x02}U\x01aK\x01s.", _tensors())
    count = float(len(hostile))
    return (
        Control("planted gadgets", _subject(hostile), threat, {"dangerous_findings": (count, count)}),
        Control("sound files", _subject(sound), threat, {"dangerous_findings": (0, 0), "unknown_findings": (0, 0)}),
    )


def _by_global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n(S'planted'\ntR.".encode()


def _by_stack(module: str, name: str) -> bytes:
    """Name the gadget by texts that reach the stack through the memo."""
    text: Callable[[str], bytes] = lambda word: b"\x8c" + bytes([len(word)]) + word.encode()  # noqa: E731 -- local word
    return b"\x80\x04" + text(module) + b"\x94" + text(name) + b"\x9400h\x00h\x01\x93" + text("planted") + b"\x85R."


def _tensors() -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(header)) + header + bytes(4)


def _subject(contents: tuple[bytes, ...]) -> Subject:
    return Subject.model_validate(
        {
            "name": "planted",
            "task": "classification",
            "model": {"live": PlantedFiles(contents), "output": "probabilities"},
            "data": {"test": {"x": np.zeros((2, 1)), "y": np.arange(2)}},
            "input": {"kind": "tabular", "bounds": (0.0, 1.0)},
        }
    )
