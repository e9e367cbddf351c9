"""A PNG file from an array, with zlib alone. W3C Recommendation PNG, sections 5 (chunks) and 9 (filter type 0)."""

import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR = 0, 2


def png(pixels: "np.ndarray[Any, Any]") -> bytes:
    """Return the file for pixels (H, W) or (H, W, 3), uint8."""
    height, width = pixels.shape[:2]
    kind = COLOUR if pixels.ndim == 3 else GREY
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    lines = b"".join(b"\x00" + line.tobytes() for line in pixels)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
