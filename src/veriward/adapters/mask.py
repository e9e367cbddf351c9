"""The mask of an attacker on arrays: which share of eps each number of a row may move; 0 cannot be touched."""

import hashlib
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.core.errors import SettingsError
from veriward.core.subject import Subject

LARGEST = 1 << 28  # bytes of a mask's file
WANTED = "want numbers in [0, 1] in the shape of a row"


def read_mask(subject: Subject, shape: tuple[int, ...]) -> tuple[Tensor | None, str]:
    """Return the mask like one row, float64, and its hash; (None, "") where the subject has none.

    Raises SettingsError for files that cannot be read, other shapes, values outside [0, 1] and masks of zeros alone.
    """
    given = subject.threat.evasion.mask
    if given is None:
        return None, ""
    values = np.asarray(_load(subject, given) if isinstance(given, str | os.PathLike) else given)
    if values.dtype.kind not in "biuf":
        raise SettingsError(f"threat.evasion.mask: holds {values.dtype}; {WANTED} {shape}")
    try:
        mask = np.broadcast_to(values.astype(np.float64), shape)
    except ValueError:
        raise SettingsError(f"threat.evasion.mask: has shape {values.shape}; {WANTED} {shape}") from None
    if not bool(((mask >= 0) & (mask <= 1)).all()) or not mask.any():
        raise SettingsError(f"threat.evasion.mask: spans [{mask.min():g}, {mask.max():g}]; {WANTED}, not all 0")
    mask = np.array(mask)  # of its own: writable and in one piece
    return torch.from_numpy(mask), hashlib.sha256(mask.tobytes()).hexdigest()


def _load(subject: Subject, path: Any) -> Any:
    file = subject.place(str(path))
    try:
        if file.stat().st_size > LARGEST:
            raise SettingsError(f"{file}: a mask of more than {LARGEST} bytes; {WANTED}")
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SettingsError(f"{file}: cannot be read as a mask ({error}); want a .npy file of numbers") from None
