"""Served models: every form of question and answer, every way to fail, and nothing sent that must not be."""

import datetime
import http.server
import json
import pickle
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from veriward.adapters.http import pace
from veriward.adapters.loading import Loading
from veriward.adapters.opened import open_subject
from veriward.adapters.served import ServedBackend, from_address
from veriward.core.data import Table
from veriward.core.errors import ModelError, SettingsError
from veriward.core.fingerprint import fingerprints
from veriward.core.subject import Subject

WEIGHTS = np.array([[1.0, -1.0], [0.5, 2.0], [-0.25, 0.75]])
ROWS = np.linspace(-1, 1, 30).reshape(10, 3)
Reply = Callable[["Handler", Any], Any]


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands each request to the test's function; what that returns is answered as JSON."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.connections.add(self.client_address)
        self.server.requests.append((self.path, dict(self.headers), body))
        document = self.server.reply(self, json.loads(body))
        if document is not None:
            self.say(200, json.dumps(document).encode())

    def say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body)), "Content_Type": "application/json"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply: Reply = lambda _, body: {"predictions": scores(body["instances"])}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections: set[Any] = set()
        self.address = f"http://127.0.0.1:{self.server_address[1]}/v1/models/m:predict"

    def handle_error(self, *_: Any) -> None:
        pass  # a client that hangs up is what some tests are about


def scores(rows: Any) -> list[list[float]]:
    values = np.array([list(row.values()) if isinstance(row, dict) else row for row in rows], dtype=float)
    logits = values.reshape(len(values), -1) @ WEIGHTS
    return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).tolist()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(pace, "LAST_SECONDS", 0.002)


def subject(server: Server | str, *, model: Any = None, data: Any = None, **endpoint: Any) -> Subject:
    address = server if isinstance(server, str) else server.address
    rows = {"test": (ROWS, np.arange(10) % 2)} | (data or {})
    return Subject(model={"path": address, "endpoint": endpoint or None, **(model or {})}, data=rows)


def backend(server: Server | str, **endpoint: Any) -> ServedBackend:
    return from_address(subject(server, **endpoint), Loading())


def fails(server: Server | str, *words: str, rows: Any = ROWS, **endpoint: Any) -> str:
    with pytest.raises(ModelError) as caught:
        backend(server, **endpoint).raw(rows)
    for word in words:
        assert word in str(caught.value), caught.value
    return str(caught.value)


# -- questions and answers


def test_lists_go_out_in_batches_over_one_connection_and_come_back_as_computed(server: Server) -> None:
    got = backend(server, batch_size=4).raw(ROWS)
    np.testing.assert_allclose(got.numpy(), scores(ROWS.tolist()), rtol=0, atol=0)
    assert [len(json.loads(body)["instances"]) for _, _, body in server.requests] == [4, 4, 2]
    assert len(server.connections) == 1
    assert server.requests[0][0] == "/v1/models/m:predict"


def test_the_smaller_batch_size_counts(server: Server) -> None:
    assert from_address(subject(server, batch_size=4), Loading(batch_size=2)).batch == 2
    assert from_address(subject(server, batch_size=4), Loading(batch_size=64)).batch == 4


def test_rows_of_tensors_keep_their_shape_and_numbers(server: Server) -> None:
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    server.reply = lambda _, body: [sum(np.ravel(row)) for row in body]
    got = backend(server, request="").raw(images)
    np.testing.assert_allclose(got.numpy(), images.double().flatten(1).sum(1).numpy(), rtol=1e-15)


TABLE = Table(
    {
        "age": np.array([30, 40]),
        "income": np.array([1.5, np.nan]),
        "city": np.array(["北京", None], dtype=object),
        "on": np.array([True, False]),
    }
)


