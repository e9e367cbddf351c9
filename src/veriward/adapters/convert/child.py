"""The child process of a conversion: file in, safetensors out, a report as JSON on stdout. Run by `convert` alone."""

import json
import os
import sys
from typing import Any

MEMORY_BYTES = 1 << 30  # beyond four times the file
CPU_SECONDS = 120  # and one more for each 4 MiB
FILE_BYTES = 1 << 24  # beyond twice the file
MAX_VALUES_BYTES = 1 << 20


def main(source: str, target: str, kind: str, key: str | None) -> dict[str, Any]:
    """Convert and return the report; `error` in it says what went wrong."""
    import numpy as np  # noqa: F401 -- what the allowlist may import must be there before the walls stand
    import torch
    from safetensors.torch import save_file

    from veriward.adapters.convert import flatten, inert
    from veriward.adapters.convert.confine import confine
    from veriward.core.errors import ArtefactError

    torch.set_num_threads(1)
    with open(source, "rb") as file:
        content = file.read()
    size = len(content)
    walls = confine(
        more_memory_bytes=MEMORY_BYTES + 4 * size,
        cpu_seconds=CPU_SECONDS + size // (1 << 22),
        file_bytes=FILE_BYTES + 2 * size,
    )
    replaced: set[str] = set()
    try:
        tree = (inert.load_pickle if kind == "pickle" else inert.load_torch)(content, replaced)
        del content
        tree, taken = flatten.chosen(tree, key)
        leaves = flatten.Leaves.of(tree)
        _check(leaves.tensors, 2 * size + FILE_BYTES)
        # by path and natively: an open() of ours would be refused by now, and this copies nothing
        save_file(_alone(leaves.tensors), target, _metadata(leaves.values))
    except ArtefactError as error:
        return {"error": str(error)}
    except Exception as error:  # whatever a hostile stream does to torch ends here, told by its type
        return {"error": f"the file could not be read ({type(error).__name__}: {str(error)[:200]}); save it again"}
    return {
        "tensors": len(leaves.tensors),
        "bytes": sum(t.numel() * t.element_size() for t in leaves.tensors.values()),
        "taken": taken,
        "left_out": leaves.left_out[:1000],
        "replaced": sorted(replaced)[:1000],
        "walls": walls,
    }


def _alone(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return tensors that share no memory and have no gaps, as the format wants them; copies only where needed."""
    kept: dict[str, Any] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        whole = tensor.is_contiguous() and storage.nbytes() == tensor.numel() * tensor.element_size()
        kept[name] = tensor if whole and storage.data_ptr() not in seen else tensor.clone().contiguous()
        seen.add(storage.data_ptr())
    return kept


def _check(tensors: dict[str, Any], most: int) -> None:
    """Refuse nothing at all, and views that would unfold to much more than the file holds."""
    from veriward.core.errors import ArtefactError

    if not tensors:
        raise ArtefactError("holds no tensors; want a state dict or a checkpoint that contains one")
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    if total > most:
        raise ArtefactError(f"its tensors unfold to {total} bytes, more than twice what the file holds; not converted")


def _metadata(values: dict[str, Any]) -> dict[str, str]:
    """Keep plain values (an epoch, a learning rate) as one JSON text, unless they are too many."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=True)
    return {"format": "pt", **({"values": text} if values and len(text) <= MAX_VALUES_BYTES else {})}


if __name__ == "__main__":
    report = main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4][1:] if sys.argv[4].startswith("=") else None)
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)  # no destructors of what was loaded
