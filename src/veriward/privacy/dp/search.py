"""Hyper-parameter search that accounts for itself: *all* trainings and the choice, or random stopping, or public data.

Training many times on private data and keeping the best costs more than the best's own training: what is kept tells of all
(Papernot & Steinke, 2022, arXiv:2110.03620, section 3). A plan is made before anything is trained; it holds the noise with
which every candidate is trained, and one event that covers the whole search.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from veriward.core.errors import DataError, SettingsError
from veriward.privacy.dp import events
from veriward.privacy.dp.accounting import training
from veriward.privacy.dp.bounds import check_count, check_delta, check_positive
from veriward.privacy.dp.calibrate import smallest
from veriward.privacy.dp.discrete import NORMAL_DISTANCE, NORMAL_LIMIT, below, rounded_normal
from veriward.privacy.dp.event_json import to_dict
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.noise import Source
from veriward.privacy.dp.relation import Relation
from veriward.privacy.dp.released import power_of_two_below, slack
from veriward.privacy.dp.selection import ReportNoisyMax
from veriward.privacy.dp.stopping import STOPPING_DISTANCE, law, trainings

if TYPE_CHECKING:
    from veriward.privacy.dp.ledger import Ledger

Candidate = TypeVar("Candidate")
Model = TypeVar("Model")
KINDS = ("all", "random", "public")
SELECTION_SHARE = 0.1  # of epsilon, for the choice among all
MUCH_NOISE = 1e6  # a training with this multiplier costs next to nothing
SCORE_ROWS = 20.0  # standard deviation of a private score under random stopping, times epsilon


@dataclass(frozen=True)
class Trainings:
    """What every candidate is trained with, as `accounting.training` takes it; the noise is what a plan finds."""

    steps: int
    sampling_rate: float = 1.0
    sampling: str = "poisson"
    group: int = 1

    def event(self, noise_multiplier: float) -> Event:
        """Return the event of one training."""
        return training(noise_multiplier=noise_multiplier, **asdict(self))


@dataclass(frozen=True)
class SearchPlan:
    """How a search accounts for itself; every field is public.

    kind: "all" (each candidate is trained once; private choice), "random" (as often as a law says, a random candidate each
    time, private scores) or "public" (each once; the choice reads public data). `epsilon` is what the search costs at
    `delta`, all in; `noise_multiplier` is that of each training. `selection_epsilon`: of the choice among all, by
    report-noisy-max. `score_noise`: standard deviation of the noise on each score, in rows. `mean`, `shape`: of the law.
    """

    kind: str
    epsilon: float
    delta: float
    candidates: int
    noise_multiplier: float
    trainings: Trainings
    selection_epsilon: float | None = None
    score_noise: float | None = None
    mean: float | None = None
    shape: float | None = None

    @property
    def event(self) -> Event:
        """What the whole search costs."""
        return _event(self, self.noise_multiplier)

    @property
    def accountant(self) -> str:
        """The accountant that the plan's epsilon is from."""
        return "rdp" if self.kind == "random" or self.trainings.sampling == "fixed" else "pld"

    @property
    def distance(self) -> float:
        """The total variation distance of the choice's draws from their laws; paid out of delta."""
        if self.kind == "all":
            return _chooser(self).distance
        # distances of a random number of scores add up to that of their mean number
        return STOPPING_DISTANCE + (self.mean or 0) * NORMAL_DISTANCE if self.kind == "random" else 0.0

    def plain(self) -> dict[str, Any]:
        """Return the plan as plain data for JSON, its event included."""
        fields = {key: "inf" if value == math.inf else value for key, value in asdict(self).items()}
        return {**fields, "event": to_dict(self.event), "accountant": self.accountant}


@dataclass(frozen=True)
class Tried:
    """For the data holder only: which candidates were trained, and their scores. How many, too: see `search`."""

    candidates: tuple[int, ...]
    scores: tuple[float, ...]

    def __repr__(self) -> str:
        return "Tried(for the data holder only)"


@dataclass(frozen=True, repr=False)
class Found(Generic[Model]):
    """What a search returns. `best`: the number of the candidate chosen, `model` its training; both may be published.

    Both are None where a Poisson law said 0 trainings. `source`: "cryptographic"; "simulation" protects nothing.
    """

    best: int | None
    model: Model | None
    plan: SearchPlan
    source: str
    holder: Tried

    @property
    def event(self) -> Event:
        """What was spent."""
        return self.plan.event

    def plain(self) -> dict[str, Any]:
        """Return the public part as plain data for JSON: the plan, the choice, the source."""
        return {"plan": self.plan.plain(), "best": self.best, "source": self.source}

    def __repr__(self) -> str:
        kind = "Found" if self.source == "cryptographic" else f"NotPrivate({self.source})"
        return (
            f"{kind}(best={self.best}, {self.plan.kind}, epsilon={self.plan.epsilon:.6g}, delta={self.plan.delta:.3g})"
        )