@pytest.mark.parametrize(
    ("endpoint", "want"),
    [
        (
            {},
            {
                "instances": [
                    {"age": 30, "income": 1.5, "city": "北京", "on": True},
                    {"age": 40, "income": None, "city": None, "on": False},
                ]
            },
        ),
        ({"rows": "lists", "request": "rows"}, {"rows": [[30, 1.5, "北京", True], [40, None, None, False]]}),
        (
            {"rows": "split"},
            {
                "dataframe_split": {
                    "columns": ["age", "income", "city", "on"],
                    "data": [[30, 1.5, "北京", True], [40, None, None, False]],
                }
            },
        ),
    ],
)
def test_tables_travel_with_their_types_and_gaps(server: Server, endpoint: Any, want: Any) -> None:
    server.reply = lambda _, body: [0.25, 0.75]
    assert backend(server, **endpoint).raw(TABLE).tolist() == [0.25, 0.75]
    assert json.loads(server.requests[0][2]) == want


def test_the_open_inference_protocol(server: Server) -> None:
    def reply(_: Any, body: Any) -> Any:
        (tensor,) = body["inputs"]
        assert tensor["name"] == "x"
        assert tensor["shape"] == [10, 3]
        assert tensor["datatype"] == "FP64"
        rows = np.array(tensor["data"]).reshape(10, 3)
        flat = np.ravel(scores(rows.tolist())).tolist()
        label = {"name": "label", "shape": [10], "datatype": "INT64", "data": [0] * 10}
        return {"outputs": [label, {"name": "probabilities", "shape": [10, 2], "datatype": "FP64", "data": flat}]}

    server.reply = reply
    want = scores(ROWS.tolist())
    how = {"rows": "tensor", "tensor": "x", "datatype": "FP64"}
    assert backend(server, answer="outputs.probabilities", **how).raw(ROWS).tolist() == want
    assert backend(server, answer="outputs.1", **how).raw(ROWS).tolist() == want
    assert backend(server, answer="outputs.label", **how).raw(ROWS).tolist() == [0] * 10
    with pytest.raises(ModelError, match=r"tensors 'label, probabilities'; choose one: answer = 'outputs\.NAME'"):
        backend(server, **how).raw(ROWS)


def test_tensors_keep_to_their_datatype(server: Server) -> None:
    server.reply = lambda *_: [1.5, 2.5]
    table = Table({"n": np.array([1.0, 2.0]), "city": np.array(["Ulm", None], dtype=object)})
    backend(server, rows="tensor", datatype="BYTES").raw(table)
    backend(server, rows="tensor", datatype="INT64").raw(np.array([[1.0], [2.0]]))
    sent = [json.loads(body)["inputs"][0] for _, _, body in server.requests]
    assert sent[0]["data"] == ["1.0", "Ulm", "2.0", ""]
    assert [type(value) for value in sent[1]["data"]] == [int, int]
    with pytest.raises(ModelError, match="the columns hold texts; want 'BYTES'"):
        backend(server, rows="tensor").raw(table)


@pytest.mark.parametrize(
    ("document", "endpoint"),
    [
        ([[0.2, 0.8]], {}),
        ({"predictions": [[0.2, 0.8]]}, {}),
        ({"model": "m", "scores": [[0.2, 0.8]]}, {}),
        ({"outputs": [{"name": "o", "shape": [1, 2], "data": [0.2, 0.8]}]}, {}),
        ({"predictions": [{"classes": ["a", "b"], "scores": [0.2, 0.8]}]}, {"answer": "predictions.*.scores"}),
        ({"result": {"data": {"p": [[0.2, 0.8]]}}}, {"answer": "result.data.p"}),
    ],
)
def test_answers_are_found_where_the_usual_servers_put_them(server: Server, document: Any, endpoint: Any) -> None:
    server.reply = lambda *_: document
    assert backend(server, **endpoint).raw(ROWS[:1]).tolist() == [[0.2, 0.8]]


def test_records_name_the_classes_whatever_the_order_of_the_keys(server: Server) -> None:
    server.reply = lambda *_: [{"yes": 0.9, "no": 0.1}, {"no": 0.3, "yes": 0.7}]
    asked = backend(server)
    assert asked.raw(ROWS[:2]).tolist() == [[0.1, 0.9], [0.3, 0.7]]
    assert asked.classes == ("no", "yes")
    given = from_address(subject(server, data={"classes": ["yes", "no"]}), Loading())
    assert given.raw(ROWS[:2]).tolist() == [[0.9, 0.1], [0.7, 0.3]]
    other = from_address(subject(server, data={"classes": ["ja", "nein"]}), Loading())
    with pytest.raises(ModelError, match=r"data\.classes says ja, nein"):
        other.raw(ROWS[:2])


