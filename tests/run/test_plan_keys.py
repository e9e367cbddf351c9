"""Evidence is remembered under everything that decides it: another search is not answered from an old dossier."""

from typing import Any

import numpy as np
import pytest
import torch

import veriward as vw


def digits_like(**evasion: Any) -> vw.Subject:
    x = np.random.default_rng(0).uniform(size=(40, 1, 4, 4)).astype(np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    data = {"test": (x, np.arange(40) % 3)}
    sections = {"input": {"kind": "image", "bounds": (0, 1)}, "threat": {"evasion": {"eps": 0.1, **evasion}}}
    return vw.Subject.model_validate({"name": "digits", "model": {"live": net}, "data": data, **sections})


@pytest.mark.parametrize("changed", [{"plan": "strict-autoattack"}, {"search": "bfloat16"}, {"tolerance": "5%"}])
def test_another_search_is_another_run(changed: dict[str, Any], tmp_path: Any) -> None:
    def keys(**evasion: Any) -> set[str]:
        with vw.assess(
            digits_like(**evasion), checks=["evasion/linf"], out=tmp_path / "x.ward", budget="quick", fresh=True
        ) as dossier:
            return {item["key"] for item in dossier.plan["checks"]}

    assert keys() == keys()
    assert not keys() & keys(**changed)
