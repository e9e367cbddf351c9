"""Candidates that break a rule are mended before they are asked about: CAPGD's repair operator, for whole rules.

Simonetto, Ghamizi & Cordy 2024 (arXiv:2406.00775) set the column of an equality to what it must be. Here every
rule is solved for its columns (`core/relations`), and the solution that undoes least of the attack is taken.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from veriward.core.ball import Ball
from veriward.core.blocks import is_one_hot
from veriward.core.relations import Way, ways
from veriward.core.rules import Rule
from veriward.core.table_domain import TableDomain

MOST_NUMBERS = 1 << 22  # of trials judged together
PASSES = 3  # over all rules: mending one may break another
UNDONE = 2.0  # the price of moving a column that the attack has moved; one that it has not moved costs 1


@dataclass(frozen=True, eq=False)
class Repair:
    """Mends rows of a table inside their ball."""

    domain: TableDomain

    @cached_property
    def _ways(self) -> tuple[tuple[Rule, tuple[Way, ...]], ...]:
        """What could mend each rule, as far as the columns may move at all."""
        free = {column.name for column in self.domain.columns if column.movable}
        return tuple(
            (rule, tuple(way for way in ways(rule) if any(part.column in free for part in way)))
            for rule in self.domain.relations
        )

    def __call__(self, z: Tensor, ball: Ball) -> Tensor:
        """Return rows z, (n, columns), that keep the rules wherever a way is found; other rows as they were."""
        for _ in range(PASSES):
            before = z
            for rule, known in self._ways:
                broken = (~self.domain.keeps(rule, z)).nonzero().squeeze(1)
                if len(broken):
                    z = z.index_copy(0, broken, self._mended(z[broken], ball[broken], rule, known))
            if z is before:
                break
        return z

    def _mended(self, z: Tensor, ball: Ball, rule: Rule, known: tuple[Way, ...]) -> Tensor:
        best, least = self._home(z, ball, rule), torch.full((len(z),), torch.inf, dtype=z.dtype, device=z.device)
        at_once = max(1, MOST_NUMBERS // max(z.numel(), 1))
        for i in range(0, len(known), at_once):
            trials = torch.stack([self._applied(way, z, ball, rule) for way in known[i : i + at_once]])
            kept = self.domain.keeps(rule, trials.flatten(0, 1)).view(trials.shape[:2])
            price, first = torch.where(kept, self._price(trials, z, ball), torch.inf).min(0)
            chosen = trials[first, torch.arange(len(z), device=z.device)]
            best, least = torch.where((price < least)[:, None], chosen, best), torch.minimum(price, least)
        return best

    def _applied(self, way: Way, z: Tensor, ball: Ball, rule: Rule) -> Tensor:
        out = z.clone()
        for part in way:
            i = self.domain.place[part.column]
            whole = bool(self.domain.whole[i])
            value = part.apply(self.domain.named_columns(out, rule.columns), ball.clean[:, i], whole=whole)
            value = torch.where(torch.isfinite(value), value, out[:, i])
            out[:, i] = torch.minimum(torch.maximum(value, ball.low[:, i]), ball.high[:, i])
        blocks = (self.domain.columns[self.domain.place[part.column]].block for part in way)
        return self._one_hot(out, z, ball, {block for block in blocks if block is not None})

    def _one_hot(self, out: Tensor, z: Tensor, ball: Ball, touched: Set[str]) -> Tensor:
        """Make blocks one-hot again where a flag was set: the new 1 stays; where none is left, the clean block."""
        for block in sorted(touched):
            places = list(self.domain.blocks[block])
            flags, before = out[:, places], z[:, places]
            wish = flags + (flags > before)
            one = torch.zeros_like(flags).scatter_(1, wish.argmax(1, keepdim=True), 1.0)
            some = (flags == 1).any(1, keepdim=True)
            fixed = torch.where(some, one, ball.clean[:, places])
            out[:, places] = torch.where(is_one_hot(flags)[:, None], flags, fixed)
        return out

    def _price(self, trial: Tensor, z: Tensor, ball: Ball) -> Tensor:
        """Return what ways cost, (ways, n): columns that the attack has moved are dear, and long ways a little dearer."""
        moved = trial != z
        undone = moved & (z != ball.clean)
        width = (ball.high - ball.low).clamp(min=1e-300)
        far = ((trial - z).abs() / width).clamp(max=1.0).nan_to_num(0.0)
        return (moved + (UNDONE - 1) * undone + 0.1 * far).sum(2)

    def _home(self, z: Tensor, ball: Ball, rule: Rule) -> Tensor:
        """Return rows whose columns of the rule, and their blocks, are the clean ones."""
        mask = torch.zeros(z.shape[1], dtype=torch.bool, device=z.device)
        mask[[self.domain.place[name] for name in rule.columns]] = True
        for places in map(list, self.domain.blocks.values()):
            mask[places] = mask[places].any()
        return torch.where(mask, ball.clean, z)
