"""How a served model is asked: the form of its rows and answers, the credential, and how gently. Connects to nothing."""

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from pydantic import Field, model_validator

from veriward.core.section import Section

Rows = Literal["lists", "records", "split", "tensor"]
Number = Literal["FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "BOOL", "BYTES"]
Seconds = Annotated[float, Field(gt=0, le=3600)]

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")  # a pasted secret is seldom all capitals, so it is refused unread
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, section 5.1
OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "accept")
CREDENTIAL = re.compile(r"(?i)(api[-_]?)?key|code|sig(nature)?|.*(token|secret|password|passwd|credential).*")


class Endpoint(Section):
    """What `model.path` alone does not say about a served model.

    The requests and answers of the usual servers:

    - TensorFlow Serving, KServe v1, Vertex AI: rows = "lists"
    - MLflow: rows = "split"; Azure ML: that with request = "input_data"
    - KServe v2, Triton: rows = "tensor" with the names of the tensor and its datatype
    - FastAPI, BentoML: rows = "records" or "lists" with request = the argument's name, or "" for the bare list

    >>> Endpoint(rows="split", token="SHOP_TOKEN").request_key
    'dataframe_split'
    """

    rows: Rows | None = None  # None: records for named columns, lists for arrays
    request: str | None = None  # the key that the rows stand under; "" sends them bare
    answer: str | None = None  # where the answers stand: "predictions", "outputs.0", "predictions.*.scores"
    tensor: str = "input-0"  # the name of the input, rows = "tensor" alone
    datatype: Number = "FP32"  # of the input, rows = "tensor" alone
    header: str = "Authorization"
    token: str | None = None  # the environment variable that holds the header's whole value
    timeout_seconds: Seconds = 30.0  # for a whole exchange, connecting included
    retries: int = Field(default=5, ge=0, le=20)
    rate: float | None = Field(default=None, gt=0, le=1e6)  # requests per second
    batch_size: int = Field(default=256, ge=1, le=65536)  # rows per request, at most
    ca: str | None = None  # a file of certificates to trust instead of the system's
    max_answer_bytes: int = Field(default=16 << 20, ge=1, le=1 << 30)

    @model_validator(mode="after")
    def _carries_no_secret(self) -> "Endpoint":
        # checked here and not by field: a message about a field quotes what came, and that may be the secret itself
        if self.token is not None and not VARIABLE.fullmatch(self.token):
            raise ValueError(
                "token wants the name of the environment variable that holds the header's value, in capitals "
                "(token = 'SHOP_TOKEN'), never the value"
            )
        if not FIELD_NAME.fullmatch(self.header) or self.header.lower() in OURS:
            raise ValueError("header wants the name of the header that carries the token, e.g. 'Authorization'")
        return self

    @property
    def request_key(self) -> str:
        """The key that the rows stand under."""
        usual = {"split": "dataframe_split", "tensor": "inputs"}
        return usual.get(self.rows or "", "instances") if self.request is None else self.request

    def form(self) -> dict[str, str | None]:
        """Return what can change an answer; how patiently and as whom it was asked for cannot."""
        tensor = {"tensor": self.tensor, "datatype": self.datatype} if self.rows == "tensor" else {}
        return {"rows": self.rows, "request": self.request_key, "answer": self.answer, **tensor}


def is_address(path: str) -> bool:
    """Return whether a model's path is an address, not a file.

    >>> is_address("https://models.example.com/shop:predict")
    True
    """
    return "://" in path


def parse_address(path: str) -> SplitResult:
    """Return the parts of a served model's address, its path quoted.

    Raises ValueError, which never quotes the address: it may hold a password.
    """
    if re.search(r"[\x00-\x20\x7f\\]", path):
        raise ValueError("path: an address has no blanks, control characters or backslashes; quote them as %20")
    try:
        parts = urlsplit(path)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("path: no address; want https://host/path or http://host:port/path") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("path: no such address is asked; want https://host/path or http://host:port/path")
    if "@" in parts.netloc:
        raise ValueError("path: user and password do not belong into an address; use model.endpoint.token")
    if parts.fragment:
        raise ValueError("path: the part after # never reaches a server; leave it out")
    if any(CREDENTIAL.fullmatch(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError("path: a key in an address ends up in reports; use model.endpoint.header and token")
    return parts._replace(
        path=quote(parts.path or "/", safe="/%:=,;@!$&'()*+~"), query=quote(parts.query, "/%:=,;@&+?")
    )


def is_loopback(host: str) -> bool:
    """Return whether what is sent to a host stays on this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("models.example.com")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_served(path: str, factory: str | None, endpoint: Endpoint | None) -> None:
    """Raise ValueError for an address that cannot be asked safely; it never quotes the address."""
    parts = parse_address(path)
    if factory is not None:
        raise ValueError("factory builds a module for weights in a file; a served model needs none")
    if endpoint is not None and endpoint.token and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("endpoint.token would travel in the clear over http; use https")
