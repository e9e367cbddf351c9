"""From events to (epsilon, delta): by privacy loss distributions, by Rényi divergences, or in closed form.

Every answer is an upper bound. Gaussian differential privacy and its central limit theorem are not offered: for the MNIST
tutorial (q 256/60000, sigma .7, 45 epochs, delta 1e-5) they say 5.07 where the true epsilon is 5.64.
"""

import json
import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from dp_accounting import NeighboringRelation, dp_event, get_epsilon_gaussian
from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS, compute_delta, compute_epsilon
from numpy.typing import NDArray

from veriward.core.errors import SettingsError
from veriward.privacy.dp.divergences import Renyi
from veriward.privacy.dp.event_json import from_plain, to_plain
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.losses import Accountant, interval, leaves, without_sampling
from veriward.privacy.dp.relation import Relation

Floats = NDArray[np.float64]
ACCOUNTANTS = ("pld", "rdp")
THEIRS = {
    Relation.ADD_OR_REMOVE: NeighboringRelation.ADD_OR_REMOVE_ONE,
    Relation.REPLACE: NeighboringRelation.REPLACE_ONE,
    Relation.ZERO_OUT: NeighboringRelation.REPLACE_SPECIAL,
}
LARGE = 500.0  # above it a loss distribution would need exp(epsilon) beyond double precision: the Rényi bound answers
TINY = (
    1e-11  # below it rounding errors of the Fourier transform (about 1e-15 a mass) would count: the Rényi bound answers
)
ORDERS = tuple(float(order) for order in DEFAULT_RDP_ORDERS)
ROUGH_ORDERS = (1.1, 1.25, 1.5, 1.75, *(float(order) for order in range(2, 33)), 48.0, 64.0, 128.0)  # few slow sums
UP = 1 + 1e-9  # closed forms are solved to 1e-12: epsilon rounds up


def epsilon_at(event: Event, delta: float, accountant: str, *, coarse: int = 1) -> float:
    """Return an upper bound of epsilon at delta. `coarse` > 1 is quicker and looser, never unsound."""
    if accountant == "rdp":
        return _renyi(_text(event), event.relation, delta, ROUGH_ORDERS if coarse > 1 else ORDERS)
    return _epsilon(_checked(event, accountant), event.relation, delta, coarse)


def delta_at(event: Event, epsilon: float, accountant: str) -> float:
    """Return an upper bound of delta at epsilon."""
    return deltas_at(event, [epsilon], accountant)[0]


def deltas_at(event: Event, epsilons: Sequence[float], accountant: str) -> list[float]:
    """Return an upper bound of delta at each epsilon: the event is composed once for all of them."""
    text = _text(event) if accountant == "rdp" else _checked(event, accountant)
    sigma = _one_gaussian(event.dp)
    if accountant == "pld" and sigma is not None:
        return [_bounded(_gaussian_delta(sigma, epsilon) * UP) for epsilon in epsilons]
    known = [_delta_renyi(text, event.relation, epsilon) for epsilon in epsilons]
    about = _about(text, event.relation, 1e-6)
    if accountant == "rdp" or LARGE < about < math.inf:
        return known
    with _quiet():
        composed = _pld(text, event.relation, 1, about)
        found = [composed.get_delta(epsilon) for epsilon in epsilons]
    # below TINY the transform's rounding errors would count
    return [_bounded(min(bound, max(delta, TINY))) for bound, delta in zip(known, found, strict=True)]


def curve(event: Event, relation: Relation, orders: tuple[float, ...]) -> Floats:
    """Return the Rényi divergence of an event at each order; SettingsError for what has no Rényi bound."""
    if relation not in event.relations:
        raise SettingsError(
            f"the event holds under {event.relation.value}, not under {relation.value}; "
            "use the sampler or the ledger of that relation"
        )
    return _curve(_text(event), relation, orders)


def _checked(event: Event, accountant: str) -> str:
    """Return the text of an event that loss distributions can take; SettingsError names what they cannot."""
    if accountant not in ACCOUNTANTS:
        raise SettingsError(
            f"accountant = {accountant!r}: want 'pld' or 'rdp'; Gaussian DP (CLT) understates epsilon and is not offered"
        )
    text = _text(event)
    if event.sampling == "fixed" or "SampledWithoutReplacement" in text:
        raise SettingsError(
            "accountant = 'pld': no dominating pair is known for sampling without replacement; use accountant='rdp'"
        )
    if "RepeatAndSelect" in text:
        raise SettingsError("accountant = 'pld': random stopping is proved for Rényi divergences; use accountant='rdp'")
    return text


def _text(event: Event) -> str:
    return json.dumps(to_plain(event.dp))


