"""What does the model give away about its training data?

>>> round(one_run_epsilon(guesses=100, correct=95, canaries=1000, delta=1e-5, confidence=0.95), 4)
2.1652
"""

from veriward.checks.leakage.one_run import one_run_epsilon
from veriward.checks.leakage.one_run_curve import gaussian_epsilon, one_run_mu

__all__ = ["gaussian_epsilon", "one_run_epsilon", "one_run_mu"]
