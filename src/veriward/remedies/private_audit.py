"""The audits of a private training, under its own terms and on a network of its own kind; they read no private row.

What an audit says is handed out, so the rows that keep the canaries company are zeros.
"""

from typing import Any

import torch

from veriward.adapters.recipe import Rows, Steps, as_taken
from veriward.remedies.audit_replay import replay
from veriward.remedies.audit_settings import TrainerSettings
from veriward.remedies.audit_trainer import self_audit
from veriward.remedies.private_plan import PrivatePlan

CANARIES, FEW = 5000, 64


def audited(recipe: Steps, agreed: PrivatePlan, rows: Rows, *, seed: int, canaries: int = CANARIES) -> dict[str, Any]:
    """Return what the canary audit and the replay say of a training of these terms: see docs/dp-audit.md.

    As many steps are run as the plan has, three times over.
    """
    module, sampler = recipe.module(seed), agreed.sampler
    count = len(rows) if hasattr(sampler, "rows") else min(FEW, len(rows))
    x = torch.zeros_like(as_taken(module, rows.x[:1])).expand(count, *rows.x.shape[1:]).clone()
    y = torch.zeros_like(rows.y[:1]).expand(count, *rows.y.shape[1:]).clone()
    settings = TrainerSettings(
        sampler=sampler,
        clip=agreed.rule,
        noise_multiplier=agreed.noise_multiplier,
        divisor=agreed.divisor,
        compute=torch.bfloat16 if agreed.compute == "bfloat16" else None,
    )
    found = self_audit(
        settings, module, recipe.loss, x, y, steps=agreed.steps, delta=agreed.delta, canaries=canaries, seed=seed
    )
    problems = replay(settings, module, recipe.loss, x, y, seed=seed).problems
    return {
        "verdict": "broken" if problems else found.verdict,
        "lower": found.lower,
        "claimed": found.claimed,
        "confidence": found.confidence,
        "canaries": found.canaries,
        "guesses": found.guesses,
        "correct": list(found.correct),
        "replay": list(problems),
        "source": found.source,
    }
