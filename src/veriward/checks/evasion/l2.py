"""evasion/l2: how far does accuracy fall when a row may move by a Euclidean distance of eps?"""

from veriward.checks.evasion.ball_check import BallCheck
from veriward.checks.registry import register


@register
class L2(BallCheck):
    """The attacks of a ball under this norm."""

    name = "evasion/l2"
    norm = "l2"
    question = "How far does accuracy fall when an attacker may change a row by a small Euclidean distance?"
