"""What every check promises. A newcomer in the registry is tested the day it lands."""

import io
import pickle
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from veriward.adapters.modules import TILE
from veriward.adapters.opened import Opened, open_subject
from veriward.checks.contract import METHOD, Check, lacks
from veriward.checks.registry import MODULES, register, registry, select
from veriward.core.basis import interval
from veriward.core.canonical import canonical, plain
from veriward.core.errors import SettingsError
from veriward.core.evidence import MAX_WITNESSES, Evidence
from veriward.core.note import Note
from veriward.core.packing import pack
from veriward.core.subject import Subject
from veriward.run.control import run_controls
from veriward.run.job import Forgetful

from .measure import Linear, measure_opened

CHECKS = registry()
ROWS = 120


def tiny(**model: Any) -> Subject:
    """A subject that every check of today applies to: rows to train and test on, a group, a favourable outcome."""
    generator = np.random.default_rng(0)
    weight = torch.as_tensor(generator.normal(size=(2, 6))).float()

    def split() -> dict[str, Any]:
        x = generator.normal(size=(ROWS, 6)).astype(np.float32)
        y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
        y[:10] = 1 - y[:10]
        return {"x": x, "y": y, "sex": generator.choice(np.array(["f", "m"], dtype=object), ROWS)}

    values = {"live": Linear(weight), "output": "logits", **model}
    data = {"train": split(), "test": split(), "groups": ["sex"], "favourable": 1}
    bounds = {"kind": "tabular", "bounds": (-50.0, 50.0)}
    told = {"task": "classification", "model": values, "data": data, "input": bounds}
    return Subject.model_validate({**told, "threat": {"evasion": {"norm": ["linf", "l2", "l1"], "universal": True}}})


def pictures() -> Subject:
    """The same for checks that want pictures."""
    generator = np.random.default_rng(0)
    weight = torch.as_tensor(generator.normal(size=(2, 36))).float()
    x = generator.normal(size=(ROWS, 1, 6, 6)).astype(np.float32)
    y = (torch.as_tensor(x).flatten(1) @ weight.T).argmax(1).numpy()
    y[:10] = 1 - y[:10]
    values = {"live": Linear(weight), "output": "logits"}
    told = {"task": "classification", "model": values, "data": {"test": (x, y), "train": (x, y)}}
    told |= {"input": {"kind": "image", "bounds": (-50.0, 50.0)}, "threat": {"evasion": {"patch": 0.15}}}
    return Subject.model_validate(told)


PICTURES = ("evasion/curve", "evasion/patch")


@cache
def exported() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(tiny().model.live, (torch.zeros(TILE, 6),)), buffer)
    return buffer.getvalue()