def test_names_of_classes_become_their_numbers(server: Server) -> None:
    server.reply = lambda *_: {"predictions": ["dear", "cheap"]}
    asked = from_address(subject(server, data={"classes": ["cheap", "dear"]}), Loading())
    assert asked.raw(ROWS[:2]).tolist() == [1, 0]
    assert asked.output == "labels"
    fails(server, "list them all in data.classes", rows=ROWS[:2])
    server.reply = lambda *_: {"predictions": [7, 9]}
    numbers = from_address(subject(server, data={"classes": [9, 8, 7]}), Loading())
    assert numbers.raw(ROWS[:2]).tolist() == [2, 0]
    server.reply = lambda *_: {"predictions": [7, 6]}
    with pytest.raises(ModelError, match="class '6', which is not"):
        numbers.raw(ROWS[:2])


def test_saturated_probabilities_are_no_names_of_classes(server: Server) -> None:
    asked = from_address(subject(server, data={"classes": [1, 0]}, model={"output": "probabilities"}), Loading())
    server.reply = lambda *_: [1, 0]  # some languages write 1.0 so
    assert asked.raw(ROWS[:2]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("answers", "task", "access", "output"),
    [
        (scores, "classification", "scores", "probabilities"),
        (lambda rows: (np.array(rows) @ WEIGHTS).tolist(), "classification", "scores", "logits"),
        (lambda rows: [int(row[0] > 0) for row in rows], "classification", "labels", "labels"),
        (lambda rows: [row[0] for row in rows], "regression", "scores", "value"),
    ],
)
def test_what_the_answers_are_is_inferred(server: Server, answers: Any, task: Any, access: str, output: str) -> None:
    server.reply = lambda _, body: {"predictions": answers(body["instances"])}
    labels = ROWS[:, 0] if task == "regression" else np.arange(10) % 2
    opened = open_subject(subject(server, data={"test": (ROWS, labels)}))
    assert (opened.task, opened.access, opened.output, opened.format) == (task, access, output, "served")
    assert opened.assumptions[0].code == "model.served"
    assert opened.assumptions[0].values["host"] in server.address


def test_access_can_be_lowered_and_not_raised(server: Server) -> None:
    assert open_subject(subject(server, model={"access": "labels"})).access == "labels"
    with pytest.raises(SettingsError, match="at most scores"):
        open_subject(subject(server, model={"access": "gradients"}))


# -- answers that are none


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty body"),
        (b"<!doctype html><p>hello", "HTML"),
        (b"{'predictions': []}", "not JSON"),
        (b'{"predictions": [[0.1, 0.9]', "not JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[[NaN, 0.5]]", "NaN"),
        (b"[[-Infinity, 0.5]]", "-Infinity"),
        (b"[[1e999, 0.5]]", "beyond all doubles"),
        (b"[[" + b"9" * 400 + b", 0.5]]", "beyond all doubles"),
        (b"[" + b"9" * 5000 + b"]", "a number without end"),
        (b"[[null, 0.5]]", "null"),
        (b'[["0.5", 0.5]]', "a text"),
        (b"[[0.5], [0.1, 0.2]]", "2 rows for 1"),
        (b"[[[0.5, 0.5]]]", "lists within lists"),
        (b"[]", "0 rows for 1"),
        (b'{"predictions": 5}', "int where a list"),
        (b"null", "NoneType where a list"),
        (b'{"a": [1], "b": [2]}', "answers the keys 'a, b'; say in model.endpoint.answer"),
        (b'{"error": "no such model"}', "it says: 'no such model'"),
        (b'{"outputs": [{"shape": [1, 3], "data": [1, 2]}]}', "shape '[1, 3]' with 2 numbers"),
        (b'{"outputs": [{"shape": [-1, -2], "data": [1, 2]}]}', "no list of sizes"),
        (b'{"outputs": [{"shape": [1000000000, 0], "data": []}]}', "no list of sizes"),
    ],
)
def test_answers_that_are_none_are_refused_at_once(server: Server, body: bytes, words: str) -> None:
    server.reply = lambda handler, _: handler.say(200, body)
    text = fails(server, words, server.address, rows=ROWS[:1])
    assert len(text) < 500
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([[0.5], [0.1, 0.2]], "different lengths"),
        ([0.5, [0.1]], "for some rows only"),
        ([0.5, "x" * 1_000_000], "a text"),
        ([[0.5], ["x" * 1_000_000]], "a text"),
        ([[0.5], [{"x": 1}]], "a record"),
        ([{"x": 1}, 0.5], "other keys"),
        ([{"x": 1}, {"y": 0.5}], "other keys"),
        (["a", 0.5], "a text"),
    ],
)
def test_answers_of_mixed_forms_are_refused(server: Server, answers: Any, words: str) -> None:
    server.reply = lambda *_: answers
    fails(server, words, rows=ROWS[:2])


