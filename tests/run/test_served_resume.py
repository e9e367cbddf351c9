"""A served model that fails for a while, or goes away: nothing measured is lost, and the end is the same."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import veriward
from veriward.adapters.http import pace
from veriward.adapters.loading import Loading
from veriward.adapters.opened import open_subject
from veriward.core.errors import ModelError, SettingsError
from veriward.core.journal import Journal
from veriward.core.subject import Subject
from veriward.run.draft import draft
from veriward.run.engine import InProcess, Pool, choose

SUBJECT = """\
name = "far"
[model]
path = "http://127.0.0.1:{port}/predict"
{model}
[model.endpoint]
retries = {retries}
batch_size = 64
[input]
bounds = [-1.0, 1.0]
[threat.evasion]
eps = 0.4
[data]
train = "train.csv"
test = "test.csv"
label = "y"
groups = ["group"]
favourable = 1
private = ["notes"]
"""
POLICY = """\
[[limit]]
check = "evasion/linf"
metric = "robust_accuracy"
pass = ">= 0.99"
[[limit]]
check = "leakage/loss"
metric = "auc"
pass = "<= 0.99"
"""
ROWS = 40  # of each split
CHECKS = ["evasion/linf", "leakage/loss", "fairness/groups"]
WEIGHTS = np.array([2.0, -1.0, 0.5])


class Handler(http.server.BaseHTTPRequestHandler):
    """A logistic regression; `server.refuses(n)` says whether the n-th request fails."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        if self.server.refuses(len(self.server.bodies)):
            return self.say(503, b'{"error": "out of order"}')
        rows = json.loads(body)["instances"]
        x = np.array([[row["a"], row["b"], row["c"]] for row in rows])
        p = 1 / (1 + np.exp(-(x @ WEIGHTS)))
        return self.say(200, json.dumps({"predictions": np.column_stack([1 - p, p]).tolist()}).encode())

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []
        self.refuses: Callable[[int], bool] = lambda _: False

    @property
    def rows(self) -> int:
        return sum(len(json.loads(body)["instances"]) for body in self.bodies)


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_SECONDS", 0.001)


