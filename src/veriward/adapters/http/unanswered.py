"""Why a served model gave no usable answer, in words that never hold a credential, and whether asking again may help."""

import contextlib
import email.utils
import http.client
import json
import math
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

from veriward.core.errors import ModelError

MOST_QUOTED = 200  # characters of what a server says
BUSY = (408, 425, 429, 500, 502, 503, 504)  # states that pass: asked again
LONGEST_WAIT_SECONDS = 60.0  # whatever a server asks for


class Unanswered(ModelError):  # noqa: N818 -- says what happened
    """One exchange without an answer. `again`: the same request may succeed later; `after`: not before, in seconds."""

    def __init__(self, text: str, *, again: bool = False, after: float = 0.0) -> None:
        super().__init__(text)
        self.again, self.after = again, after


class TooManyRows(Unanswered):
    """The server wants shorter requests."""


def from_exception(error: Exception, host: str, seconds: float) -> Unanswered:
    """Return what went wrong below HTTP, by the kind of the exception."""
    if isinstance(error, TimeoutError):
        return Unanswered(
            f"gave no whole answer within {seconds:g} s; raise model.endpoint.timeout_seconds", again=True
        )
    if isinstance(error, UnicodeError):
        return Unanswered(f"{host!r} is no name of a host; check model.path")
    if isinstance(error, socket.gaierror):
        later = error.errno == socket.EAI_AGAIN
        return Unanswered(f"the name {host!r} is not resolved ({error.strerror}); check model.path", again=later)
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted ({error.verify_message}); name its authority's file in model.endpoint.ca"
        return Unanswered(why)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError | BrokenPipeError):
        return Unanswered("closed the connection without an answer; are the requests too long?", again=True)
    if isinstance(error, ssl.SSLError):
        return Unanswered(f"TLS fails ({error.reason or type(error).__name__}); does it speak https on this port?")
    if isinstance(error, ConnectionRefusedError):
        return Unanswered("the connection is refused: does the server run, and on this port?", again=True)
    if isinstance(error, http.client.IncompleteRead):
        return Unanswered("the answer is cut off", again=True)
    if isinstance(error, http.client.HTTPException | ValueError):
        return Unanswered(f"does not speak HTTP as it should ({type(error).__name__}); check port and scheme")
    return Unanswered(f"cannot be reached ({getattr(error, 'strerror', None) or type(error).__name__})", again=True)


def from_status(status: int, headers: Mapping[str, str], body: str, credential: str) -> Unanswered:
    """Return what a status other than 200 means. `credential` says in words what was sent as one."""
    said = told(body)
    if 300 <= status < 400:
        where = quoted(headers.get("location", "nowhere"))
        return Unanswered(
            f"redirects to {where}; redirects are not followed, since rows and tokens would travel there: "
            "put the final address into model.path"
        )
    if status in (401, 403):
        return Unanswered(f"refuses the caller ({status}); {credential}{said}")
    if status == 404:
        return Unanswered(f"has nothing at this path (404); check model.path{said}")
    if status == 405:
        return Unanswered(f"takes no POST at this path (405); check model.path{said}")
    if status == 413:
        return TooManyRows("finds even one row too large (413)")
    if status in BUSY:
        return Unanswered(f"answers {status}{said}", again=True, after=retry_after(headers.get("retry-after")))
    if status in (400, 415, 422):
        return Unanswered(f"does not understand the rows ({status}); check rows and request in [model.endpoint]{said}")
    return Unanswered(f"answers {status}, want 200{said}")


def retry_after(text: str | None) -> float:
    """Return how long a Retry-After header asks to wait, in seconds: a number or a date (RFC 9110, section 10.2.3).

    >>> retry_after("7"), retry_after("soon"), retry_after("999999999")
    (7.0, 0.0, 60.0)
    """
    if text is None:
        return 0.0
    try:
        seconds = float(text) if text.strip().isdecimal() else email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    wait = seconds if text.strip().isdecimal() else seconds - time.time()
    return min(max(wait, 0.0), LONGEST_WAIT_SECONDS) if math.isfinite(wait) else 0.0


def told(body: str) -> str:
    """Return what a server says in the body of an error, as the end of a sentence; nothing for an empty or HTML one.

    >>> told('{"error": "no such signature"}')
    "; it says: 'no such signature'"
    """
    text = body.strip()
    if not text or text.startswith("<"):
        return ""
    with contextlib.suppress(ValueError, RecursionError):  # not JSON: what it says is the text itself
        text = _message(json.loads(text)) or text
    return f"; it says: {quoted(text)}"


def _message(document: Any) -> str:
    """Return the message of an error; FastAPI's repeats the rows beside each message, which are left out."""
    if isinstance(document, dict):
        found = (document.get(key) for key in ("error", "message", "detail", "error_message", "title"))
        return next((_message(value) for value in found if value), "")
    if isinstance(document, list):
        return "; ".join(_complaint(item) for item in document[:3] if isinstance(item, dict))
    return document if isinstance(document, str) else ""


def _complaint(item: dict[str, Any]) -> str:
    place = item.get("loc")
    where = ".".join(str(part) for part in place) + ": " if isinstance(place, list) else ""
    return where + str(item.get("msg", ""))


def quoted(text: str) -> str:
    r"""Return a server's words so that they cannot forge a line or paint a terminal, cut.

    >>> quoted("a\nb")
    "'a\\nb'"
    """
    return repr(text[:MOST_QUOTED] + ("…" if len(text) > MOST_QUOTED else ""))
