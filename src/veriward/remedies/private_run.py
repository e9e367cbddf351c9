"""One private training that survives being killed: every block of steps is charged, executed, then kept.

What the holder of the data keeps lies apart from what may be handed out: the agreed plan, the ledger, the last checkpoint
and counts over private rows. Steps that were charged and lost are never run again: they stay spent, and the plan ends as
many steps earlier.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from veriward.adapters.recipe import Rows, Steps, as_taken, seeded
from veriward.core.errors import ArtefactError, ModelError, PrivacyError, SettingsError
from veriward.privacy.dp import checkpoint
from veriward.privacy.dp.accountants import curve
from veriward.privacy.dp.dp_sgd import PrivateTraining
from veriward.privacy.dp.events import Event
from veriward.privacy.dp.filter import Filter, orders_for
from veriward.privacy.dp.ledger import Ledger
from veriward.privacy.dp.noise import SecureSource
from veriward.privacy.dp.terms import Seen
from veriward.remedies.private_plan import PrivatePlan

AGREED, KEPT, COUNTED = "plan.json", "checkpoint.safetensors", "training.ledger"
TOLD_ONCE = 4  # times that a training among many tells how far it is
TOLD = 20  # times at most that epsilon so far is computed for whoever watches


@dataclass(frozen=True)
class Moment:
    """What a training tells while it runs. `clip_fraction` is a private number: for the data holder's eyes."""

    steps: int
    total: int
    epsilon: float
    clip_fraction: float
    seconds_left: float


Watch = Callable[[Moment], None]


@dataclass(frozen=True)
class Finished:
    """A trained module, how many of the planned steps it got, and what the holder alone may know."""

    module: torch.nn.Module
    steps: int
    seen: Seen
    went_on: bool  # an earlier call had begun
    new_steps: int  # of this call; 0: the training was finished before


@dataclass(frozen=True)
class Run:
    """A private training of `plan` in a folder of the data holder's. `account`: a ledger for all that is done with the data,
    begun with the epsilon `budget` where there is none yet. `data`: the fingerprint of the rows, kept by the ledger and
    told to nobody; `how`: whatever else must not change between two calls.
    """

    folder: Path
    plan: PrivatePlan
    seed: int
    data: str
    how: Mapping[str, Any] = field(default_factory=dict)
    account: Path | None = None
    budget: float | None = None
    device: str = "cpu"
    physical: int = 256

    def train(self, recipe: Steps, rows: Rows, watch: Watch | None = None) -> Finished:
        """Train, or go on where an earlier call was stopped.

        Raises SettingsError where the folder holds a training of other terms, BudgetExceeded where the account refuses: the
        checkpoint then stands as the last paid step left it.
        """
        with seeded(self.seed):
            training = self._training(recipe, rows)
            training.check()  # first: a refused call leaves nothing that a corrected one has to agree with
            with self.opened(self.plan.event(self.plan.steps)) as (ledger, name):
                charged = _charged(ledger, name, training.terms.span)
                self._resume(training, charged)
                self._go_on(training, ledger, name, charged, watch)
        _check_finite(training.module)
        new = max(0, self.plan.steps - charged)
        return Finished(training.module.eval(), training.steps, training.seen, charged > 0, new)

    @contextlib.contextmanager
    def opened(self, event: Event) -> Iterator[tuple[Ledger, str]]:
        """Hold the folder, and give the ledger that everything is charged to, with what it calls this training.

        `event`: all that will be charged.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder), self._ledger(event) as ledger:
            yield ledger, _agreed(self, ledger)

    def checked(self, recipe: Steps, rows: Rows) -> None:
        """Refuse what cannot be trained, before anything is charged."""
        with seeded(self.seed):
            self._training(recipe, rows).check()

    def once(self, recipe: Steps, rows: Rows, watch: Watch | None = None) -> Finished:
        """Train from beginning to end, without a ledger: whoever calls has charged."""
        training, begin, block = self._training(recipe, rows), time.monotonic(), -(-self.plan.steps // TOLD_ONCE)
        while training.steps < self.plan.steps:
            training.run(min(block, self.plan.steps - training.steps))
            if watch:
                left = (time.monotonic() - begin) / training.steps * (self.plan.steps - training.steps)
                watch(Moment(training.steps, self.plan.steps, self.plan.epsilon, training.seen.clip_fraction, left))
        return Finished(training.module.eval(), training.steps, training.seen, went_on=False, new_steps=training.steps)

    def _training(self, recipe: Steps, rows: Rows) -> PrivateTraining:
        module = recipe.module(self.seed, self.device)
        return PrivateTraining(
            module,
            recipe.loss,
            as_taken(module, rows.x).to(self.device),
            rows.y.to(self.device),
            sampler=self.plan.sampler,
            clip=self.plan.rule,
            noise_multiplier=self.plan.noise_multiplier,
            noise=self.plan.noise,
            divisor=self.plan.divisor,
            optimiser=recipe.optimise(module),
            source=SecureSource(),
            physical=self.physical,
            compute=torch.bfloat16 if self.plan.compute == "bfloat16" else None,
        )

    def _ledger(self, event: Event) -> Ledger:
        """Open the account that was named, or the training's own: it counts, and holds twice what the plan costs.

        Raises PrivacyError for another ledger than the one that the folder's training began with.
        """
        own, began = self.folder / COUNTED, (self.folder / AGREED).exists()
        path = self.account or own
        if (began and not path.exists()) or (self.account is not None and own.exists()):
            raise PrivacyError(
                f"{self.folder}: its training is charged to another ledger than {path}, or that one is gone; want the "
                f"ledger that was charged: a restored or replaced one forgets what was spent"
            )
        if self.account is not None:
            made = (self.budget, self.plan.delta) if self.budget is not None and not self.account.exists() else None
            return Ledger(self.account, made, data=self.data, relation=self.plan.relation, unit=self.plan.unit)
        return _own_ledger(own, self.plan, event, self.data, began=began)

    def _resume(self, training: PrivateTraining, charged: int) -> None:
        kept = self.folder / KEPT
        if kept.exists():
            checkpoint.resume(training, kept)
        if charged < training.steps:
            raise PrivacyError(
                f"{self.folder}: the checkpoint holds {training.steps} steps, the ledger {charged}; want the ledger that "
                f"was charged: a restored or replaced one forgets what was spent"
            )
        training.paid = charged

    def _go_on(self, training: PrivateTraining, ledger: Ledger, name: str, charged: int, watch: Watch | None) -> None:
        plan, span = self.plan, training.terms.span
        step, begin, first, done = plan.event(span), time.monotonic(), charged, charged
        told = max(plan.interval, plan.steps // TOLD)
        while done < plan.steps:
            if done == charged:
                count = -(-min(plan.interval, plan.steps - charged) // span)
                ledger.charge(step, name, count=count)
                charged += count * span
            block = min(plan.interval, charged - done)
            training.run(block)
            done += block
            with _on_disk(self.folder / KEPT):
                checkpoint.save(training, self.folder / KEPT)
            if watch and (done % told < block or done == plan.steps):
                left = (time.monotonic() - begin) / (done - first) * (plan.steps - done)
                watch(Moment(done, plan.steps, plan.spent(charged), training.seen.clip_fraction, left))


@contextlib.contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    """Tell a full or read-only disk as what it is, and no crash of ours."""
    try:
        yield
    except OSError as error:
        raise ArtefactError(
            f"{path}: cannot be written ({error.strerror}); what was charged stays charged: make room, and run the same "
            f"command again"
        ) from error


def _check_finite(module: torch.nn.Module) -> None:
    """Raise ModelError for weights that are no numbers; they hold noise, too, so to say so is no leak."""
    if not all(bool(parameter.isfinite().all()) for parameter in module.parameters()):
        raise ModelError(
            "the trained weights are not finite: steps were too large, and the budget is spent; want a smaller learning "
            "rate, and --fresh, which spends again"
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against a second training in it; the system lets go of it however a process ends."""
    import fcntl

    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PrivacyError(f"{folder}: another process trains here; wait for it, or choose another --out") from None
        yield