@pytest.mark.parametrize(("later", "words"), [([[0.1, 0.2, 0.7]], "(3,) per row, and (2,) before"), ([0.5], "() per")])
def test_the_form_of_answers_must_not_change(server: Server, later: Any, words: str) -> None:
    answers = iter([[[0.5, 0.5]], later])
    server.reply = lambda *_: next(answers)
    fails(server, words, rows=ROWS[:2], batch_size=1)


def test_promised_probabilities_are_checked_in_every_answer(server: Server) -> None:
    answers = iter([[[0.5, 0.5]], [[0.5, 0.6]]])
    server.reply = lambda *_: next(answers)
    asked = from_address(subject(server, model={"output": "probabilities"}), Loading(batch_size=1))
    with pytest.raises(ModelError, match="no probabilities"):
        asked.raw(ROWS[:2])


@pytest.mark.parametrize(
    ("path", "there"), [("predictions.x", "list"), ("scores", "'predictions'"), ("predictions.70", "list")]
)
def test_a_wrong_path_says_what_is_there(server: Server, path: str, there: str) -> None:
    fails(server, f"model.endpoint.answer = {path!r}", f"there is {there}", answer=path)


# -- states


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "does not understand the rows (400)"),
        (422, "does not understand the rows (422)"),
        (401, "refuses the caller (401); no token was sent"),
        (404, "nothing at this path (404); check model.path"),
        (405, "no POST"),
        (413, "even one row too large"),
        (418, "answers 418, want 200"),
        (204, "answers 204, want 200"),
    ],
)
def test_refusals_are_not_asked_again(server: Server, status: int, words: str) -> None:
    server.reply = lambda handler, _: handler.say(status, b"")
    fails(server, words, rows=ROWS[:1])
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_servers_are_asked_again_and_then_given_up(server: Server, status: int) -> None:
    server.reply = lambda handler, _: handler.say(status, b'{"error": "busy"}')
    fails(server, f"answers {status}; it says: 'busy' (asked 3 times)", retries=2)
    assert len(server.requests) == 3


def test_what_a_server_says_is_cut_escaped_and_without_the_rows_it_repeats(server: Server) -> None:
    server.reply = lambda handler, _: handler.say(400, b"a\x1b[31m\n" + b"z" * 10_000)
    text = fails(server, "\\x1b[31m\\n")
    assert text.isprintable()
    assert text.count("z") < 210
    detail = [{"loc": ["body", "instances", 0, "age"], "msg": "Field required", "input": {"name": "Ms Private"}}]
    server.reply = lambda handler, _: handler.say(422, json.dumps({"detail": detail}).encode())
    assert "Private" not in fails(server, "body.instances.0.age: Field required")


def test_retry_after_is_honoured(server: Server) -> None:
    times: list[float] = []

    def reply(handler: Handler, body: Any) -> Any:
        times.append(time.monotonic())
        if len(times) == 1:
            return handler.say(503, b"", Retry_After="1")
        return {"predictions": scores(body["instances"])}

    server.reply = reply
    backend(server).raw(ROWS)
    assert 1.0 <= times[1] - times[0] < 5.0


