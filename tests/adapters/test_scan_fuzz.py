"""Whatever the bytes, the scan ends with a verdict and a reason; no beginning of an attack is clean.

Pickles are mutated in test_scan_differential.py, where unpicklers that are not ours judge the verdict.
"""

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import skops.io
import torch
from sklearn.tree import DecisionTreeClassifier

from veriward.adapters.scan import scan, scan_content

from .corpus import BENIGN, HOSTILE
from .corpus.artefact import there
from .corpus.mutation import mutated_zip

EVIL = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."


def samples() -> dict[str, bytes]:
    modern, legacy, array, archive = (io.BytesIO() for _ in range(4))
    torch.save({"a": torch.ones(3)}, modern)
    torch.save({"a": torch.ones(3)}, legacy, _use_new_zipfile_serialization=False)
    np.save(array, np.ones(3))
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.pkl", EVIL)
    return {
        "torch": modern.getvalue(),
        "legacy": legacy.getvalue(),
        "attack": EVIL,
        "packed attack": archive.getvalue(),
        "array": array.getvalue(),
        "safetensors": safetensors.numpy.save({"a": np.ones(3)}),
        "skops": skops.io.dumps(DecisionTreeClassifier(max_depth=1).fit([[0.0], [1.0]], [0, 1])),
    }


def mutated(content: bytes, draw: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(spoilt) or 1)
        match draw.randrange(5):
            case 0:
                spoilt[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del spoilt[at : at + draw.randint(1, 16)]
            case 2:
                spoilt[at:at] = bytes(draw.randrange(256) for _ in range(draw.randint(1, 8)))
            case 3:
                spoilt[at:at] = spoilt[max(0, at - 20) : at]
            case 4:
                del spoilt[at:]
    return bytes(spoilt)


@pytest.mark.parametrize("seed", range(6))
def test_the_scan_of_any_bytes_ends(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    path = tmp_path / "file"
    for content in samples().values():
        for _ in range(60):
            path.write_bytes(mutated(content, draw))
            result = scan(path)
            assert result.outcome == "clean" or result.reasons


def test_every_truncation_of_an_attack_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for name in ("attack", "packed attack"):
        content = samples()[name]
        for size in range(len(content)):
            path.write_bytes(content[:size])
            assert scan(path).outcome != "clean"


def test_bytes_at_random_are_refused(tmp_path: Path) -> None:
    draw = random.Random(0)
    path = tmp_path / "file"
    for _ in range(300):
        path.write_bytes(draw.choice([b"", b"\x80\x04", b"PK\x03\x04", b"\x93NUMPY"]) + draw.randbytes(200))
        assert scan(path).outcome != "clean"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries that write the files
def test_the_scan_of_any_mutated_file_of_the_corpus_ends() -> None:
    draw = random.Random(0)
    found = [
        artefact for artefact in (*BENIGN, *HOSTILE) if there(artefact) and artefact.family not in ("names", "mixed")
    ]
    contents = [content for artefact in found if len(content := artefact.make("nowhere")) < 200_000]
    for _ in range(20_000):
        content = draw.choice(contents)
        is_zip = content.startswith(b"PK") and draw.random() < 0.5
        result = scan_content(mutated_zip(content, draw) if is_zip else mutated(content, draw))
        assert result.outcome == "clean" or result.reasons