@lru_cache(maxsize=4096)
def _epsilon(text: str, relation: Relation, delta: float, coarse: int) -> float:
    sigma = _one_gaussian(from_plain(json.loads(text)))
    if sigma is not None:  # exact: Balle & Wang, 2018 (arXiv:1805.06530), theorem 8
        with _quiet():
            return float(get_epsilon_gaussian(sigma, delta)) * UP if sigma > 1e-6 else math.inf
    about = _about(text, relation, delta)
    if delta < TINY or LARGE < about < math.inf:
        return about
    with _quiet():
        found = float(_pld(text, relation, coarse, about).get_epsilon(delta))
    return max(0.0, min(found, about))


def _about(text: str, relation: Relation, delta: float) -> float:
    """Return the Rényi bound, infinite for what has none: it sets the grid, and no answer exceeds it."""
    try:
        return _renyi(text, relation, delta, ROUGH_ORDERS)
    except SettingsError:
        return math.inf


def _one_gaussian(event: dp_event.DpEvent) -> float | None:
    """Return the multiplier of the one Gaussian that unsampled Gaussians compose to, None for any other event."""
    total = 0.0
    for leaf in leaves(event):
        if leaf is None or leaf.rate < 1 or leaf.reach > 1:
            return None
        total += leaf.count / leaf.sigma**2
    return total**-0.5 if total else None


def _pld(text: str, relation: Relation, coarse: int, about: float) -> Accountant:
    event = from_plain(json.loads(text))
    width = interval(event, about if math.isfinite(about) else 1.0) * coarse
    accountant = Accountant(THEIRS[relation], width)
    accountant.compose(event)
    return accountant


def _renyi(text: str, relation: Relation, delta: float, orders: tuple[float, ...]) -> float:
    with _quiet():
        return max(0.0, float(compute_epsilon(orders, _curve(text, relation, orders), delta)[0]))


def _delta_renyi(text: str, relation: Relation, epsilon: float) -> float:
    try:
        with _quiet():
            return _bounded(compute_delta(ORDERS, _curve(text, relation, ORDERS), epsilon)[0])
    except SettingsError:
        return 1.0


@lru_cache(maxsize=4096)
def _curve(text: str, relation: Relation, orders: tuple[float, ...]) -> Floats:
    """Return the divergences at the orders. What is drawn without replacement costs at most what the whole data would (the
    divergence is jointly quasi-convex: van Erven & Harremoës, 2014, theorem 13), where its own bound is weaker than that.
    """
    event = from_plain(json.loads(text))
    found = _composed(event, relation, orders)
    whole = without_sampling(event)
    return np.minimum(found, _composed(whole, relation, orders)) if whole != event else found


def _composed(event: dp_event.DpEvent, relation: Relation, orders: tuple[float, ...]) -> Floats:
    accountant = Renyi(orders, THEIRS[relation])
    if not accountant.supports(event):
        kinds = ", ".join(sorted(set(re.findall(r"\w+(?=DpEvent)", repr(event)))))
        raise SettingsError(f"accountant = 'rdp': no Rényi bound of {kinds} under {relation.value} is known here")
    try:
        with _quiet():
            rdp = accountant.compose(event).rdp
    except (ValueError, OverflowError):  # its sums left double precision: no bound
        return np.full(len(orders), math.inf)
    return _between(np.where(np.isnan(rdp) | (rdp < 0), math.inf, rdp), np.array(orders))


def _between(rdp: Floats, orders: Floats) -> Floats:
    """Return divergences with the broken orders filled in that did not converge: (order - 1) * divergence is convex in the
    order and 0 at 1, so the chord between whole orders is an upper bound (Wang et al., 2019, corollary 10).
    """
    whole = (orders % 1 == 0) & np.isfinite(rdp)
    if not whole.any():
        return rdp
    known = np.concatenate([[1.0], orders[whole]])
    chord = np.interp(orders, known, np.concatenate([[0.0], (orders[whole] - 1) * rdp[whole]]), right=math.inf)
    return np.where(np.isfinite(rdp), rdp, chord / (orders - 1))


def _gaussian_delta(sigma: float, epsilon: float) -> float:
    """Return delta of the Gaussian mechanism: Balle & Wang, 2018 (arXiv:1805.06530), theorem 8, in logarithms."""
    from scipy.special import log_ndtr

    lost = float(log_ndtr(0.5 / sigma - epsilon * sigma))
    kept = float(epsilon + log_ndtr(-0.5 / sigma - epsilon * sigma))
    return math.exp(lost) * -math.expm1(kept - lost) if kept < lost else 0.0


def _bounded(delta: float) -> float:
    return min(1.0, max(0.0, float(delta)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep dp_accounting from logging each order that did not converge (it leaves it out) and numpy from warning."""
    said = logging.getLogger("absl")
    said.addFilter(_nothing)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        said.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False
