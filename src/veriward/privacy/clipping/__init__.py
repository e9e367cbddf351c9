"""Per-row clipping in one backward pass, for training with differential privacy. No noise, no sampler: sums alone."""

from veriward.privacy.clipping.attention import Attention
from veriward.privacy.clipping.lora import LoRA
from veriward.privacy.clipping.per_row import Clipped, PerRow
from veriward.privacy.clipping.recurrent import Recurrent
from veriward.privacy.clipping.repair import fix
from veriward.privacy.clipping.rules import Adaptive, Automatic, Flat, PerLayer, Rule

__all__ = [
    "Adaptive",
    "Attention",
    "Automatic",
    "Clipped",
    "Flat",
    "LoRA",
    "PerLayer",
    "PerRow",
    "Recurrent",
    "Rule",
    "fix",
]
