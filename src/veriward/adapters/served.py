"""Served models: asked over HTTP with rows as JSON. The only connection goes to the address in model.path.

Rows count as queries once, when they are answered. A request that had to be sent again, because the network or the
server failed, is not counted twice: what a finding cost must not depend on the weather. The server's own log may
therefore show more requests than the dossier.
"""

import ssl
from typing import Any

import torch
from torch import Tensor

from veriward.adapters.http.answers import Reading, find, parse
from veriward.adapters.http.client import Client, Reply
from veriward.adapters.http.credential import Credential
from veriward.adapters.http.pace import BackOff, Pace
from veriward.adapters.http.rows import encode_rows
from veriward.adapters.http.unanswered import TooManyRows, Unanswered, from_status
from veriward.adapters.loading import Loading
from veriward.adapters.model import Classes
from veriward.core.data import Table
from veriward.core.endpoint import Endpoint, is_loopback, parse_address
from veriward.core.errors import ModelError, SettingsError, some
from veriward.core.note import Note, note
from veriward.core.subject import Access, Output, Subject

TYPE = "application/json"
MOST_SAID = 1 << 16  # bytes of an error's body that are read


class ServedBackend:
    """Asks a server: scores (n, k), labels or values (n,), as the answers are. It keeps one connection open."""

    format = "served"
    access: Access = "scores"
    columns: tuple[str, ...] | None = None
    width: int | None = None
    classes: Classes | None = None  # known once an answer has told them
    remote = True  # rows leave this machine

    def __init__(self, subject: Subject, *, batch_size: int | None = None) -> None:
        assert subject.model.path is not None
        address, self.endpoint = parse_address(subject.model.path), subject.model.endpoint or Endpoint()
        self.address, self.private = address, frozenset(subject.data.private)
        self.batch = min(self.endpoint.batch_size, batch_size or self.endpoint.batch_size)
        self._credential = Credential(self.endpoint)
        self._client = Client(
            address,
            {"Content-Type": TYPE, "Accept": TYPE, "User-Agent": "veriward", **self._credential.headers()},
            context=_context(subject, self.endpoint) if address.scheme == "https" else None,
            timeout_seconds=self.endpoint.timeout_seconds,
            most_bytes=self.endpoint.max_answer_bytes,
        )
        self._reading = Reading(subject.data.classes, subject.model.output)
        self._pace, self._back_off = Pace(self.endpoint.rate), BackOff()

    @property
    def output(self) -> Output | None:
        """What `raw` gives, where the answers tell."""
        return self._reading.output

    @property
    def notes(self) -> tuple[Note, ...]:
        """What a reader of the report must know: the model may change, and who saw the rows."""
        host = self.address.netloc
        clear = self.address.scheme == "http" and not is_loopback(self.address.hostname or "")
        return (note("model.served", host=host), *((note("model.served_clear", host=host),) if clear else ()))

    def raw(self, x: Any) -> Tensor:
        """Return what the server answers, as many rows at a time as it takes."""
        self._keep_private(x)
        parts: list[Tensor] = []
        start = 0
        while start < len(x):
            rows = _some_rows(x, start, start + self.batch)
            try:
                parts.append(self._reading_of(self._ask(encode_rows(rows, self.endpoint)), len(rows)))
            except TooManyRows as error:
                if len(rows) == 1:
                    raise self._failure(error) from error
                self.batch = len(rows) // 2
            else:
                start += len(rows)
        return torch.cat(parts) if parts else torch.empty(0, 1)

    def _reading_of(self, reply: Reply, n: int) -> Tensor:
        try:
            document = parse(reply.body, reply.headers.get("content-type", ""))
            raw = self._reading.tensor(find(document, self.endpoint.answer), n)
        except ModelError as error:
            if self._credential.stands_in(reply.body):  # quoted and cut it might not be recognised any more
                raise self._failure("answers what is no prediction, and repeats the credential") from None
            raise self._failure(error) from None
        self.classes = self._reading.classes
        return raw

    def _ask(self, body: bytes) -> Reply:
        """Return the reply to a body; asks again where that may help."""
        tries = 0
        while True:
            self._pace.wait()
            try:
                return self._exchange(body)
            except TooManyRows:
                raise
            except Unanswered as error:
                tries += 1
                if not error.again or tries > self.endpoint.retries:
                    raise self._failure(error, f" (asked {tries} times)" if tries > 1 else "") from error
                self._back_off.wait(tries, error.after)

    def _exchange(self, body: bytes) -> Reply:
        reply = self._client.post(body)
        if reply.status == 200:
            return reply
        headers = {name: self._credential.hide(value) for name, value in reply.headers.items()}
        said = self._credential.hide(reply.body[:MOST_SAID].decode("utf-8", errors="replace"))
        raise from_status(reply.status, headers, said, self._credential.words())

    def _failure(self, error: object, tries: str = "") -> ModelError:
        return ModelError(f"model at {self.address.geturl()}: {error}{tries}")

    def _keep_private(self, x: Any) -> None:
        """Raise rather than send a private column; tables come without them, so that this is the second lock."""
        names = x.names if isinstance(x, Table) else [f"x{i}" for i in range(x.shape[1])] if x.ndim == 2 else ()
        if self.private.intersection(names):
            raise ModelError(
                f"data.private: {some(sorted(self.private.intersection(names)))} would be sent to "
                f"{self.address.netloc}; use a table with named columns without it, or declare it not private"
            )


def _some_rows(x: Any, start: int, stop: int) -> Any:
    return x.take(slice(start, stop)) if isinstance(x, Table) else x[start:stop]


def _context(subject: Subject, endpoint: Endpoint) -> ssl.SSLContext:
    """Return what TLS trusts: the system's authorities, or those of `ca` alone."""
    if endpoint.ca is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(subject.place(endpoint.ca)))
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise SettingsError(f"model.endpoint.ca = {endpoint.ca!r}: {why}; want a PEM file of certificates") from None


def from_address(subject: Subject, how: Loading) -> ServedBackend:
    """Return the backend of a served model; nothing is asked yet."""
    return ServedBackend(subject, batch_size=how.batch_size)
