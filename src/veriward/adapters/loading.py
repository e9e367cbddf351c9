"""How the user wants a model to be opened."""

from dataclasses import dataclass

import torch

from veriward.core.errors import SettingsError


@dataclass(frozen=True)
class Loading:
    """The options of a run that concern the model.

    >>> Loading(trust=True).code
    True
    """

    device: str = "auto"
    batch_size: int | None = None
    trust: bool = False  # load what the scanner calls unknown
    code: bool = True  # run code that the subject names


def choose_device(device: str) -> str:
    """Return the torch device for "auto", "cpu" or "cuda"; SettingsError if it is not there.

    >>> choose_device("cpu")
    'cpu'
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.split(":", maxsplit=1)[0] == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: torch finds no CUDA device here; use cpu or auto")
    if device.split(":", maxsplit=1)[0] not in ("cpu", "cuda"):
        raise SettingsError(f"--device {device}: not known; want auto, cpu or cuda")
    return device
