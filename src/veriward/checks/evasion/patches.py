"""Patches on pictures: what a patch may be, and how its place and content are sought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from veriward.adapters.opened import Opened
from veriward.checks.contract import Control
from veriward.checks.evasion.attack import Attack, Reads
from veriward.checks.evasion.chase import Chase
from veriward.checks.evasion.rows import AttackRows
from veriward.core.ball import Ball
from veriward.core.domain import ArrayDomain, inward
from veriward.core.streams import Stream
from veriward.core.subject import Access, Subject
from veriward.core.threat import Threat

CHANNELS = (1, 3, 4)  # grey, colour, colour and transparency: tells pictures with the channels last
MOST_TILES = 64  # plain patches of each shade that show where a picture is weak
JUMPS = 4  # steps between two tries of another place


@dataclass(frozen=True)
class PatchDomain(ArrayDomain):
    """Pictures of which one upright square may be anything within the bounds."""

    def ball(self, clean: Tensor, threat: Threat) -> Ball:
        """Return the whole box of the bounds: which part of it a row may use is `allowed`'s to say."""
        radii = torch.full_like(clean, self.high - self.low)
        if self.mask is not None:
            radii = radii * (self.mask.to(clean.device) > 0)
        ends = (torch.full_like(clean, end, dtype=torch.float64) for end in (self.low, self.high))
        low, high = inward(next(ends), next(ends), clean.dtype)
        still = (radii == 0) | (clean < low) | (clean > high)
        return Ball(clean, torch.where(still, clean, low), torch.where(still, clean, high), radii, "linf")

    def allowed(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return whether all that changed lies in one patch and within the bounds, (n,)."""
        ball = self.ball(clean, threat)
        inside = ((z >= ball.low) & (z <= ball.high)).flatten(1).all(1)
        across, down = (extent((z != clean), axis) for axis in axes(clean.shape[1:]))
        tall, wide = patch_size(clean.shape[1:], float(threat.knobs["area"]))
        return inside & (across <= tall) & (down <= wide)

    def distance(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return the largest change in widths of the bounds, (n,) float64."""
        return self.ball(clean, threat).share(z)


def axes(shape: Sequence[int]) -> tuple[int, int]:
    """Return which axes of a row are height and width: the last two, or the first two before channels.

    >>> axes((3, 32, 32)), axes((28, 28)), axes((32, 32, 3))
    ((1, 2), (0, 1), (0, 1))
    """
    if len(shape) == 2 or (shape[2] in CHANNELS and shape[0] not in CHANNELS):
        return 0, 1
    return 1, 2


def patch_size(shape: Sequence[int], area: float) -> tuple[int, int]:
    """Return height and width of the largest square patch within a share of the picture; (0, 0) if not one pixel fits.

    >>> patch_size((1, 28, 28), 0.05)
    (6, 6)
    """
    height, width = (shape[axis] for axis in axes(shape))
    side = int((area * height * width + 1e-9) ** 0.5)
    tall, wide = min(side, height), min(side, width)
    return (tall, wide) if tall and wide else (0, 0)


def extent(changed: Tensor, axis: int) -> Tensor:
    """Return over how many places along an axis of the rows anything changed, from first to last, (n,)."""
    others = [number for number in range(1, changed.ndim) if number != axis + 1]
    lines = changed.any(dim=others) if others else changed
    places = torch.arange(lines.shape[1], device=changed.device)
    last = torch.where(lines, places, -1).amax(1)
    first = torch.where(lines, places, lines.shape[1]).amin(1)
    return (last - first + 1).clamp(min=0)


@dataclass(frozen=True)
class _Frame:
    """The size of pictures and of the patch on them."""

    shape: tuple[int, ...]
    tall: int
    wide: int

    @classmethod
    def of(cls, chase: Chase) -> "_Frame":
        shape = tuple(chase.clean.shape[1:])
        return cls(shape, *patch_size(shape, float(chase.threat.knobs["area"])))

    @property
    def room(self) -> tuple[int, int]:
        """How many places there are downwards and across."""
        down, across = axes(self.shape)
        return self.shape[down] - self.tall + 1, self.shape[across] - self.wide + 1

    def places(self, stream: Stream, rows: Tensor, step: int) -> Tensor:
        """Return random places, (n, 2): top and left."""
        part = stream.uniform(rows, (2,), step)
        return (part * torch.tensor(self.room, device=part.device)).long()

    def tiles(self, most: int) -> Tensor:
        """Return places that cover the picture, (k, 2), evenly thinned to `most`."""
        sizes = (self.tall, self.wide)
        down, across = (sorted({*range(0, room, size), room - 1}) for room, size in zip(self.room, sizes, strict=True))
        places = torch.cartesian_prod(torch.tensor(down), torch.tensor(across))
        return places[torch.linspace(0, len(places) - 1, min(len(places), max(most, 1))).long()]

    def mask(self, place: Tensor, tall: int | None = None, wide: int | None = None) -> Tensor:
        """Return where the patches at those places lie, (n, ...) of booleans."""
        inside = torch.ones((len(place), *[1] * len(self.shape)), dtype=torch.bool, device=place.device)
        sizes = (tall or self.tall, wide or self.wide)
        for axis, start, size in zip(axes(self.shape), place.unbind(1), sizes, strict=True):
            view = [1] * len(self.shape)
            view[axis] = self.shape[axis]
            along = torch.arange(self.shape[axis], device=place.device).view(1, *view)
            first = start.view(-1, *[1] * len(self.shape))
            inside = inside & (along >= first) & (along < first + size)
        return inside.expand(-1, *self.shape)

    def steepest(self, gradient: Tensor, rank: int) -> Tensor:
        """Return the place whose patch holds most of the gradient; further ranks keep clear of it by a patch."""
        down, across = axes(self.shape)
        others = [axis + 1 for axis in range(len(self.shape)) if axis not in (down, across)]
        heat = gradient.double().abs().nan_to_num(0.0).sum(others) if others else gradient.double().abs()
        sums = nn.functional.avg_pool2d(heat[:, None], (self.tall, self.wide), 1)[:, 0]
        for _ in range(rank):
            place = self._highest(sums)
            far = [
                (torch.arange(n, device=heat.device) - p[:, None]).abs()
                for n, p in zip(self.room, place.T, strict=True)
            ]
            near = (far[0] < self.tall)[:, :, None] & (far[1] < self.wide)[:, None, :]
            sums = torch.where(near, -1.0, sums)
        return self._highest(sums)

    def _highest(self, sums: Tensor) -> Tensor:
        first = sums.flatten(1).argmax(1)
        return torch.stack([first // sums.shape[2], first % sums.shape[2]], dim=1)


def _look(chase: Chase, frame: _Frame) -> Tensor:
    """Put dark and bright patches all over the picture; return the margins of each, (all rows, 2k), in the tiles' order."""
    tiles, where = frame.tiles(MOST_TILES), chase.active
    margins = torch.full((len(chase.clean), 2 * len(tiles)), -torch.inf, dtype=torch.float64, device=where.device)
    for number in range(2 * len(tiles)):
        if not len(where):
            break
        ball = chase.ball(where)
        inside = frame.mask(tiles[number // 2].expand(len(where), 2))
        candidate = torch.where(inside, ball.high if number % 2 else ball.low, ball.clean)
        answer = chase.ask(candidate, where)
        margins[where, number] = answer.margin.double()
        where = where[~chase.observe(where, candidate, answer)]
    return margins


@dataclass(frozen=True)
class PatchAscent:
    """Sign ascent inside a patch that starts where plain patches harm most, or gradients are largest, and may drift."""

    name: ClassVar[str] = "patch_ascent"
    reads: ClassVar[Reads] = "gradients"

    steps: int = 40
    restarts: int = 4

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        frame = _Frame.of(chase)
        margins = _look(chase, frame) if frame.tall and self.restarts and len(chase.active) else None
        for restart in range(self.restarts if margins is not None else 0):
            where = chase.active
            if len(where):
                assert margins is not None
                self._ascend(chase, frame, where, margins[where], restart, stream.child(str(restart)))

    def _begin(
        self, chase: Chase, frame: _Frame, where: Tensor, margins: Tensor, restart: int, stream: Stream
    ) -> tuple[Tensor, Tensor]:
        """Return places and contents: the best of the plain patches, or, every other time, the steepest place and noise."""
        ball = chase.ball(where)
        if restart % 2:
            place = frame.steepest(chase.slope(ball.clean, where)[1], restart // 2)
            return place, ball.draw(stream.child("content").normal(chase.rows[where], frame.shape).to(ball.clean.dtype))
        order = margins.argsort(dim=1, descending=True, stable=True)
        best = order[:, min(restart // 2, order.shape[1] - 1)]
        bright = (best % 2 == 1).view(-1, *[1] * len(frame.shape))
        return frame.tiles(MOST_TILES)[best // 2], torch.where(bright, ball.high, ball.low)

    def _ascend(
        self, chase: Chase, frame: _Frame, where: Tensor, margins: Tensor, restart: int, stream: Stream
    ) -> None:
        ball = chase.ball(where)
        aim = chase.goal[where].aim(chase.raw(ball.clean), restart // 2) if restart > 1 else None
        place, filled = self._begin(chase, frame, where, margins, restart, stream)
        for step in range(self.steps + 1):
            if step and step % JUMPS == 0:
                place = self._moved(chase, frame, where, place, filled, step, stream)
            inside = frame.mask(place)
            candidate = torch.where(inside, ball.project(filled), ball.clean)
            answer, gradient = chase.slope(candidate, where, "margin", aim)
            keep = ~chase.observe(where, candidate, answer)
            if step == self.steps or not bool(keep.any()):
                return
            filled = torch.where(inside, ball.clamp(ball.step(filled, gradient, 1 - step / self.steps)), filled)
            where, ball, place, filled = where[keep], ball[keep], place[keep], filled[keep]
            aim = aim[keep] if aim is not None else None

    def _moved(
        self, chase: Chase, frame: _Frame, where: Tensor, place: Tensor, filled: Tensor, step: int, stream: Stream
    ) -> Tensor:
        """Return the better of the place and a random neighbour: the content stays, the window moves."""
        ball, reach = chase.ball(where), torch.tensor([frame.tall, frame.wide], device=place.device)
        drift = (stream.child("drift").uniform(chase.rows[where], (2,), step) * 2 - 1) * reach
        most = torch.tensor(frame.room, device=place.device) - 1
        other = torch.minimum((place + drift.round().long()).clamp(min=0), most)
        margins = []
        for spot in (place, other):
            candidate = torch.where(frame.mask(spot), ball.project(filled), ball.clean)
            margins.append(chase.ask(candidate, where).margin)
        return torch.where((margins[1] > margins[0])[:, None], other, place)


@dataclass(frozen=True)
class PatchSearch:
    """Random search after a look all over: the patch moves, or a square of it goes to the ends; what does no harm stays."""

    name: ClassVar[str] = "patch_search"
    reads: ClassVar[Reads] = "scores"

    queries: int = 300

    def run(self, chase: Chase, stream: Stream) -> None:
        """Attack the active rows; successes are noted in the chase."""
        frame, where = _Frame.of(chase), chase.active
        if not frame.tall or not len(where):
            return
        rows, ball, tiles = chase.rows[where], chase.ball(where), frame.tiles(self.queries // 4)
        place, filled = tiles[0].expand(len(rows), 2), ball.low
        best = torch.full((len(where),), -torch.inf, dtype=torch.float64, device=where.device)
        for query in range(self.queries):
            if query < 2 * len(tiles):  # dark and bright, all over the picture
                spot, content = tiles[query // 2].expand(len(rows), 2), ball.high if query % 2 else ball.low
            else:
                spot, content = self._tried(frame, ball, rows, place, filled, query, stream)
            candidate = torch.where(frame.mask(spot), content, ball.clean)
            answer = chase.ask(candidate, where)
            keep, better = ~chase.observe(where, candidate, answer), answer.margin.double() >= best
            place = torch.where(better[:, None], spot, place)
            filled = torch.where(better.view(-1, *[1] * len(frame.shape)), content, filled)
            best = torch.maximum(best, answer.margin.double())
            if not bool(keep.all()):
                where, rows, ball, best = where[keep], rows[keep], ball[keep], best[keep]
                place, filled = place[keep], filled[keep]
            if not len(where):
                return

    def _tried(
        self, frame: _Frame, ball: Ball, rows: Tensor, place: Tensor, filled: Tensor, query: int, stream: Stream
    ) -> tuple[Tensor, Tensor]:
        """Return a place and a content to try: every other row's turn moves the patch, less and less often."""
        share = 1 - query / self.queries
        roams = stream.child("kind").uniform(rows, (), query) < 0.5 * share
        spot = torch.where(roams[:, None], frame.places(stream.child("place"), rows, query), place)
        side = max(1, round(min(frame.tall, frame.wide) * share / 2))
        low = torch.tensor([frame.tall - side + 1, frame.wide - side + 1], device=place.device)
        corner = spot + (stream.child("corner").uniform(rows, (2,), query) * low).long()
        changes = frame.mask(corner, side, side) & ~roams.view(-1, *[1] * len(frame.shape))
        return spot, torch.where(changes, _ends(ball, stream.child("ends"), rows, query), filled)


def _ends(ball: Ball, stream: Stream, rows: Tensor, step: int) -> Tensor:
    """Return one end of the bounds per channel, the same all over a row, (n, ...)."""
    shape = ball.clean.shape[1:]
    lying = axes(shape)
    sizes = [1 if axis in lying else size for axis, size in enumerate(shape)]
    return torch.where(stream.uniform(rows, sizes, step) < 0.5, ball.low, ball.high)


@dataclass(frozen=True)
class PatchRows:
    """Attack a block of pictures; the domain is that of the patch."""

    threat: Threat
    stream: Stream
    attacks: tuple[Attack, ...]

    def __call__(self, opened: Opened, item: tuple[Sequence[int], int]) -> Mapping[str, Any]:
        """Return what attacks on balls return."""
        return AttackRows(self.threat, self.stream, self.attacks)(patched(opened), item)


def patched(opened: Opened) -> Opened:
    """Return the same subject with patches as what an attacker may do."""
    domain = opened.domain
    assert isinstance(domain, ArrayDomain)
    return replace(opened, domain=PatchDomain(domain.low, domain.high, domain.dtype, domain.mask, domain.mask_hash))


class _Corner(nn.Module):
    """Decides by the first pixel alone: class 1 where it is bright."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, :1]
        return torch.cat([0.5 - first, first - 0.5], dim=1)


class _CornerScores:
    """The same model, of which only the scores can be had."""

    def __call__(self, x: object) -> Tensor:
        """Return (n, 2) logits."""
        first = torch.as_tensor(x).float().flatten(1)[:, :1]
        return torch.cat([0.5 - first, first - 0.5], dim=1)


def patch_controls(access: Access) -> tuple[Control, ...]:
    """Return pictures decided by one corner, all of which a patch turns, and the same ones without a patch."""
    path = "white box" if access == "gradients" else "black box"
    pictures = Stream.of(0, "patch control").uniform(torch.arange(60), (1, 8, 8))
    model = _Corner() if access == "gradients" else _CornerScores()
    subject = Subject.model_validate(
        {
            "name": "corner",
            "task": "classification",
            "model": {"live": model, "output": "logits"},
            "data": {"test": (pictures.numpy(), (pictures.flatten(1)[:, 0] > 0.5).long().numpy())},
            "input": {"kind": "image", "bounds": (0.0, 1.0)},
        }
    )
    reach: Access = "gradients" if access == "gradients" else "scores"
    found = []
    for name, area, truth in (("corner", 0.15, (0.0, 0.05)), ("no patch", 0.0, (1.0, 1.0))):
        threat = Threat("misclassify", reach, {"norm": "patch", "area": area}, {"area": "share of the picture"})
        found.append(Control(f"{name}, {path}", subject, threat, {"robust_accuracy": truth}))
    return tuple(found)