def open_file() -> Opened:
    """The subject from a file: its scan is a check like any other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.pt2"
        path.write_bytes(exported())
        return open_subject(tiny(live=None, path=str(path)), device="cpu")


@cache
def opened() -> Opened:
    return open_file()


def opened_for(name: str) -> Opened:
    return open_subject(pictures(), device="cpu") if name in PICTURES else opened()


@cache
def evidence(name: str, seed: int = 0) -> Evidence:
    return measure_opened(name, opened_for(name), seed=seed)


def written(found: Evidence) -> tuple[str, dict[str, bytes]]:
    blobs: dict[str, bytes] = {}
    return canonical(pack(found.to_dict(), blobs)), blobs


def test_the_registry_is_complete_and_in_order() -> None:
    assert list(CHECKS) == sorted(CHECKS)
    assert {type(check).__module__ for check in CHECKS.values()} >= set(MODULES)
    assert all(name == check.name for name, check in CHECKS.items())


def test_patterns_choose_and_what_matches_nothing_is_refused() -> None:
    assert list(select(None)) == list(CHECKS)
    assert set(select(["evasion/*"])) == {name for name in CHECKS if name.startswith("evasion/")}
    with pytest.raises(SettingsError, match="matches no check"):
        select(["evasion/*", "nobody/*"])


def test_two_checks_of_one_name_are_refused() -> None:
    name = next(iter(CHECKS))
    with pytest.raises(SettingsError, match="registered twice"):
        register(type("Twin", (Check,), {"name": name, "version": "1", "question": "?"}))
    assert registry()[name] is CHECKS[name]


@pytest.mark.parametrize("name", CHECKS)
class TestEveryCheck:
    """Walks the registry."""

    def test_it_asks_a_question_and_says_what_it_needs(self, name: str) -> None:
        check = CHECKS[name]
        assert check.question.endswith("?")
        assert check.question[0].isupper()
        assert name.count("/") == 1
        assert check.version
        assert set(check.needs) <= set(METHOD)
        assert check.tasks
        assert set(check.after) <= set(CHECKS)
        for budget in ("quick", "standard", "thorough"):
            assert check.settings(budget)["budget"] == budget
            canonical(plain(check.settings(budget)))

    def test_its_threats_tell_themselves_apart(self, name: str) -> None:
        threats = CHECKS[name].threats(opened_for(name))
        assert threats
        texts = [canonical(plain(threat.to_dict())) for threat in threats]
        assert len(set(texts)) == len(texts)

    def test_its_evidence_has_intervals_or_reasons(self, name: str) -> None:
        found = evidence(name)
        assert (found.check, found.version) == (name, CHECKS[name].version)
        assert found.rows > 0 or not CHECKS[name].needs
        assert found.estimates
        for estimate in found.estimates:
            if estimate.value is None:
                assert estimate.why is not None
                continue
            assert estimate.low is not None
            assert estimate.high is not None
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.n > 0
            assert estimate.unit
            assert estimate.method
            low, high = interval(estimate.basis, estimate.confidence)  # what the judge will compute
            assert low <= high
            assert low <= estimate.low + 1e-12 or estimate.low == 0
            assert estimate.low < estimate.high or estimate.basis["kind"] in ("census", "flags")
        places = [(e.metric, canonical(plain(e.at))) for e in found.estimates]
        assert len(set(places)) == len(places)

    def test_its_outcomes_have_one_element_per_test_row(self, name: str) -> None:
        for values in evidence(name).outcomes.values():
            assert values.shape == (ROWS,)

    def test_its_examples_are_few_and_point_to_rows(self, name: str) -> None:
        found = evidence(name)
        assert len(found.witnesses) <= MAX_WITNESSES
        assert all(0 <= witness.row < ROWS and witness.text for witness in found.witnesses)

    def test_it_says_what_it_did_not_test(self, name: str) -> None:
        found = evidence(name)
        assert found.untested
        assert all(isinstance(item, Note) for item in (*found.untested, *found.assumptions, *found.alarms))

    def test_its_evidence_survives_the_dossier(self, name: str) -> None:
        from veriward.core.packing import unpack

        text, blobs = written(evidence(name))
        packed = pack(evidence(name).to_dict(), {})
        back = Evidence.from_dict(unpack(packed, blobs.__getitem__))
        assert written(back)[0] == text

    def test_the_same_seed_gives_the_same_bytes(self, name: str) -> None:
        assert written(measure_opened(name, opened_for(name) if name in PICTURES else open_file())) == written(
            evidence(name)
        )

    def test_its_controls_hold(self, name: str) -> None:
        results = run_controls(CHECKS[name], opened_for(name), Forgetful())
        assert results
        for result in results:
            assert result.holds, result
            assert result.low <= result.high

    def test_what_it_lacks_is_known_before_it_runs(self, name: str) -> None:
        check = CHECKS[name]
        hard = open_subject(tiny(access="labels"), device="cpu")
        missing = lacks(hard.model, check.needs)
        assert set(missing) == set(check.needs) - {"labels"}
        assert lacks(opened().model, check.needs) == ()
        assert check.refuse(opened_for(name)) is None

    def test_it_travels_to_other_processes(self, name: str) -> None:
        assert pickle.loads(pickle.dumps(CHECKS[name])).name == name

    def test_rows_and_model_stay_as_they_were(self, name: str) -> None:
        subject = tiny()
        model = subject.model.live.train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
        threads = torch.get_num_threads()
        live = open_subject(subject, device="cpu")
        if CHECKS[name].refuse(live) is None:
            measure_opened(name, live)
        assert model.training
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert torch.equal(state, torch.get_rng_state())
        assert np.array_equal(numbers, np.random.get_state()[1])
        assert torch.get_num_threads() == threads
