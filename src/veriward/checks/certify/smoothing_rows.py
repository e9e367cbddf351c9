"""Items of work of certify/smoothing: how far training rows would be certified, test rows are, and which of them fall."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.certify.eot import EOT, Soft
from veriward.checks.certify.smoothed import Smoothed
from veriward.checks.certify.votes import prediction, radius
from veriward.core.ball import Ball
from veriward.core.domain import ArrayDomain
from veriward.core.streams import Stream
from veriward.core.threat import Threat

Array = np.ndarray[Any, Any]
REFERENCE = 256  # rows from which the scale of a column's noise is taken where its budget differs from row to row
HOPELESS = -0.1  # a margin of log-probabilities under the attack's own noise: no vote would turn it


def unit(opened: Opened, threat: Threat) -> Tensor:
    """Return the noise of one budget, like one row, float64: each number's radius, its mean where rows differ.

    One scale for all rows: noise that hung on the row would be another model at each point of the ball.
    """
    which = "test" if opened.train is None else "train"
    n = 1 if isinstance(opened.domain, ArrayDomain) else min(REFERENCE, len(opened.split(which)))
    return opened.domain.ball(opened.encoded(which, list(range(n))), threat).radii.double().mean(0)


def needed(ball: Ball, scale: Tensor) -> Array:
    """Return how many standard deviations of `scale` each row's ball reaches, (n,) float64: what must be certified.

    ||(z - x) / scale|| <= max(radii / scale) ||(z - x) / radii||, so a ball of other radii lies in one of this size.
    """
    radii = ball.radii.double()
    ratio = torch.where(radii > 0, radii / scale.to(radii.device).double(), 0.0)
    return np.asarray(ratio.flatten(1).amax(1).cpu().numpy())


@dataclass(frozen=True)
class Certify:
    """Certify rows of a split; an item is (sigma, rows), sigma in budgets. Cohen et al. 2019, CERTIFY and PREDICT."""

    threat: Threat
    stream: Stream
    choose: int  # draws that choose the class
    draws: int  # other draws, that estimate its chance
    alpha: float  # of a false certificate, and of a false prediction
    which: str = "test"

    def __call__(self, opened: Opened, item: tuple[float, Sequence[int]]) -> Mapping[str, Any]:
        """Return per row the class, the share of the budget that is certified, and the prediction (-1: abstains)."""
        sigma, rows = item[0], list(item[1])
        clean, numbers = _rows(opened, self.which, rows)
        model = smoothed(opened, self.threat, sigma, self.stream)
        chosen = model.votes(clean, numbers, self.choose, "choose").argmax(1)
        votes = model.votes(clean, numbers, self.draws, "estimate")
        hits = votes.gather(1, chosen[:, None]).squeeze(1).numpy()
        sure = radius(hits, self.draws, self.alpha)
        reach = needed(opened.domain.ball(clean, self.threat), model.scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(reach > 0, sure / reach, np.where(sure > 0, np.inf, 0.0))
        return {
            "chosen": chosen.numpy(),
            "radius": share.astype(np.float64),
            "predicted": prediction(votes.numpy(), self.alpha / 2),  # the other half is for the attack
        }


@dataclass(frozen=True)
class Tune:
    """Certify training rows with few draws, as if more of them had shown the same; an item is (sigma, rows)."""

    threat: Threat
    stream: Stream
    draws: int
    instead_of: int
    alpha: float

    def __call__(self, opened: Opened, item: tuple[float, Sequence[int]]) -> Mapping[str, Any]:
        """Return how many rows would be certified as what their label says."""
        sigma, rows = item[0], list(item[1])
        clean, numbers = _rows(opened, "train", rows)
        model = smoothed(opened, self.threat, sigma, self.stream)
        y = opened.targets["train"][rows].cpu()
        hits = model.votes(clean, numbers, self.draws, "tune").gather(1, y[:, None]).squeeze(1).numpy()
        sure = radius(np.round(hits * (self.instead_of / self.draws)), self.instead_of, self.alpha)
        return {"certified": int((sure > needed(opened.domain.ball(clean, self.threat), model.scale)).sum())}


@dataclass(frozen=True)
class Attack:
    """Attack the smoothed model; an item is (sigma, rows, examples to keep)."""

    threat: Threat
    stream: Stream
    eot: EOT
    choose: int
    draws: int
    alpha: float

    def __call__(self, opened: Opened, item: tuple[float, Sequence[int], int]) -> Mapping[str, Any]:
        """Return which rows fell, (n,): the smoothed model answers otherwise under fresh noise, beyond chance."""
        sigma, rows, keep = item[0], list(item[1]), item[2]
        clean, numbers = _rows(opened, "test", rows)
        y = opened.targets["test"][rows].to(clean.device)
        model, ball = smoothed(opened, self.threat, sigma, self.stream), opened.domain.ball(clean, self.threat)
        soft = Soft(opened.model.forward, opened.output, model.scale)  # type: ignore[union-attr]  # granted
        found, margin = self.eot.run(soft, ball, y, numbers, self.stream.child("attack"))
        became = self._voted(model, found, numbers, y.cpu(), (margin > HOPELESS).nonzero().squeeze(1))
        broken = (became >= 0) & opened.domain.allowed(found, clean, self.threat).cpu().numpy()
        witnesses = _witnesses(opened, rows, ball, found, became, np.flatnonzero(broken)[:keep])
        return {"broken": broken.astype(np.int8), "witnesses": witnesses}

    def _voted(self, model: Smoothed, found: Tensor, numbers: Tensor, y: Tensor, where: Tensor) -> Array:
        """Return the class that each candidate has beyond chance if it is not y, else -1, (n,)."""
        became = np.full(len(found), -1, np.int64)
        first = model.votes(found[where], numbers[where], self.choose, "turned at all").argmax(1)
        where = where[(first != y[where.cpu()]).to(where.device)]
        told = prediction(model.votes(found[where], numbers[where], self.draws, "turned").numpy(), self.alpha / 2)
        place = where.cpu().numpy()
        became[place] = np.where(told != y.numpy()[place], told, -1)
        return became


def smoothed(opened: Opened, threat: Threat, sigma: float, stream: Stream) -> Smoothed:
    """Return the smoothed model; sigma in budgets of the threat."""
    scale = sigma * unit(opened, threat)
    return Smoothed(lambda z: opened.model.labels(opened.domain.decode(z)), len(opened.classes), scale, stream)  # type: ignore[union-attr]  # a classifier


def _rows(opened: Opened, which: str, rows: list[int]) -> tuple[Tensor, Tensor]:
    clean = opened.encoded(which, rows)
    return clean, torch.as_tensor(opened.split(which).index[rows], device=clean.device)


def _witnesses(
    opened: Opened, rows: Sequence[int], ball: Ball, found: Tensor, became: Array, chosen: Array
) -> list[dict[str, Any]]:
    names, size = [str(name) for name in opened.classes], ball.share(found)
    told = []
    for i in chosen.tolist():
        near, clean = found[i].cpu(), ball.clean[i].cpu()
        details: dict[str, Any] = {"was": names[int(opened.targets["test"][rows[i]])], "became": names[became[i]]}
        details["changed"] = int(((near != clean) & ~(torch.isnan(near) & torch.isnan(clean))).sum())
        if isinstance(opened.domain, ArrayDomain):
            details |= {"clean": clean.numpy(), "adversarial": near.numpy()}
            details["bounds"] = [opened.domain.low, opened.domain.high]
        row = int(opened.test.index[rows[i]])
        told.append(
            {"row": row, "text": opened.domain.describe(near, clean), "size": float(size[i]), "details": details}
        )
    return told
