"""A private training on disk: one safetensors file, tensors and JSON, nothing that runs when it is read.

The sampler's and the noise's randomness is not in it: who resumes draws anew. It holds the data holder's exact counts, so it
is for the data holder only.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from veriward.core.errors import ArtefactError, PrivacyError, SettingsError
from veriward.privacy.clipping import Adaptive, Rule
from veriward.privacy.dp.dp_sgd import PrivateTraining
from veriward.privacy.dp.terms import Seen, described

FORMAT = "veriward.dp-training.1"
Tensors = dict[str, Tensor]
PLAIN = (bool, int, float, str, type(None))


def state(training: PrivateTraining) -> tuple[Tensors, dict[str, Any]]:
    """Return what a training needs to go on: copies of all tensors, and plain data for JSON.

    Raises SettingsError where module or optimiser keep something else.
    """
    kept = training.optimiser.state_dict()
    found = {f"module.{name}": value for name, value in training.module.state_dict().items()}
    found |= {f"optimiser.{i}.{name}": v for i, part in kept["state"].items() for name, v in part.items()}
    plain = {name: value for name, value in found.items() if not isinstance(value, Tensor)}
    strange = [name for name, value in plain.items() if not isinstance(value, PLAIN)]
    if strange:
        raise SettingsError(f"{strange[0]}: neither a tensor nor a number; a checkpoint keeps nothing else")
    tensors = {name: v.detach().cpu().clone().contiguous() for name, v in found.items() if isinstance(v, Tensor)}
    return tensors, {**_agreed(training), **_done(training), "plain": plain, "groups": kept["param_groups"]}


def load(training: PrivateTraining, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Put a state into a new training of the same terms; its randomness is fresh, and a broken epoch counts whole.

    Raises SettingsError for other terms or another module, PrivacyError for a training whose own steps would be forgotten,
    ArtefactError for a state that is incomplete.
    """
    if training.steps:
        raise PrivacyError(
            f"this training has executed {training.steps} steps, which a load would forget; load into a new one"
        )
    for name, ours in _agreed(training).items():
        if plain.get(name) != ours:
            raise SettingsError(f"{name} = {ours}: the checkpoint has {plain.get(name)}; resume with the same terms")
    try:
        steps, paid = _whole(plain, "steps"), _whole(plain, "paid")
        seen = Seen(**{key: _whole(plain["holder"], key) for key in asdict(Seen())})
        rule, sources = _rule(training.rule, float(plain["clip_now"])), {str(name) for name in plain["sources"]}
        training.resumed(steps, max(steps, paid), seen, rule, sources)  # first: half a load holds trained weights, too
        _fill(training, {**tensors, **plain["plain"]}, plain["groups"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        told = str(error).splitlines()[0][:200]
        raise ArtefactError(
            f"the checkpoint does not fit this module and optimiser ({told}); want one of the same"
        ) from error


def save(training: PrivateTraining, path: str | Path) -> None:
    """Write a checkpoint; a file that stood there is replaced whole or, if anything fails, not at all.

    >>> import tempfile, torch
    >>> from veriward.privacy.dp import Full, SecureSource
    >>> def new():
    ...     net = torch.nn.Linear(1, 1)
    ...     return PrivateTraining(
    ...         net, lambda out, y: (out[:, 0] - y).square(), torch.zeros(4, 1), torch.ones(4), sampler=Full(), divisor=4,
    ...         clip=1.0, noise_multiplier=9.0, optimiser=torch.optim.SGD(net.parameters(), 0.1), source=SecureSource(),
    ...     )
    >>> stopped, again = new(), new()
    >>> _ = stopped.run(steps=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(stopped, f"{folder}/run.safetensors")
    ...     resume(again, f"{folder}/run.safetensors")
    >>> again.run(steps=1).steps
    3
    """
    from safetensors.torch import save as packed

    tensors, plain = state(training)
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(packed(tensors, {FORMAT: json.dumps(plain)}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def resume(training: PrivateTraining, path: str | Path) -> None:
    """Load a checkpoint into a new training; raises as `load` does, and ArtefactError for a file that is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {})[FORMAT])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- a file, no mapping
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ArtefactError(f"{path}: no checkpoint of a private training, or a damaged one") from error
    if not isinstance(plain, dict):
        raise ArtefactError(f"{path}: no checkpoint of a private training, or a damaged one")
    load(training, tensors, plain)


def _agreed(training: PrivateTraining) -> dict[str, Any]:
    """Return what a resumed training must share with the one it goes on from."""
    rule = described(training.rule)
    if isinstance(training.rule, Adaptive):
        del rule["clip"]
    return {**training.terms.plain(), "rule": rule}


def _done(training: PrivateTraining) -> dict[str, Any]:
    return {
        "steps": training.steps,
        "paid": training.paid,
        "sources": sorted(training.sources),
        "holder": asdict(training.seen),
        "clip_now": training.rule.sensitivity,
    }


def _whole(data: Mapping[str, Any], key: str) -> int:
    if type(data[key]) is not int or data[key] < 0:
        raise ValueError(f"{key} = {data[key]!r}")
    return int(data[key])


def _rule(rule: Rule, clip: float) -> Rule:
    return replace(rule, clip=clip) if isinstance(rule, Adaptive) else rule


def _fill(training: PrivateTraining, values: Mapping[str, Any], groups: list[dict[str, Any]]) -> None:
    module = {name.removeprefix("module."): v for name, v in values.items() if name.startswith("module.")}
    kept: dict[int, dict[str, Any]] = {}
    for name, value in values.items():
        if name.startswith("optimiser."):
            _, place, key = name.split(".", 2)
            kept.setdefault(int(place), {})[key] = value
    training.module.load_state_dict(module)
    training.optimiser.load_state_dict({"state": kept, "param_groups": groups})
