"""The demo's digits as `.onnx` and as `.pt2`: one network, one verdict."""

import io
import warnings
from pathlib import Path

import pytest
import torch

import veriward
from veriward.examples import digits


def convert(folder: Path) -> None:
    """Write the network of `folder` a second time, as ONNX."""
    module = torch.export.load(folder / "model.pt2").module()
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        weights = {name: value.detach() for name, value in module.named_parameters()}
        twin = digits.train(*digits.load()["train"], seed=0)
        assert all(torch.equal(weights[name], value) for name, value in twin.named_parameters())
        axes = {"x": {0: "rows"}, "logits": {0: "rows"}}
        torch.onnx.export(
            twin.requires_grad_(False), (torch.zeros(2, 1, 8, 8),), content, dynamo=False,
            input_names=["x"], output_names=["logits"], dynamic_axes=axes,
        )  # fmt: skip
    (folder / "model.onnx").write_bytes(content.getvalue())


@pytest.mark.slow
def test_an_onnx_file_is_assessed_as_the_exported_program_is(tmp_path: Path) -> None:
    digits.write(tmp_path)
    convert(tmp_path)
    text = (tmp_path / "subject.toml").read_text(encoding="utf-8")
    (tmp_path / "onnx.toml").write_text(text.replace("model.pt2", "model.onnx"), encoding="utf-8")
    found = {}
    for name in ("subject", "onnx"):
        subject = veriward.Subject.load(tmp_path / f"{name}.toml")
        out = tmp_path / f"{name}.ward"
        checks = ["evasion/linf"]
        with veriward.assess(subject, checks=checks, budget="quick", out=out, workers=1) as dossier:
            found[name] = {finding.id: finding for finding in dossier}
    assert found["onnx"]
    for check, finding in found["subject"].items():
        other = found["onnx"][check]
        assert finding.verdict == other.verdict != "error"
        assert other.evidence.cost.gradients == finding.evidence.cost.gradients  # neither fell back to scores alone
        for ours, theirs in zip(other.estimates, finding.estimates, strict=True):
            assert ours.metric == theirs.metric
            assert ours.value == pytest.approx(theirs.value, abs=0.02)