def write(folder: Path, server: Server, *, retries: int = 2, model: str = "") -> Path:
    import pandas as pd

    folder.mkdir()
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.uniform(-1, 1, (2 * ROWS, 3)).round(3), columns=["a", "b", "c"])
    frame["notes"] = "Ms Private"
    frame["group"] = generator.choice(["f", "m"], 2 * ROWS)
    frame["y"] = (frame[["a", "b", "c"]].to_numpy() @ WEIGHTS + generator.normal(0, 0.3, 2 * ROWS) > 0).astype(int)
    frame[:ROWS].to_csv(folder / "train.csv", index=False)
    frame[ROWS:].to_csv(folder / "test.csv", index=False)
    (folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    text = SUBJECT.format(port=server.server_address[1], retries=retries, model=model)
    (folder / "subject.toml").write_text(text, encoding="utf-8")
    return folder


def assess(folder: Path, workers: int = 1) -> veriward.Dossier:
    return veriward.assess(folder, checks=CHECKS, policy=folder / "policy.toml", budget="quick", workers=workers)


def facts(dossier: veriward.Dossier) -> dict[str, Any]:
    """Return everything that two runs must have in common, which leaves out seconds and the server's port."""
    return {
        name: (
            finding.verdict,
            [estimate.to_dict() for estimate in finding.estimates],
            {key: repr(values.tolist()) for key, values in finding.outcomes.items()},
        )
        for name, finding in dossier.findings.items()
    }


def test_a_run_says_who_was_asked_and_counts_the_rows(server: Server, tmp_path: Path) -> None:
    with assess(write(tmp_path / "far", server)) as dossier:
        assert list(dossier.findings) == ["evasion/linf", "fairness/groups", "leakage/loss"]
        assert not [finding.error for finding in dossier if finding.error]
        codes = [item["code"] for item in dossier.plan["assumptions"]]
        asked = sum(finding.evidence.cost.queries for finding in dossier if finding.evidence)
    assert codes[0] == "model.served"
    assert "input.private_withheld" in codes
    probes = 64 + 64  # of `ask` and, since the columns may hold texts, of nothing else
    assert asked <= server.rows <= asked + probes
    assert b"Private" not in b"".join(server.bodies) + (tmp_path / "far" / "far.ward").read_bytes()


@pytest.mark.slow
def test_a_server_that_fails_every_third_time_changes_nothing(server: Server, tmp_path: Path) -> None:
    with assess(write(tmp_path / "sound", server)) as dossier:
        want = facts(dossier)
    server.refuses = lambda n: n % 3 == 0
    with assess(write(tmp_path / "shaky", server)) as dossier:
        assert facts(dossier) == want


@pytest.mark.slow
@pytest.mark.parametrize("half", [True, False])
def test_a_server_that_goes_away_leaves_errors_and_a_resumed_run_ends_the_same(
    server: Server, tmp_path: Path, half: bool
) -> None:
    with assess(write(tmp_path / "whole", server)) as dossier:
        want = facts(dossier)
    whole = len(server.bodies)
    folder = write(tmp_path / "broken", server)
    server.bodies.clear()
    server.refuses = lambda n: n > (whole // 2 if half else whole - 1)
    with assess(folder) as dossier:
        verdicts = {name: finding.verdict for name, finding in dossier.findings.items()}
        errors = [finding.error for finding in dossier if finding.error]
    assert "error" in verdicts.values()
    assert "answers 503; it says: 'out of order' (asked 3 times)" in errors[0]
    with Journal(folder / "far.ward") as journal:
        kept = sum(row.kind == "evidence" for row in journal.rows())
    assert (kept, len(errors)) == ((0, 3) if half else (2, 1))
    server.bodies.clear()
    server.refuses = lambda _: False
    with assess(folder) as dossier:
        assert facts(dossier) == want
    assert len(server.bodies) == (whole if half else 2)  # the probe, and what the last check asks
    server.bodies.clear()
    assess(folder).close()
    assert len(server.bodies) == 1  # the probe alone: everything else is known


def test_a_server_that_is_away_at_the_start_ends_the_run_before_it_begins(server: Server, tmp_path: Path) -> None:
    server.refuses = lambda _: True
    folder = write(tmp_path / "far", server)
    with pytest.raises(ModelError, match="answers 503"):
        assess(folder)
    assert not list(folder.glob("*.ward"))


def test_patience_is_no_part_of_what_was_measured(server: Server, tmp_path: Path) -> None:
    folder = write(tmp_path / "far", server)
    assess(folder).close()
    server.bodies.clear()
    file = folder / "subject.toml"
    file.write_text(file.read_text().replace("retries = 2", "retries = 1\nrate = 500\ntimeout_seconds = 7"))
    assess(folder).close()
    assert len(server.bodies) == 1


@pytest.mark.slow
def test_the_command_line_resumes_and_says_what_went_wrong(tmp_path: Path) -> None:
    with serving() as server:
        folder = write(tmp_path / "far", server, retries=0)
        command = [sys.executable, "-m", "veriward", "assess", str(folder), "--budget", "quick", "--workers", "1"]
        command += ["--checks", ",".join(CHECKS), "--policy", str(folder / "policy.toml")]
        server.refuses = lambda n: n > 20
        first = subprocess.run(command, capture_output=True, text=True, check=False)
        server.refuses = lambda _: False
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    third = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode in (1, 3), first.stderr
    assert "answers 503" in first.stdout + first.stderr
    with assess_again(folder) as dossier:
        assert not [finding.error for finding in dossier if finding.error]
    assert second.returncode in (0, 1, 3), second.stderr
    assert third.returncode == 2
    assert third.stderr.count("\n") == 1, third.stderr
    assert "the connection is refused" in third.stderr


def assess_again(folder: Path) -> veriward.Dossier:
    return veriward.Dossier.open(folder / "far.ward")


@pytest.mark.slow
def test_workers_ask_side_by_side_and_find_the_same(server: Server, tmp_path: Path) -> None:
    with assess(write(tmp_path / "one", server)) as dossier:
        want = facts(dossier)
    folder = write(tmp_path / "two", server)
    with assess(folder, workers=2) as dossier:
        assert facts(dossier) == want


def test_a_limited_rate_keeps_the_run_in_one_process(server: Server, tmp_path: Path) -> None:
    folder = write(tmp_path / "far", server)
    free = open_subject(Subject.load(folder))
    assert isinstance(choose(free, Loading(), engine="local", workers=4), Pool)
    file = folder / "subject.toml"
    file.write_text(file.read_text().replace("retries = 2", "rate = 100"))
    paced = open_subject(Subject.load(folder))
    assert isinstance(choose(paced, Loading(), engine="local", workers=4), InProcess)


def test_init_asks_the_address_and_writes_it_down(server: Server, tmp_path: Path) -> None:
    folder = write(tmp_path / "far", server)
    address = f"http://127.0.0.1:{server.server_address[1]}/predict"
    data = folder / "plain.csv"
    lines = (folder / "test.csv").read_text().splitlines()
    data.write_text("\n".join(",".join(line.split(",")[i] for i in (0, 1, 2, 5)) for line in lines))
    text = draft(address, data, label=None, factory=None, folder=folder)
    (folder / "subject.toml").write_text(text, encoding="utf-8")
    described = Subject.load(folder)
    assert (described.model.path, described.model.output, described.name) == (address, "probabilities", "127.0.0.1")
    with pytest.raises(SettingsError, match=r"MODEL: path: user and password"):
        draft("http://me:pw@host/", None, label=None, factory=None, folder=folder)
