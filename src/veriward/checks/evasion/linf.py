"""evasion/linf: by how much can an attacker who may change every number by eps lower the accuracy?"""

from veriward.checks.evasion.ball_check import BallCheck
from veriward.checks.registry import register


@register
class Linf(BallCheck):
    """The attacks of a ball under this norm."""

    name = "evasion/linf"
    norm = "linf"
    question = "By how much can an attacker who may change every number of the input a little lower the accuracy?"
