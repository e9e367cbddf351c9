"""Masks: what they forbid stays untouched under every norm, and what is no mask is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.checks.measure import Linear, drawn, measure, subject_of

from veriward.adapters.opened import open_subject
from veriward.core.errors import SettingsError

SHAPE = (1, 4, 5)


def subject(mask: Any, norm: str = "linf", **more: Any) -> Any:
    x, weight = drawn(3, 80, 20, 3)
    y = (torch.as_tensor(x) @ weight.T).argmax(1).numpy()
    evasion = {"norm": norm, "eps": 1.0, "mask": mask}
    settings = {"kind": "image", "bounds": (-100.0, 100.0), **more}
    return subject_of(Linear(weight), x.reshape(-1, *SHAPE), y, input=settings, threat={"evasion": evasion})


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_what_is_masked_is_never_touched_and_halves_move_half_as_far(norm: str) -> None:
    mask = np.zeros(SHAPE)
    mask[:, :2], mask[:, 2] = 1.0, 0.5
    found = measure(f"evasion/{norm}", subject(mask, norm))
    assert found.witnesses
    for witness in found.witnesses:
        moved = np.abs(witness.details["adversarial"] - witness.details["clean"])
        assert (moved[:, 3:] == 0).all()
        assert (moved[:, :2] <= 1 + 1e-6).all()
        assert (moved[:, 2] <= 0.5 + 1e-6).all()


def test_a_mask_is_part_of_what_was_assessed(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.eye(4, 5))
    domains = [open_subject(subject(str(tmp_path / "mask.npy"))).domain, open_subject(subject(np.ones(5))).domain]
    assert repr(domains[0]) != repr(domains[1])
    assert torch.equal(domains[0].mask[0], torch.eye(4, 5).double())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [(np.ones(3), "shape"), (np.zeros(SHAPE), "not all 0"), (2 * np.ones(SHAPE), r"\[2, 2\]"), (["a"], "holds")],
)
def test_what_is_no_mask_is_refused(mask: Any, wanted: str) -> None:
    with pytest.raises(SettingsError, match=wanted):
        open_subject(subject(mask))


def test_files_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nonsense")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("bad.npy", "objects.npy", "absent.npy"):
        with pytest.raises(SettingsError, match="mask"):
            open_subject(subject(str(tmp_path / name)))


def test_tables_have_budgets_per_column_instead() -> None:
    with pytest.raises(SettingsError, match="features"):
        open_subject(subject(np.ones(SHAPE), kind="tabular"))