def test_413_halves_the_batch_and_remembers(server: Server) -> None:
    def reply(handler: Handler, body: Any) -> Any:
        rows = body["instances"]
        return handler.say(413, b"") if len(rows) > 3 else {"predictions": scores(rows)}

    server.reply = reply
    asked = backend(server)
    np.testing.assert_array_equal(asked.raw(ROWS).numpy(), scores(ROWS.tolist()))
    assert [len(json.loads(body)["instances"]) for _, _, body in server.requests] == [10, 5, 2, 2, 2, 2, 2]
    assert asked.batch == 2


def test_redirects_are_not_followed(server: Server) -> None:
    server.reply = lambda handler, _: handler.say(307, b"", Location="http://127.0.0.1:1/elsewhere")
    fails(server, "redirects to 'http://127.0.0.1:1/elsewhere'", "model.path")
    assert len(server.requests) == 1


def test_proxies_of_the_environment_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert len(backend(server, retries=0).raw(ROWS)) == 10


# -- below HTTP


def test_a_refused_connection_is_tried_again_and_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fails(f"http://127.0.0.1:{port}/", "the connection is refused", "asked 2 times", retries=1)


def test_unknown_hosts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    assert "asked" not in fails("http://no.such.host/", "the name 'no.such.host' is not resolved")


def test_https_to_a_server_of_http_fails_as_tls(server: Server) -> None:
    fails(server.address.replace("http:", "https:"), "TLS fails", retries=0)


