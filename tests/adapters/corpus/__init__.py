"""The corpus of the scanner: files that attack, made without harm, and files that do not."""

import os

from .artefact import Artefact
from .benign_others import BENIGN_OTHERS
from .benign_torch import BENIGN_TORCH
from .formats import HOSTILE_FORMATS
from .hostile_pickles import HOSTILE_PICKLES
from .zips import HOSTILE_ZIPS

# before anything of the corpus imports Keras, whichever test comes first
os.environ.setdefault("KERAS_BACKEND", "torch")

HOSTILE: tuple[Artefact, ...] = (*HOSTILE_PICKLES, *HOSTILE_ZIPS, *HOSTILE_FORMATS)
BENIGN: tuple[Artefact, ...] = (*BENIGN_TORCH, *BENIGN_OTHERS)

__all__ = ["BENIGN", "HOSTILE", "Artefact"]
