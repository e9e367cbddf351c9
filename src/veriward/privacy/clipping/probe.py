"""Per-row gradients of three random rows against the gradients of each row alone: what is silently wrong shows here.

No list of forbidden operations is complete; a comparison of values is. It runs on a copy, in float64, with noise on the
weights, so that zeros at the start of training hide nothing.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from veriward.core.errors import ModelError, VeriwardError, some
from veriward.core.streams import Stream
from veriward.privacy.clipping.gradients import gradients
from veriward.privacy.clipping.tape import NeedsWhole
from veriward.privacy.clipping.written import Loss, trainable

ROWS = 3
FAINT = 1e-4  # of the largest gradient: what is smaller may be rounding of a true zero
TINY = 1e-3  # and so may be gradients far below the unit scale of the random rows
STREAM = Stream.of(0, "privacy/clipping/probe")


def probe(module: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> bool:
    """Say whether the network has to be mapped over rows as a whole.

    Raises ModelError, naming parameters, if per-row gradients are not those of the rows alone. Leaves the module and
    torch's random numbers as they were.
    """
    devices = {p.device for p in module.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=sorted(d.index for d in devices)):
        failed: Exception | None = None
        for twin, rows, tolerance in _attempts(module, x):
            try:
                return _compare(twin, loss, rows, _taken(y, rows), tolerance)
            except VeriwardError:
                raise
            except Exception as error:  # code of the user's
                failed = error  # the module wants its own rows, or its own number format
    assert failed is not None
    raise ModelError(f"the module failed on {ROWS} rows: {type(failed).__name__}: {failed}") from failed


def _attempts(module: nn.Module, x: Tensor) -> Iterator[tuple[nn.Module, Tensor, float]]:
    """Yield copies with rows and tolerance: random rows in float64, then the caller's, then those in the own format."""
    mine = x[torch.arange(ROWS, device=x.device) % len(x)].detach().clone()
    if x.is_floating_point():
        random = STREAM.normal(torch.arange(ROWS), x.shape[1:]).to(x.device)
        yield _twin(module).double(), random.double(), 1e-8
        yield _twin(module).double(), mine.double(), 1e-8
    else:
        yield _twin(module).double(), _shuffled(x), 1e-8
    yield _twin(module), mine, 1e-2


def _shuffled(x: Tensor) -> Tensor:
    """Return rows of whole numbers, each number drawn from its own column: indices stay within their tables."""
    size = x[0].numel()
    pick = STREAM.integers(torch.arange(ROWS), len(x), (size,)).to(x.device)
    return x.reshape(len(x), -1).gather(0, pick).view(ROWS, *x.shape[1:]) if size else x.new_zeros(ROWS, *x.shape[1:])


def _taken(y: Tensor, rows: Tensor) -> Tensor:
    mine = y[torch.arange(ROWS, device=y.device) % len(y)].detach()
    return mine.double() if mine.is_floating_point() and rows.dtype == torch.float64 else mine


def _twin(module: nn.Module) -> nn.Module:
    """Return a copy with noise on its weights and no dropout."""
    try:
        twin = copy.deepcopy(module)
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__}: cannot be copied ({error}); want a module that copy.deepcopy takes"
        ) from error
    for place, parameter in enumerate(twin.parameters()):
        if parameter.is_floating_point():
            noise = STREAM.child("weights").normal(torch.tensor([place]), (parameter.numel(),))
            scale = 0.1 * (parameter.detach().abs().mean() + 0.1)
            parameter.data += scale * noise.view_as(parameter).to(parameter)
    for part in twin.modules():
        if isinstance(part, _DropoutNd):
            part.eval()
    return twin