def certify(server: Server, folder: Path, name: str) -> None:
    """Put a server behind TLS, with a certificate of its own signature: ca.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(names, names, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.address = server.address.replace("http://127.0.0.1", "https://localhost")


def test_tls_is_verified_against_the_named_authority(server: Server, tmp_path: Path) -> None:
    certify(server, tmp_path, "localhost")
    asked = backend(server, ca=str(tmp_path / "ca.pem"), batch_size=2)
    np.testing.assert_array_equal(asked.raw(ROWS).numpy(), scores(ROWS.tolist()))
    assert len(server.connections) == 1
    fails(server, "its certificate is not trusted", "model.endpoint.ca")
    with pytest.raises(SettingsError, match=r"model\.endpoint\.ca = .*want a PEM file"):
        backend(server, ca=str(tmp_path / "none.pem"))
    with pytest.raises(SettingsError, match=r"model\.endpoint\.ca = .*want a PEM file"):
        backend(server, ca=str(tmp_path / "key.pem"))


def test_tls_wants_the_host_s_own_name(server: Server, tmp_path: Path) -> None:
    certify(server, tmp_path, "models.example.com")
    fails(server, "its certificate is not trusted (Hostname mismatch", ca=str(tmp_path / "ca.pem"))
    assert not server.requests


def test_a_server_that_only_listens_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        for scheme in ("http", "https"):
            fails(f"{scheme}://127.0.0.1:{port}/", "no whole answer within 0.1 s", timeout_seconds=0.1, retries=0)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="receipts are sent at once on Linux alone")
def test_head_and_body_in_two_segments_cost_no_delay(server: Server) -> None:
    asked = backend(server)
    asked.raw(ROWS)
    start = time.monotonic()
    for _ in range(20):
        asked.raw(ROWS)
    assert time.monotonic() - start < 0.7  # 40 ms each where the receipt is delayed


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[0.5", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n[0.5", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n[0.5", "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[0.5]", "not JSON"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[]", "encoding 'gzip'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"[" * 5000, "more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n[\r\n" * 5000, "more than 1000 bytes"),
        (b"", "without an answer"),
    ],
)
def test_broken_answers_are_named(server: Server, data: bytes, words: str) -> None:
    server.reply = lambda handler, _: handler.raw(data)
    fails(server, words, retries=0, max_answer_bytes=1000)


def test_an_answer_without_end_is_left(server: Server) -> None:
    def reply(handler: Handler, _: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        while True:
            handler.wfile.write(b"[" * 65536)

    server.reply = reply
    fails(server, "sends without end", retries=0, max_answer_bytes=1000)


def test_a_reset_is_asked_again(server: Server) -> None:
    def reply(handler: Handler, body: Any) -> Any:
        return {"predictions": scores(body["instances"])} if len(server.requests) > 2 else handler.reset()

    server.reply = reply
    assert len(backend(server, retries=2).raw(ROWS)) == 10


def test_an_idle_connection_that_was_closed_costs_no_try(server: Server) -> None:
    asked = backend(server, retries=0)
    for _ in range(3):
        server.reply = lambda handler, body: (
            handler.say(200, json.dumps(scores(body["instances"])).encode()),
            setattr(handler, "close_connection", True),
        )[0]
        assert len(asked.raw(ROWS)) == 10
        time.sleep(0.05)  # until the server's end has reached us
    assert len(server.connections) == 3


@pytest.mark.parametrize("dripping", [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b""])
def test_a_drip_ends_at_the_deadline(server: Server, dripping: bytes) -> None:
    stop = threading.Event()

    def reply(handler: Handler, _: Any) -> None:
        handler.wfile.write(dripping)
        while not stop.wait(0.03):
            handler.wfile.write(b"X")
            handler.wfile.flush()

    server.reply = reply
    start = time.monotonic()
    fails(server, "no whole answer within 0.3 s", timeout_seconds=0.3, retries=0)
    assert time.monotonic() - start < 3
    stop.set()


def test_one_interrupted_exchange_does_not_answer_the_next(server: Server) -> None:
    first = threading.Event()

    def reply(_: Handler, body: Any) -> Any:
        if not first.is_set():
            first.set()
            time.sleep(0.3)
        return {"predictions": [row[0] for row in body["instances"]]}

    server.reply = reply
    asked = backend(server, timeout_seconds=0.1, retries=3)
    assert asked.raw(ROWS[:2]).tolist() == ROWS[:2, 0].tolist()
    assert asked.raw(ROWS[2:4]).tolist() == ROWS[2:4, 0].tolist()


def test_rate_spaces_the_requests(server: Server) -> None:
    times: list[float] = []

    def reply(_: Handler, body: Any) -> Any:
        times.append(time.monotonic())
        return {"predictions": scores(body["instances"])}

    server.reply = reply
    backend(server, rate=20, batch_size=2).raw(ROWS)
    assert len(times) == 5
    assert times[-1] - times[0] >= 4 / 20 - 0.01


# -- secrets and private columns


SECRET = "s3cr3t-valu3"


def test_the_token_travels_and_stands_nowhere_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", f"Bearer {SECRET}")
    asked = backend(server, token="SHOP_TOKEN", header="X-Key")
    asked.raw(ROWS)
    assert server.requests[0][1]["X-Key"] == f"Bearer {SECRET}"
    described = subject(server, token="SHOP_TOKEN")
    assert SECRET not in repr(described) + repr(asked) + repr(asked._credential) + str(described.model_dump())
    assert SECRET.encode() not in pickle.dumps(described)
    for status in (400, 401, 403, 404, 500):
        server.reply = lambda handler, _, status=status: handler.say(
            status, f"{'z' * 180} you sent {handler.headers['Authorization']}".encode()
        )
        text = fails(server, "***" if status != 401 else "with the value of $SHOP_TOKEN", token="SHOP_TOKEN", retries=0)
        assert SECRET[:4] not in text
    server.reply = lambda handler, _: handler.say(302, b"", Location=f"http://evil/?t={SECRET}")
    assert SECRET not in fails(server, "redirects", token="SHOP_TOKEN")
    server.reply = lambda *_: {"error": "z" * 190 + f"Bearer {SECRET}"}
    assert SECRET[:4] not in fails(server, "repeats the credential", token="SHOP_TOKEN")


def test_a_missing_or_unusable_token_is_named_before_anything_is_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    with pytest.raises(SettingsError, match="variable SHOP_TOKEN is not set"):
        backend(server, token="SHOP_TOKEN")
    for value in (f"{SECRET}\r\nX-Evil: 1", f"{SECRET}\n", f"{SECRET}é"):
        monkeypatch.setenv("SHOP_TOKEN", value)
        with pytest.raises(SettingsError, match="want printable ASCII") as caught:
            backend(server, token="SHOP_TOKEN")
        assert SECRET not in str(caught.value)
    assert not server.requests


@pytest.mark.parametrize(
    ("path", "endpoint", "words"),
    [
        (f"https://user:{SECRET}@host/", {}, "use model.endpoint.token"),
        (f"https://host/?api_key={SECRET}", {}, "ends up in reports"),
        (f"https://host/#{SECRET}", {}, "after #"),
        (f"ftp://host/{SECRET}", {}, "want https://host/path"),
        (f"https://host/ {SECRET}", {}, "no blanks"),
        (f"https://host:{SECRET}/", {}, "no address"),
        ("https://host/", {"token": f"Bearer {SECRET}"}, "never the value"),
        ("https://host/", {"token": "A", "header": "Host"}, "header wants"),
        ("https://host/", {"token": "A", "header": "X\r\nY"}, "header wants"),
        ("http://host/", {"token": "A"}, "in the clear"),
        ("model.pt2", {"rows": "lists"}, "endpoint is about served models"),
    ],
)
def test_settings_that_would_give_a_secret_away_are_refused_unquoted(path: str, endpoint: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        subject(path, **endpoint)
    assert SECRET not in str(caught.value)


def test_plain_http_to_others_is_noted() -> None:
    there = from_address(subject("http://models.example.com/m"), Loading())
    assert [note.code for note in there.notes] == ["model.served", "model.served_clear"]
    safe = from_address(subject("https://models.example.com/m"), Loading())
    assert [note.code for note in safe.notes] == ["model.served"]


def private_data() -> dict[str, Any]:
    columns = {"age": ROWS[:, 0], "notes": np.array(["Ms Private"] * 10), "income": ROWS[:, 1], "zip": ROWS[:, 2]}
    return {"test": {**columns, "y": np.arange(10) % 2}, "label": "y", "private": ["notes"]}


@pytest.mark.parametrize("rows", ["records", "lists", "split"])
def test_private_columns_never_leave(server: Server, rows: str) -> None:
    server.reply = lambda *_: [[0.4, 0.6]] * 10
    opened = open_subject(subject(server, data=private_data(), rows=rows, batch_size=10))
    assert opened.test.x.names == ("age", "income", "zip")
    assert "input.private_withheld" in [note.code for note in opened.assumptions]
    sent = b"".join(body for _, _, body in server.requests)
    assert sent
    assert b"Private" not in sent
    assert b"notes" not in sent


def test_naming_a_private_column_as_an_input_is_refused(server: Server) -> None:
    described = Subject(model=server.address, data=private_data(), input={"columns": ["age", "notes", "income", "zip"]})
    with pytest.raises(SettingsError, match=r"input\.columns names notes, which data\.private keeps"):
        open_subject(described)
    assert not server.requests


def test_private_columns_of_a_matrix_are_not_sent_either(server: Server) -> None:
    with pytest.raises(ModelError, match=r"data\.private: x1 would be sent to 127\.0\.0\.1"):
        open_subject(subject(server, data={"private": ["x1"]}))
    assert not server.requests


# -- identity


def test_the_fingerprint_is_what_is_asked_not_how_patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(**endpoint: Any) -> str:
        return fingerprints(subject("https://host/m", **endpoint))["model"]

    monkeypatch.setenv("A", SECRET)
    same = {"timeout_seconds": 5, "retries": 1, "rate": 2, "batch_size": 3, "token": "A", "header": "X", "ca": "a.pem"}
    assert model() == model(**same) == model(request="instances") == model(max_answer_bytes=5)
    others = [
        {"answer": "x"},
        {"request": "x"},
        {"rows": "lists"},
        {"rows": "tensor"},
        {"rows": "tensor", "tensor": "x"},
    ]
    assert len({model(), *(model(**other) for other in others)}) == 6
