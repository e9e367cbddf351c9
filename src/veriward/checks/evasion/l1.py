"""evasion/l1: how far does accuracy fall when the changes of a row may add up to eps?"""

from veriward.checks.evasion.ball_check import BallCheck
from veriward.checks.registry import register


@register
class L1(BallCheck):
    """The attacks of a ball under this norm."""

    name = "evasion/l1"
    norm = "l1"
    question = "How far does accuracy fall when an attacker may change few features by a small total?"
