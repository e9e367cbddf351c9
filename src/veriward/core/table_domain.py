"""Tables: columns with types, ranges and budgets of their own. Categories become codes, texts stay what they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from veriward.core.ball import Ball
from veriward.core.blocks import chosen, inferred_blocks, is_one_hot, stated_blocks
from veriward.core.data import Table, take
from veriward.core.domain import inward
from veriward.core.errors import DataError, some
from veriward.core.note import Note, note
from veriward.core.relations import violation
from veriward.core.rules import Rule
from veriward.core.sources import Array
from veriward.core.subject import Feature, Subject
from veriward.core.threat import Threat

ColumnKind = Literal["numeric", "integer", "category", "boolean", "text"]
MOST_CATEGORIES = 64
DEFAULT_SHARE = 0.05  # of the training range, where a numeric column says nothing
NUMBERS = ("numeric", "integer")


@dataclass(frozen=True)
class Column:
    """One column: what it holds and what an attacker may do to it. Ranges and budgets in raw units."""

    name: str
    kind: ColumnKind
    low: float
    high: float
    span: float = 0.0  # the width of the training range
    mutable: bool = True
    change: str | None = None
    eps: float | None = None
    vocabulary: tuple[Any, ...] = ()
    private: bool = False
    dtype: str = "float64"
    block: str | None = None  # of one-hot columns

    @property
    def movable(self) -> bool:
        """Whether any threat may move it."""
        return self.mutable and (self.kind in NUMBERS or (self.kind != "text" and self.change == "any"))

    def radius(self, clean: Tensor, eps: float | None) -> Tensor:
        """Return how far the attacker may move each value: `change`, else `eps`, else 5 % of the training range."""
        if not self.movable:
            return torch.zeros_like(clean)
        if self.change == "any":
            return torch.full_like(clean, self.high - self.low)
        if self.change is not None:
            amount = float(self.change.removesuffix("%"))
            return clean.abs() * (amount / 100) if self.change.endswith("%") else torch.full_like(clean, amount)
        budget = self.eps if self.eps is not None else eps
        return torch.full_like(clean, DEFAULT_SHARE * self.span if budget is None else budget)


@dataclass(frozen=True)
class TableDomain:
    """The columns in their order, and the rules that every real row keeps. `named`: the model takes named columns."""

    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    named: bool = True

    @cached_property
    def whole(self) -> Tensor:
        """Which columns hold whole numbers or codes, (columns,)."""
        return torch.tensor([c.kind != "numeric" for c in self.columns])

    @cached_property
    def movable(self) -> Tensor:
        """Which columns an attacker may move, (columns,)."""
        return torch.tensor([c.movable for c in self.columns])

    @cached_property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        """The columns of each one-hot block."""
        names = dict.fromkeys(c.block for c in self.columns if c.block is not None)
        return {name: tuple(i for i, c in enumerate(self.columns) if c.block == name) for name in names}

    @cached_property
    def units(self) -> tuple[tuple[int, ...], ...]:
        """What moves as one: the movable columns, those of a one-hot block together."""
        alone = tuple((i,) for i, c in enumerate(self.columns) if c.movable and c.block is None)
        return alone + tuple(places for places in self.blocks.values() if any(self.columns[i].movable for i in places))

    @cached_property
    def relations(self) -> tuple[Rule, ...]:
        """The rules on encoded columns."""
        return tuple(rule.bound(self._codes) for rule in self.rules)

    @cached_property
    def _codes(self) -> dict[str, dict[Any, int]]:
        return {c.name: {v: i for i, v in enumerate(c.vocabulary)} for c in self.columns if c.vocabulary}

    def encode(self, x: Any, rows: Any = None) -> Tensor:
        """Return (n, columns) float64; missing numbers stay NaN."""
        chosen = x if rows is None else take(x, rows)
        if not isinstance(chosen, Table):
            return torch.as_tensor(np.array(chosen, dtype=np.float64))
        return torch.as_tensor(np.column_stack([self._encoded(c, chosen.columns[c.name]) for c in self.columns]))

    def _encoded(self, column: Column, values: Array) -> Array:
        codes = self._codes.get(column.name)
        if codes is None:
            return values.astype(np.float64)
        return np.array([codes[v] for v in values.tolist()], dtype=np.float64)

    def decode(self, z: Tensor) -> Any:
        """Return a Table with the columns' own types, or the matrix itself where the model takes one."""
        if not self.named:
            return z
        array = z.numpy()
        return Table({c.name: _decoded(c, array[:, i]) for i, c in enumerate(self.columns)})

    def _ranges(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ends of each value's range; a clean value beyond them may stay, or come nearer."""
        low, high = (clean.new_tensor([getattr(c, end) for c in self.columns]) for end in ("low", "high"))
        return torch.minimum(clean, low), torch.maximum(clean, high)

    def _radii(self, clean: Tensor, threat: Threat) -> Tensor:
        eps, norm = threat.knobs.get("eps"), threat.knobs.get("norm", "linf")
        radii = torch.stack([c.radius(clean[:, i], eps) for i, c in enumerate(self.columns)], dim=1)
        if norm == "linf" or not self.blocks:
            return radii
        # a category that moves in a block moves two columns, which together spend the whole budget
        pair = 2.0 if norm == "l1" else 2.0**0.5
        return torch.where(
            torch.tensor([c.block is not None for c in self.columns], device=clean.device), pair * radii, radii
        )

    @cached_property
    def jump(self) -> Tensor:
        """Which columns have no distances, (columns,): any change of them costs the whole budget under L2 and L1."""
        return torch.tensor([c.kind not in NUMBERS and c.block is None for c in self.columns])

    def ball(self, clean: Tensor, threat: Threat) -> Ball:
        """Return each row's budgets inside the ranges. Under L2 and L1 the shares of the budgets add up."""
        radii = self._radii(clean, threat).nan_to_num(0.0)
        floor, ceiling = self._ranges(clean)
        low, high = inward(torch.maximum(clean - radii, floor), torch.minimum(clean + radii, ceiling), clean.dtype)
        slack = 1e-9  # a budget of "10 %" of 50 is 5 in decimal, and 4.999... in binary
        whole, movable = self.whole.to(clean.device), self.movable.to(clean.device)
        whole_low, whole_high = torch.ceil(low - slack), torch.floor(high + slack)
        low, high = torch.where(whole, whole_low, low), torch.where(whole, whole_high, high)
        stays = ~movable | torch.isnan(clean) | (whole & (low > high))
        ends = (torch.where(stays, clean, low), torch.where(stays, clean, high))
        return Ball(clean, *ends, radii, threat.knobs.get("norm", "linf"), whole, self.jump)

    def project(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Clamp into the ball, whole numbers made whole, one 1 in each one-hot block."""
        return self.settle(z, self.ball(clean, threat))

    def settle(self, z: Tensor, ball: Ball) -> Tensor:
        """Return the row of a ball that z stands for: whole numbers made whole, one 1 in each one-hot block."""
        near = ball.project(z)
        if ball.norm != "linf" and bool(self.jump.any()):
            near = self._single_jumps(near, z, ball)
        return chosen(near, z, ball, self.blocks) if self.blocks else near

    def _single_jumps(self, near: Tensor, z: Tensor, ball: Ball) -> Tensor:
        """Under L2 and L1 a category moves only alone and whole: there is no way between two codes."""
        code, jump = torch.minimum(torch.maximum(torch.round(z), ball.low), ball.high), self.jump.to(z.device)
        moved = jump & (code != ball.clean) & ~torch.isnan(ball.clean)
        single = (moved.sum(1) == 1) & (moved | (z == ball.clean) | torch.isnan(ball.clean)).all(1)
        return torch.where(jump, torch.where(single[:, None], code, ball.clean), near)

    def allowed(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return whether each row keeps budgets, types and rules; judged apart from `project`."""
        same = (z == clean) | (torch.isnan(z) & torch.isnan(clean))
        radii = self._radii(clean, threat)
        near = (z - clean).abs() <= radii * (1 + 1e-9) + 1e-9 + 1e-15 * clean.abs()  # the sum itself is rounded
        low, high = self._ranges(clean)
        typed = ~self.whole.to(z.device) | (z == torch.round(z))
        kept = (same | (self.movable.to(z.device) & near & typed & (z >= low) & (z <= high))).all(1)
        if threat.knobs.get("norm", "linf") != "linf":
            kept = kept & (self.distance(z, clean, threat) <= 1 + 1e-9)
        for places in map(list, self.blocks.values()):
            kept = kept & (same[:, places].all(1) | is_one_hot(z[:, places]))
        return kept & self.keeps_rules(z)

    def keeps_rules(self, z: Tensor) -> Tensor:
        """Return whether each row keeps every rule, (n,)."""
        kept = torch.ones(len(z), dtype=torch.bool, device=z.device)
        for rule in self.relations:
            kept &= self.keeps(rule, z)
        return kept

    def keeps(self, rule: Rule, z: Tensor) -> Tensor:
        """Return whether each row keeps one of the `relations`, (n,); what is not known breaks no rule."""
        kept: Tensor = rule.holds(self.named_columns(z, rule.columns)) | self._unknown(rule, z)
        return kept

    def violations(self, z: Tensor) -> Tensor:
        """Return by how much each row breaks the rules in all, (n,), 0 where it keeps them; differentiable by z."""
        total = z.new_zeros(len(z))
        for rule in self.relations:
            broken = violation(rule, self.named_columns(z, rule.columns))
            total = total + torch.where(self._unknown(rule, z), 0.0, broken)
        return total

    @cached_property
    def place(self) -> dict[str, int]:
        """Where each column stands."""
        return {c.name: i for i, c in enumerate(self.columns)}

    def named_columns(self, z: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return encoded columns by their names, each (n,)."""
        return {name: z[:, self.place[name]] for name in names}

    def _unknown(self, rule: Rule, z: Tensor) -> Tensor:
        return torch.isnan(z[:, [self.place[name] for name in rule.columns]]).any(1)

    def distance(self, z: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """Return how much of the budgets each row spends, (n,): the largest share, or the norm of all shares."""
        radii = self._radii(clean, threat).nan_to_num(0.0)
        return Ball(clean, clean, clean, radii, threat.knobs.get("norm", "linf"), jump=self.jump).share(z)

    def describe(self, z: Tensor, clean: Tensor) -> str:
        """Return e.g. "income +4 %"; values of private columns are not told."""
        moved = [i for i in range(len(self.columns)) if z[i] != clean[i] and not torch.isnan(z[i])]
        alone = [i for i in moved if self.columns[i].block is None]
        told = [_told(self.columns[i], float(z[i]), float(clean[i])) for i in alone]
        blocks = dict.fromkeys(name for i in moved if (name := self.columns[i].block) is not None)
        return ", ".join([*told, *(self._block_told(name, z, clean) for name in blocks)])

    def _block_told(self, block: str, z: Tensor, clean: Tensor) -> str:
        columns = [(i, self.columns[i]) for i in self.blocks[block]]
        if any(column.private for _, column in columns):
            return block
        was, now = (next((c.name for i, c in columns if row[i] == 1), "?") for row in (clean, z))
        return f"{block} {was} → {now}"


def _decoded(column: Column, values: Array) -> Array:
    if column.vocabulary:
        words = np.array([*column.vocabulary, None], dtype=object)[:-1]
        return np.asarray(words[values.astype(np.int64)]).astype(column.dtype)
    # an integer column may hold NaN or fractions elsewhere, or be declared numeric: what is asked is never cut off
    whole = np.dtype(column.dtype).kind in "iub" and bool((values == np.round(values)).all())
    return values.astype(column.dtype) if whole else values.copy()


def _told(column: Column, value: float, clean: float) -> str:
    if column.private:
        return column.name
    if column.kind in NUMBERS and column.change != "any" and clean:
        share = (value - clean) / abs(clean) * 100
        signed = f"{share:+.2g}".replace("-", "−")
        return f"{column.name} {signed} %" if abs(share) < 100 else f"{column.name} {clean:g} → {value:g}"
    if column.vocabulary:
        return f"{column.name} {column.vocabulary[int(clean)]} → {column.vocabulary[int(value)]}"
    return f"{column.name} {clean:g} → {value:g}"


def fit_columns(subject: Subject, train: Any, test: Any) -> tuple[tuple[Column, ...], list[Note]]:
    """Return the columns of a table, what the subject does not say inferred from train, with the assumptions made."""
    tables = {f"data.{name}": _as_table(x) for name, x in (("train", train), ("test", test)) if x is not None}
    first = next(iter(tables.values()))
    stated = stated_blocks({k: v for k, v in subject.features.items() if k in first.columns}, tables)
    inferred = inferred_blocks(first, stated)
    blocks = {**stated, **inferred}
    unknown = sorted(set(subject.features) - set(first.names) - set(blocks.values()))
    if unknown:
        raise DataError(f"features.{unknown[0]}: no such column; there are: {some(first.names)}")
    columns = tuple(
        _column(subject, name, {w: t.columns[name] for w, t in tables.items()}, blocks.get(name))
        for name in first.names
    )
    notes = _inferences(subject, columns)
    if inferred:
        notes.append(note("features.blocks_inferred", blocks=some(dict.fromkeys(inferred.values()))))
    return columns, notes


def _inferences(subject: Subject, columns: Sequence[Column]) -> list[Note]:
    """Return what was inferred, the columns of one kind together."""
    kinds: dict[str, list[str]] = {}
    for column in columns:
        feature = subject.features.get(column.name)
        if feature is None or feature.kind is None:
            kinds.setdefault(column.kind, []).append(column.name)
    texts = kinds.pop("text", [])
    told = "; ".join(f"{kind}: {some(names)}" for kind, names in kinds.items())
    notes = [note("features.inferred", columns=told)] if told else []
    return [*notes, note("features.text_untouched", columns=some(texts))] if texts else notes


def _as_table(x: Any) -> Table:
    if isinstance(x, Table):
        return x
    return Table({f"x{i}": x[:, i] for i in range(x.shape[1])})


def _column(subject: Subject, name: str, parts: Mapping[str, Array], block: str | None) -> Column:
    of_block = subject.features.get(block, Feature()) if block is not None else Feature()
    feature, values = subject.features.get(name, of_block), _alike(name, parts)
    kind: ColumnKind = "boolean" if block is not None else feature.kind or _kind(values[0])
    vocabulary = _vocabulary(values) if any(v.dtype.kind in "Ob" for v in values) else ()
    if kind in NUMBERS and vocabulary:
        raise DataError(f"features.{name}: kind = {kind!r}, but the column holds texts")
    bounds = None if vocabulary or feature.range else subject.input.bounds
    seen = (0.0, float(len(vocabulary) - 1)) if vocabulary else _range(values, name, parts, bounds)
    low, high = seen if vocabulary else feature.range or bounds or seen
    low, high = (0.0, 1.0) if block is not None else (low, high)
    if values[0].dtype.kind in "iu":  # beyond what the type holds a number would wrap around on its way to the model
        low, high = max(low, float(np.iinfo(values[0].dtype).min)), min(high, float(np.iinfo(values[0].dtype).max))
    return Column(
        name=name,
        kind=kind,
        low=low,
        high=high,
        span=seen[1] - seen[0],
        mutable=feature.mutable,
        change=feature.change,
        eps=feature.eps,
        vocabulary=vocabulary,
        private=name in subject.data.private,
        dtype=values[0].dtype.str if values[0].dtype != object else "O",
        block=block,
    )


def _alike(name: str, parts: Mapping[str, Array]) -> list[Array]:
    """Return a column's values in every split; DataError if one holds texts and another numbers."""
    empty = {where for where, v in parts.items() if v.dtype == object and all(cell is None for cell in v.tolist())}
    texts = [where for where, v in parts.items() if v.dtype == object and where not in empty]
    numbers = [where for where, v in parts.items() if v.dtype != object]
    if texts and numbers:
        raise DataError(f"column {name!r}: {texts[0]} holds texts and {numbers[0]} numbers; make them alike")
    return [v.astype(np.float64) if where in empty and numbers else v for where, v in parts.items()]


def _kind(values: Array) -> ColumnKind:
    if values.dtype == bool:
        return "boolean"
    if values.dtype == object:
        return "category" if len(set(values.tolist())) <= min(MOST_CATEGORIES, max(2, len(values) // 2)) else "text"
    if values.dtype.kind in "iu":
        return "boolean" if _is_flag(values) else "integer"
    return "boolean" if _is_flag(values) else "numeric"  # one-hot columns are often floats


def _is_flag(values: Array) -> bool:
    return set(np.unique(values).tolist()) == {0, 1}


def _vocabulary(values: Sequence[Array]) -> tuple[Any, ...]:
    seen = set().union(*(set(v.tolist()) for v in values))
    return tuple(sorted(seen, key=lambda v: (v is None, str(v))))


def _range(
    values: Sequence[Array], name: str, places: Iterable[str], bounds: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the ends of the first split's numbers; DataError for infinite ones and for those beyond the bounds."""
    for where, part in zip(places, values, strict=True):
        exact = part.astype(np.float64)
        infinite = np.isinf(exact)
        if infinite.any():
            raise DataError(f"{where}: column {name!r} is infinite in row {int(infinite.argmax())}; clean the data")
        outside = (exact < bounds[0]) | (exact > bounds[1]) if bounds else infinite
        if bounds and outside.any():
            raise DataError(
                f"{where}: column {name!r} lies outside input.bounds [{bounds[0]:g}, {bounds[1]:g}] in row "
                f"{int(outside.argmax())}; bounds are in raw input units: correct them, or give features.{name}.range"
            )
    numbers = values[0].astype(np.float64)
    present = numbers[~np.isnan(numbers)]
    return (float(present.min()), float(present.max())) if len(present) else (0.0, 0.0)


def group_values(values: Array, most: int = 10) -> tuple[Array, str | None]:
    """Return a group's values as texts; many distinct numbers become quarters of their range, with a note.

    >>> group_values(np.arange(100))[1]
    'quartiles: ...'
    """
    if values.dtype.kind in "iuf" and len(np.unique(values)) > most:
        cuts = np.unique(np.nanquantile(values.astype(np.float64), [0.25, 0.5, 0.75]))
        ends = [f"{cut:g}" for cut in cuts]
        names = [f"< {ends[0]}", *(f"{a}–{b}" for a, b in pairwise(ends)), f"≥ {ends[-1]}"]
        bands = np.array(names, dtype=object)[np.searchsorted(cuts, values.astype(np.float64), side="right")]
        bands[np.isnan(values.astype(np.float64))] = "?"
        return bands, f"quartiles: {', '.join(names)}"
    return np.array(["?" if v is None or v != v else str(v) for v in values.tolist()], dtype=object), None  # noqa: PLR0124
