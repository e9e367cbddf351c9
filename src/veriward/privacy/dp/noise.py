"""Where the randomness of differential privacy comes from: a cipher's keystream, or a seeded stand-in that says so.

Both sources run the same code: AES in counter mode. The secure one takes its key from the operating system, tells it to
nobody and takes no seed; the simulated one derives it from a named stream, so that tests and simulations repeat.
"""

import os
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from veriward.core.errors import PrivacyError, SettingsError
from veriward.privacy.dp.normals import fill_normals

if TYPE_CHECKING:
    from torch import Tensor

    from veriward.core.streams import Stream

KEY_BYTES = 16
BLOCK = 1 << 16  # bytes of keystream at a time
ZEROS = bytes(BLOCK)
SPARE = 15  # `update_into` wants a cipher block less one byte beyond what it writes
Bits = NDArray[np.uint64]


class Source(Protocol):
    """What a mechanism draws from. `name` is "cryptographic" or "simulation" and stands beside every output."""

    @property
    def name(self) -> str:
        """Say which kind of source this is."""

    def bits(self, count: int) -> Bits:
        """Return (count,) independent words of 64 random bits."""

    def normal_(self, out: "Tensor") -> "Tensor":
        """Fill a float32 tensor of any shape and device in place with standard normals, and return it."""


class _Keystream:
    """The keystream of AES-128 in counter mode under a key that is not kept (NIST SP 800-38A, section 6.5)."""

    def __init__(self, key: bytes) -> None:
        self._context: CipherContext = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self._lock = Lock()  # the cipher works outside Python's own lock, and refuses two threads at once

    def fill(self, out: memoryview) -> None:
        """Write keystream over `out`, bytes; the last piece goes through a buffer, as the cipher wants room to spare."""
        whole = max(0, len(out) - SPARE) // BLOCK * BLOCK
        last = bytearray(len(out) - whole + SPARE)
        with self._lock:
            for start in range(0, whole, BLOCK):
                self._context.update_into(ZEROS, out[start:])
            self._context.update_into(bytes(len(out) - whole), last)
        out[whole:] = memoryview(last)[: len(out) - whole]


class _CipherSource:
    """What both sources share."""

    name = ""

    def _stream(self) -> _Keystream:
        raise NotImplementedError

    def fill(self, out: NDArray[Any]) -> None:
        """Overwrite a contiguous array of whole numbers with random bits."""
        self._stream().fill(out.data.cast("B"))

    def bits(self, count: int) -> Bits:
        """Return (count,) independent words of 64 random bits."""
        out = np.empty(count, np.uint64)
        if count:
            self.fill(out)
        return out

    def normal_(self, out: "Tensor") -> "Tensor":
        """Fill a float32 tensor of any shape and device in place with standard normals, and return it.

        For the noise of training. Each draw is within 2^-15 of an exact normal (see `normals.fill_normals`), which is no
        bound on a pmf: statistics that leave the house go through the mechanisms, whose noise is on a grid. Raises
        SettingsError for another dtype.
        """
        import torch

        if out.dtype != torch.float32:
            raise SettingsError(f"normal_: dtype is {out.dtype}; want torch.float32, convert the result if need be")
        plain = out.device.type == "cpu" and out.is_contiguous()
        flat = out.detach().view(-1) if plain else torch.empty(out.numel(), dtype=torch.float32)
        fill_normals(flat.numpy(), self.fill, self.bits)
        if not plain:
            out.detach().copy_(flat.view(out.shape))
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


_forks = 0  # how often this process descended from another by fork


def _count_fork() -> None:
    global _forks  # noqa: PLW0603 -- a fact of the process
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class SecureSource(_CipherSource):
    """Randomness for production: a key from the operating system's generator, no seed, a new key after a fork.

    Threads may share one. It cannot be copied or pickled: two copies would draw the same noise, and the difference of two
    releases with the same noise is the truth.

    >>> SecureSource()
    SecureSource(cryptographic)
    >>> bool((SecureSource().bits(4) != SecureSource().bits(4)).any())
    True
    """

    name = "cryptographic"

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._born, self._keystream = _forks, _Keystream(os.urandom(KEY_BYTES))

    def _stream(self) -> _Keystream:
        if self._born != _forks:  # a forked child must not repeat its parent's noise
            self._renew()
        return self._keystream

    def __reduce__(self) -> NoReturn:
        raise PrivacyError("SecureSource cannot be copied or pickled: both would draw the same noise; make a new one")

    def __copy__(self) -> Self:
        return self.__reduce__()

    def __deepcopy__(self, memo: object) -> Self:
        return self.__reduce__()


class SimulatedSource(_CipherSource):
    """A seeded source for tests and simulations: whoever knows the seed knows the noise, so nothing is private.

    >>> from veriward.core.streams import Stream
    >>> SimulatedSource(Stream.of(0, "doc")).bits(2).tolist() == SimulatedSource(Stream.of(0, "doc")).bits(2).tolist()
    True
    """

    name = "simulation"

    def __init__(self, stream: "Stream") -> None:
        self._keystream = _Keystream((stream.key & (1 << 8 * KEY_BYTES) - 1).to_bytes(KEY_BYTES, "little"))

    def _stream(self) -> _Keystream:
        return self._keystream