def plan_all(
    epsilon: float, delta: float, candidates: int, trainings: Trainings, *, selection_epsilon: float | None = None
) -> SearchPlan:
    """Return a plan that pays for every candidate's training and for a private choice, at most epsilon at delta.

    The choice is report-noisy-max on counts of validation rows, a tenth of epsilon unless given. Validation rows are taken
    to be private, and to cost on top of the trainings also where they are others. Raises SettingsError for values out of
    range and where no noise suffices.

    >>> plan = plan_all(3.0, 1e-5, 4, Trainings(steps=100, sampling_rate=0.01))
    >>> round(plan.selection_epsilon, 6), 2.99 < plan.epsilon <= 3.0
    (0.3, True)
    """
    share = SELECTION_SHARE * epsilon if selection_epsilon is None else selection_epsilon
    if not 0 < share < check_positive("epsilon", epsilon):
        raise SettingsError(f"selection_epsilon = {share}: want more than 0 and less than epsilon = {epsilon}")
    draft = SearchPlan("all", epsilon, delta, candidates, 1.0, trainings, selection_epsilon=share)
    return _calibrated(draft)


def plan_random(
    epsilon: float,
    delta: float,
    candidates: int,
    trainings: Trainings,
    *,
    mean: float,
    shape: float = 1.0,
    score_noise: float | None = None,
) -> SearchPlan:
    """Return a plan of random stopping: `mean` trainings on average, each of a candidate drawn uniformly, the best kept.

    shape: inf Poisson, 1 geometric, 0 logarithmic, else truncated negative binomial (Papernot & Steinke, 2022, theorems 2
    and 6). Each score, a count of private validation rows, gets Gaussian noise of `score_noise` rows, 20 / epsilon unless
    given. The cost grows with the logarithm of the mean, so this is for many candidates. Raises as `plan_all` does.

    >>> plan = plan_random(3.0, 1e-5, 50, Trainings(steps=100, sampling_rate=0.01), mean=20)
    >>> plan.accountant, 2.99 < plan.epsilon <= 3.0
    ('rdp', True)
    """
    law(mean, shape)  # refused here if it cannot be drawn
    noise = SCORE_ROWS / check_positive("epsilon", epsilon) if score_noise is None else score_noise
    _check_score_noise(noise)
    draft = SearchPlan(
        "random", epsilon, delta, candidates, 1.0, trainings, score_noise=noise, mean=float(mean), shape=float(shape)
    )
    return _calibrated(draft)


def plan_public(epsilon: float, delta: float, candidates: int, trainings: Trainings) -> SearchPlan:
    """Return a plan whose choice reads public data alone, so that the trainings are all it costs. Raises as `plan_all`.

    The candidates are still trained on private data: all of them count, since the choice reads all of them.

    >>> 2.99 < plan_public(3.0, 1e-5, 4, Trainings(steps=100, sampling_rate=0.01)).epsilon <= 3.0
    True
    """
    return _calibrated(SearchPlan("public", epsilon, delta, candidates, 1.0, trainings))


def _calibrated(draft: SearchPlan) -> SearchPlan:
    """Return the draft with the smallest noise that keeps its epsilon, and the epsilon that it has then."""
    from veriward.privacy.dp.accountants import epsilon_at

    target = check_positive("epsilon", draft.epsilon)
    check_count("candidates", draft.candidates)
    left = check_delta(draft.delta) - slack(target, draft.distance)
    if left <= 0:
        raise SettingsError(f"delta = {draft.delta}: the choice's distance from its law costs more; want a larger one")

    def spent(sigma: float, coarse: int = 1) -> float:
        return epsilon_at(_event(draft, sigma), left, draft.accountant, coarse=coarse)

    if draft.kind == "random" and spent(MUCH_NOISE) > target:
        raise SettingsError(
            f"epsilon = {target}: {draft.mean:g} scores alone cost {spent(MUCH_NOISE):.4g}; want more score_noise, a "
            "smaller mean or more epsilon"
        )
    sigma = smallest(target, rough=lambda s: spent(s, 8), exact=spent)
    return replace(draft, noise_multiplier=sigma, epsilon=spent(sigma))


