"""One kept-alive connection to one address, that ends every exchange by a deadline and follows nobody elsewhere.

No redirects, proxies, cookies or compression: rows and credentials go to the host of the address and to nobody else.
"""

import http.client
import io
import socket
import ssl
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult

from veriward.adapters.http.unanswered import Unanswered, from_exception

BLOCK = 1 << 16
MOST_HEADERS = 1 << 20  # bytes beside the body
FAILURES = (OSError, http.client.HTTPException, ValueError)  # the last one for numbers in headers that are none


@dataclass(frozen=True)
class Reply:
    """What came back: whole, and within the limit."""

    status: int
    headers: Mapping[str, str]  # by lower-case name
    body: bytes


class Deadline:
    """A moment after which nothing is waited for."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left; TimeoutError if there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Bounded(io.RawIOBase):
    """Reads of a socket that together end at one deadline and one size: a time-out per read would let them drip on."""

    def __init__(self, sock: socket.socket, deadline: Deadline, most: int) -> None:
        self.sock, self.deadline, self.left, self.raw = sock, deadline, most, sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.sock.settimeout(self.deadline.left())
        count = self.raw.readinto(buffer)
        self.left -= count or 0
        if self.left < 0:  # whatever lengths and chunks were announced
            raise Unanswered("sends without end; is this the model's address?")
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return itself as the file that a response reads."""
        return io.BufferedReader(self)


class _Connection(http.client.HTTPConnection):
    """http.client's connection, with a deadline for everything that waits."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, most: int) -> None:
        self.default_port = 80 if context is None else 443
        super().__init__(host, port)
        self.context, self.deadline, self.most = context, Deadline(0), most
        self.reader: _Bounded | None = None

    def response_class(  # type: ignore[override]  # http.client calls it, and a bound method is as good as a class
        self, sock: socket.socket, *args: Any, **options: Any
    ) -> http.client.HTTPResponse:
        """Return a response that reads within the limits."""
        if hasattr(socket, "TCP_QUICKACK"):  # else servers that write head and body apart wait 40 ms for our receipt
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.reader = _Bounded(sock, self.deadline, self.most)
        return http.client.HTTPResponse(self.reader, *args, **options)  # type: ignore[arg-type]

    def connect(self) -> None:
        """Connect, and shake hands where the address says https."""
        sock = socket.create_connection((self.host, self.port), self.deadline.left())
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self.deadline.left())
            self.sock = self.context.wrap_socket(sock, server_hostname=self.host) if self.context else sock
        except BaseException:
            sock.close()
            raise

    def end(self) -> None:
        """Close the socket and what reads from it: http.client leaves the reader of a failed response open."""
        self.close()
        if self.reader is not None:
            self.reader.close()

    def send(self, data: Any) -> None:
        """Send bytes block by block: whoever reads slowly meets the deadline, too."""
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        while view:
            self.sock.settimeout(self.deadline.left())
            view = view[self.sock.send(view[:BLOCK]) :]


class Client:
    """Posts bodies to one address."""

    def __init__(
        self,
        address: SplitResult,
        headers: Mapping[str, str],
        *,
        context: ssl.SSLContext | None,
        timeout_seconds: float,
        most_bytes: int,
    ) -> None:
        self.host = address.hostname or ""
        port = address.port or (443 if address.scheme == "https" else 80)
        self._target = address.path + (f"?{address.query}" if address.query else "")
        self._headers, self._seconds, self._most = dict(headers), timeout_seconds, most_bytes
        self._connection = _Connection(self.host, port, context, most_bytes + MOST_HEADERS)
        weakref.finalize(self, self._connection.end)

    def post(self, body: bytes) -> Reply:
        """Return the whole reply to a body; Unanswered where there is none.

        A server may close an idle connection at the moment it is used again, so a used one is tried anew at once.
        """
        used = self._connection.sock is not None
        try:
            try:
                return self._exchange(body)
            except (ConnectionError, ssl.SSLError, http.client.BadStatusLine):
                self.close()
                if not used:
                    raise
            return self._exchange(body)
        except FAILURES as error:
            raise from_exception(error, self.host, self._seconds) from error

    def _exchange(self, body: bytes) -> Reply:
        self._connection.deadline = Deadline(self._seconds)
        try:
            self._send(body)
            response = self._connection.getresponse()
            headers = {name.lower(): value for name, value in response.headers.items()}
            reply = Reply(response.status, headers, self._read(response))
        except BaseException:  # half an exchange, an interrupted one too, must not be taken for the next one's answer
            self.close()
            raise
        return reply

    def _send(self, body: bytes) -> None:
        try:
            self._connection.request("POST", self._target, body, self._headers)
        except (BrokenPipeError, ConnectionResetError):
            if self._connection.sock is None:
                raise
            # a server may refuse a long body before it has read it: what it says is read first

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Return the body, whole; Unanswered if it is longer than allowed, cut off or encoded."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise Unanswered(f"answers with the encoding {encoding[:40]!r}, which was not asked for; want it plain")
        length = response.length  # None: until the connection closes, or in chunks
        if length is not None and length > self._most:
            raise self._too_long()
        body = response.read(self._most + 1)
        if len(body) > self._most:
            raise self._too_long()
        if length is not None and len(body) < length:
            raise http.client.IncompleteRead(b"", length - len(body))
        return body

    def _too_long(self) -> Unanswered:
        return Unanswered(
            f"answers more than {self._most} bytes; lower model.endpoint.batch_size or raise max_answer_bytes"
        )

    def close(self) -> None:
        """Close the connection; the next post opens it again."""
        self._connection.end()