def _compare(twin: nn.Module, loss: Loss, x: Tensor, y: Tensor, tolerance: float) -> bool:
    """Say whether the network has to be mapped as a whole; raises ModelError for gradients that are not the rows' own."""
    _refuse_memory(twin, x)
    before = _totals(twin)
    try:
        (ours, losses), whole = _engine(twin, loss, x, y, False), False
    except NeedsWhole:
        (ours, losses), whole = _engine(twin, loss, x, y, True), True
    keep = losses.isfinite()
    if not bool(keep.any()):
        raise FloatingPointError("the loss of these rows is not finite")
    if not torch.equal(_engine(twin, loss, x, y, whole)[1][keep], losses[keep]):
        twin.eval()  # it draws random numbers in training: compare without
        ours, losses = _engine(twin, loss, x, y, whole)
    alone, single = _loop(twin, loss, x, y)
    if bool((losses - single)[keep].abs().max() > tolerance * (1e-3 + single[keep].abs().max())):
        raise ModelError(
            "the loss of a row depends on the rows beside it or on their number (batch statistics, a sum or a mean over "
            "rows, a loss divided by the batch): per-row gradients are undefined; let each row's loss come from it alone"
        )
    _agree({name: r[keep] for name, r in ours.items()}, {name: r[keep] for name, r in alone.items()}, tolerance)
    changed = [name for name, total in _totals(twin).items() if total != before[name]]
    if changed:
        raise ModelError(
            f"{some(changed)}: a parameter that the module itself changes when it is called, and no noise covers that; "
            "leave it to the optimiser"
        )
    return whole


def _totals(twin: nn.Module) -> dict[str, str]:
    """Return a number for each parameter that tells whether it was changed, without a copy of it."""
    return {name: f"{float(p.detach().double().sum())}" for name, p in twin.named_parameters()}


def _refuse_memory(twin: nn.Module, x: Tensor) -> None:
    """Raise ModelError for a buffer that takes up what the rows hold: it is saved with the weights, and has no noise."""
    if next(twin.buffers(), None) is None:
        return
    left, random = [], torch.get_rng_state()
    for rows in (x, x[:1].expand_as(x)):
        run = copy.deepcopy(twin)
        torch.set_rng_state(random)
        with torch.no_grad():
            run(rows)
        left.append(dict(run.named_buffers()))
    changed = [name for name, value in left[0].items() if not torch.equal(value, left[1].get(name, value))]
    if changed:
        raise ModelError(
            f"{some(changed)}: a buffer that takes up what rows hold, and no noise covers it; freeze it (eval()), or "
            "leave it out"
        )


def _engine(twin: nn.Module, loss: Loss, x: Tensor, y: Tensor, whole: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Return the rows' gradients as the engine sums them, one row at a time with factor 1, and the losses."""
    found = gradients(twin, loss, x, y, whole=whole)
    picks = torch.eye(len(x), dtype=found.losses.dtype, device=x.device)
    bad = ~found.losses.isfinite()
    sums = [found.sums(pick.expand(len(found.layers), -1), bad) for pick in picks]
    rows = {name: torch.stack([one[name] for one in sums]) for name in sums[0]}
    return rows, found.losses


def _loop(twin: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the gradients of each row alone, and the losses."""
    named = trainable(twin)
    rows, losses = [], []
    for i in range(len(x)):
        value = loss(twin(x[i : i + 1]), y[i : i + 1])
        found = torch.autograd.grad(value.sum(), list(named.values()), allow_unused=True, materialize_grads=True)
        rows.append(dict(zip(named, found, strict=True)))
        losses.append(value.detach())
    return {name: torch.stack([row[name] for row in rows]) for name in named}, torch.cat(losses)


def _agree(ours: dict[str, Tensor], alone: dict[str, Tensor], tolerance: float) -> None:
    largest = max((float(rows.abs().max()) for rows in alone.values() if rows.numel()), default=0.0)
    wrong = []
    for name, rows in alone.items():
        if rows.numel():
            off = (ours[name] - rows).abs().max() if name in ours else rows.abs().max()
            if not bool(off <= tolerance * max(float(rows.abs().max()), FAINT * max(largest, TINY))):
                wrong.append(name)
    if wrong:
        raise ModelError(
            f"{some(wrong)}: per-row gradients differ from those of single rows, so the weights are used outside their "
            f"module (as in F.linear(x, layer.weight)) or rows are not kept apart; call the layer itself, rows first"
        )
