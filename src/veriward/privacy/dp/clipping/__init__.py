"""Per-row clipping in one backward pass, for training with differential privacy. No noise, no sampler: sums alone."""

from veriward.privacy.dp.clipping.attention import Attention
from veriward.privacy.dp.clipping.lora import LoRA
from veriward.privacy.dp.clipping.per_row import Clipped, PerRow
from veriward.privacy.dp.clipping.recurrent import Recurrent
from veriward.privacy.dp.clipping.repair import fix
from veriward.privacy.dp.clipping.rules import Adaptive, Automatic, Flat, PerLayer, Rule

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