def _agreed(run: Run, ledger: Ledger) -> str:
    """Return what the ledger calls this training; a folder that holds another one, of which a step is paid, is refused."""
    file, ours = (
        run.folder / AGREED,
        {"plan": run.plan.plain(), "seed": run.seed, "data": run.data, "how": dict(run.how)},
    )
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        changed = [key for key in ours if kept.get(key) != ours[key]]
        if not changed:
            return str(kept["name"])
        if (run.folder / KEPT).exists() or any(entry.what == kept.get("name") for entry in ledger.entries()):
            raise SettingsError(
                f"{run.folder}: holds a training of other terms ({_difference(kept, ours, changed[0])}); finish it with the "
                f"terms it began with, or start anew with --fresh, which spends again"
            )
    name = f"training {secrets.token_hex(8)}"
    written(file, {**ours, "name": name})
    return name


def _difference(kept: dict[str, Any], ours: dict[str, Any], key: str) -> str:
    if key in ("seed", "data"):
        return f"seed {kept.get(key)} then, {ours[key]} now" if key == "seed" else key
    before = kept.get(key) or {}
    told = ("epsilon", "delta", *ours[key])  # what was asked for says more than what follows from it
    name = next((name for name in told if before.get(name) != ours[key].get(name)), key)
    return f"{name} {str(before.get(name))[:40]} then, {str(ours[key].get(name))[:40]} now"


def _own_ledger(path: Path, plan: PrivatePlan, event: Event, data: str, *, began: bool) -> Ledger:
    """Open the training's own ledger, which counts its steps. Its budget is generous: the plan is what limits it.

    One to which nothing was charged yet is made anew: the terms may have changed. Raises PrivacyError for one that was
    charged for a training that the folder no longer knows.
    """
    if path.exists():
        with Ledger(path) as kept:
            entries = kept.entries()
        if entries and not began:
            raise PrivacyError(
                f"{path}: was charged for {entries[0].what}, whose plan is gone; want the folder as it was, or start anew "
                f"with --fresh, which spends again"
            )
        if entries:
            return Ledger(path, data=data)
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
    return Ledger(path, (_generous(plan, event), plan.delta), data=data, plan=event)


def _generous(plan: PrivatePlan, event: Event) -> float:
    """Return an epsilon that a ledger, which counts in Renyi divergences alone, lets the whole event pass under."""
    epsilon = 2 * plan.epsilon
    while True:
        made = Filter(epsilon, plan.delta, orders_for(epsilon, plan.delta, event, plan.relation))
        if made.allows([1.01 * float(cost) for cost in curve(event, plan.relation, made.orders)], 0.0):
            return epsilon
        epsilon *= 2


def _charged(ledger: Ledger, name: str, span: int) -> int:
    return sum(entry.count for entry in ledger.entries() if entry.what == name) * span


def written(path: Path, values: dict[str, Any]) -> None:
    """Write JSON so that the file is there whole or not at all, also after a power cut."""
    part = path.with_name(path.name + ".part")
    with _on_disk(path), part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(values, ensure_ascii=False, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