def _event(plan: SearchPlan, sigma: float) -> Event:
    once = plan.trainings.event(sigma)
    if plan.kind == "random":
        score = events.full_batch(float(plan.score_noise or 0), 1, group=plan.trainings.group)
        both = events.compose([once, _under(once, score)])
        return events.random_stopping(both, mean=float(plan.mean or 0), shape=float(plan.shape or 0))
    choice = _under(once, _choice(plan)) if plan.kind == "all" else None
    return events.search([once.times(plan.candidates)], choice)


def _choice(plan: SearchPlan) -> Event:
    """Return report-noisy-max as what dominates every epsilon-private choice: discrete Laplace noise on one bit."""
    from dp_accounting.dp_event import DiscreteLaplaceDpEvent

    return Event(DiscreteLaplaceDpEvent(_chooser(plan).epsilon, 1), tuple(Relation), "release")


def _under(once: Event, score: Event) -> Event:
    """Return the event of counts of validation rows under the training's relation and unit.

    A row that is added, removed or zeroed moves a count by at most one, and so does one that is replaced: it is right or
    wrong. A group moves it by its size, which the noise has been divided by.
    """
    return replace(score, relations=once.relations, unit=once.unit)


def _chooser(plan: SearchPlan) -> ReportNoisyMax:
    return ReportNoisyMax(float(plan.trainings.group), float(plan.selection_epsilon or 0), plan.candidates)


def search(
    plan: SearchPlan,
    candidates: Sequence[Candidate],
    train: Callable[[Candidate, float], Model],
    score: Callable[[Model], float],
    source: Source,
    *,
    ledger: "Ledger | None" = None,
    what: str = "search",
) -> Found[Model]:
    """Run a planned search. train(candidate, noise_multiplier) -> model; score(model) -> how many validation rows are right.

    `train` has to train as the plan's `trainings` say, with noise of its own each time and without charging the ledger:
    the whole search is charged here, before the first training. For "public", `score` reads public data and may return any
    number. Under "random" the number of trainings must stay secret: it is in `holder` alone, and whoever can time the
    search or watch its progress learns it. Raises BudgetExceeded before anything is trained; SettingsError for another
    number of candidates.

    >>> from veriward.privacy.dp.noise import SecureSource
    >>> plan = plan_all(3.0, 1e-5, 3, Trainings(steps=1))
    >>> found = search(plan, ["a", "b", "c"], lambda name, sigma: name, lambda model: 999 * (model == "b"), SecureSource())
    >>> found.model
    'b'
    """
    if len(candidates) != plan.candidates:
        raise SettingsError(f"candidates: {len(candidates)} came; want {plan.candidates}, as the plan was made for")
    if ledger:
        ledger.charge(plan.event, what, distance=plan.distance)
    order = _order(plan, source)
    models, scores = [], []
    for number in order:
        models.append(train(candidates[number], plan.noise_multiplier))
        scores.append(_finite(score(models[-1])))
    place = _choose(plan, scores, source)
    best, model = (None, None) if place is None else (order[place], models[place])
    return Found(best, model, plan, source.name, Tried(tuple(order), tuple(scores)))


def _order(plan: SearchPlan, source: Source) -> list[int]:
    """Return the numbers of the candidates to train, one after the other."""
    if plan.kind != "random":
        return list(range(plan.candidates))
    count = trainings(float(plan.mean or 1), float(1 if plan.shape is None else plan.shape), source)
    return [int(number) for number in below(plan.candidates, count, source)]


def _choose(plan: SearchPlan, scores: list[float], source: Source) -> int | None:
    """Return the place of the score to keep, None if there is none."""
    if not scores:
        return None
    if plan.kind == "all":
        return int(_chooser(plan).release(_counts(scores), source).value)
    if plan.kind == "random":
        return int(_noisy(_counts(scores), float(plan.score_noise or 0), source).argmax())
    return int(np.argmax(scores))


def _noisy(counts: list[int], sigma: float, source: Source) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return counts plus Gaussian noise, in steps of a grid that counts lie on."""
    per_row = int(1 / min(1.0, 2 * power_of_two_below(sigma) / NORMAL_LIMIT))
    noise = rounded_normal(math.ceil(sigma * per_row), len(counts), source)
    return np.array(counts, np.int64) * per_row + noise


def _counts(scores: list[float]) -> list[int]:
    if any(score != int(score) or score < 0 for score in scores):
        raise DataError(
            "score: a private score is a count of validation rows, whole and not below 0; scale no shares up"
        )
    return [int(score) for score in scores]


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise DataError("score: is no finite number; want a count of validation rows, 0 for a model that failed")
    return float(score)


def _check_score_noise(noise: float) -> None:
    if not 2.0**-10 <= check_positive("score_noise", noise) <= 2.0**19:
        raise SettingsError(f"score_noise = {noise}: want from 2^-10 to 2^19 rows, usually 5 to 50")
