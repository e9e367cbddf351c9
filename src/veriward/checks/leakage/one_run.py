"""A lower bound on epsilon from one training run. Steinke, Nasr & Jagielski, 2023 (arXiv:2305.08846): approximate DP.

Each of m canaries is put into the training data by a fair coin *of the auditor*; the trained model is looked at, and some
of the coins are guessed. Rows of a data set that somebody else drew are no such canaries: their presence is not
independent, and Clopper-Pearson intervals over rows of one model bound nothing.
"""

import math

from veriward.core.errors import SettingsError
from veriward.privacy.dp.bounds import check_delta

MOST = 200.0  # of epsilon: no number of canaries tells more
STEPS = 60  # of bisection


def one_run_epsilon(*, guesses: int, correct: int, canaries: int, delta: float, confidence: float) -> float:
    """Return the largest epsilon that the correct guesses rule out at delta, with this confidence; 0 if none.

    Of `canaries` rows, each in the data by a fair coin of the auditor, `guesses` coins were guessed and `correct` of these
    guessed rightly; how many to guess was fixed beforehand. Holds for any mechanism, whatever the guesses are made from. A
    lower bound: a stronger auditor may find more, and no count of guesses shows more than about log(guesses).
    Raises SettingsError unless 0 <= correct <= guesses <= canaries and delta, confidence lie between 0 and 1.

    >>> round(one_run_epsilon(guesses=100, correct=100, canaries=1000, delta=1e-5, confidence=0.95), 4)
    3.4654
    >>> one_run_epsilon(guesses=100, correct=50, canaries=1000, delta=1e-5, confidence=0.95)
    0.0
    """
    check_counts(guesses, correct, canaries)
    delta, level = check_delta(delta), check_confidence(confidence)

    def excluded(epsilon: float) -> bool:
        return p_value(guesses, correct, canaries, epsilon, delta) <= level

    if not excluded(0.0):
        return 0.0
    low, high = 0.0, MOST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if excluded(middle) else (low, middle)
    return low


def p_value(guesses: int, correct: int, canaries: int, epsilon: float, delta: float) -> float:
    """Return an upper bound of the chance that an (epsilon, delta)-private mechanism lets so many guesses be correct.

    With delta = 0 the correct guesses are at most binomial with success e**epsilon / (1 + e**epsilon). Delta adds
    2 m delta times the largest mean chance, over i, of missing the count by 1 to i.

    >>> p_value(guesses=1, correct=1, canaries=1, epsilon=0.0, delta=0.0)
    0.5
    """
    import numpy as np
    from scipy.special import bdtrc, betaln, xlog1py

    if correct == 0:
        return 1.0
    right, missed = 1 / (1 + math.exp(-epsilon)), np.arange(correct - 1, -1, -1)
    ways = -np.log(guesses + 1.0) - betaln(guesses - missed + 1, missed + 1)  # log of guesses choose missed
    chances = np.exp(ways + missed * math.log(right) + xlog1py(guesses - missed, -right))
    worst = float(np.max(np.cumsum(chances) / np.arange(1, correct + 1)))
    return min(1.0, float(bdtrc(correct - 1, guesses, right)) + 2 * canaries * delta * worst)


def check_counts(guesses: int, correct: int, canaries: int) -> None:
    """Raise SettingsError unless 0 <= correct <= guesses <= canaries, with a guess at all."""
    if not (0 <= correct <= guesses <= canaries and guesses >= 1):
        raise SettingsError(
            f"correct = {correct} of guesses = {guesses} on canaries = {canaries}: want whole numbers, "
            f"0 <= correct <= guesses <= canaries, and at least one guess"
        )


def check_confidence(confidence: float) -> float:
    """Return the chance of an error that a confidence leaves; SettingsError unless it lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise SettingsError(f"confidence = {confidence}: want a number above 0 and below 1, e.g. 0.95")
    return 1 - confidence
