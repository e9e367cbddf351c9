"""`veriward view` as a user starts it: a real server, its address, Ctrl-C, and a browser where one is installed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from veriward.cli.app import main
from veriward.core.estimate import proportion
from veriward.core.evidence import Evidence, Witness
from veriward.core.journal import Journal
from veriward.core.threat import Threat

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

SECONDS = 60
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def write(path: Path, broken: int) -> None:
    """Write a finished dossier of 100 rows by hand."""
    flags = np.array([1] * broken + [0] * (100 - broken), np.int8)
    at = {"eps": 0.1, "norm": "linf"}
    threat = Threat("misclassify", "gradients", at, {"eps": "raw input units"})
    estimates = (proportion("robust_accuracy", 100 - broken, 100, at=at, bound="upper"),)
    picture = np.linspace(0, 1, 64).reshape(1, 8, 8)
    seen = Witness(0, "64 pixels moved", 0.5, {"clean": picture, "adversarial": picture**2, "was": "8", "became": "3"})
    evidence = Evidence("evasion/linf", "1", threat, estimates, {"broken": flags}, 100, witnesses=(seen,))
    check = {"id": "evasion/linf", "check": "evasion/linf", "version": "1", "question": "?", "threat": threat.to_dict()}
    subject = {"name": path.stem, "task": "classification", "kind": "image", "access": "gradients", "format": "pt2"}
    subject |= {"rows": {"test": 100}, "fingerprints": {"model": path.stem, "test": "b" * 64}}
    plan = {
        "subject": subject,
        "policy": {"name": "none", "hash": "c" * 64, "limit": []},
        "environment": {},
        "budget": "standard",
        "seed": 0,
        "checks": [{**check, "settings": {}, "key": "k"}],
        "not_run": [],
    }
    with Journal(path, write=True) as journal:
        journal.append("plan", "p", plan)
        journal.append("start", "k", {"id": "evasion/linf"})
        journal.append("evidence", "k", evidence.to_dict())
        journal.append("judgement", "j", {"plan": "p", "findings": {"evasion/linf": []}})
        journal.append("finish", "f", {"count": 4})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dossiers")
    write(place / "old.ward", 10)
    write(place / "new.ward", 60)
    return place


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "veriward", "view", str(folder), "--lang", "en"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        last = threading.Timer(5 * SECONDS, process.kill)  # nothing here may outlive a broken test
        last.start()
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            last.cancel()
            process.kill()


def fetch(address: str) -> str:
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:
        return str(answer.read().decode())


def test_the_printed_address_lists_and_opens(server: tuple[str, "subprocess.Popen[str]"]) -> None:
    home, _ = server
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{22}/", home)
    text = fetch(home)
    for name in ("old.ward", "new.ward"):
        assert name in text
    keys = re.findall(r"/d/([0-9a-f]{12})\?", text)
    assert "robust accuracy" in fetch(f"{home}d/{keys[0]}")
    assert "100 of 100 rows" in fetch(f"{home}d/{keys[0]}/rows/0").replace("\u00a0", " ")


def test_nothing_answers_under_another_address_or_name(server: tuple[str, "subprocess.Popen[str]"]) -> None:
    home, _ = server
    root = re.sub(r"[^/]+/$", "", home)
    for address, headers, status in (
        (root, {}, 404),
        (root + "guess/", {}, 404),
        (home, {"Host": "evil.example"}, 421),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=SECONDS)
        assert refused.value.code == status
        refused.value.close()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no list of sockets on this system")
def test_it_listens_on_this_machine_alone(server: tuple[str, "subprocess.Popen[str]"]) -> None:
    port = int(re.findall(r":(\d+)/", server[0])[0])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = [fields[1] for fields in listening if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port]
    assert ours == [f"0100007F:{port:04X}"]  # 127.0.0.1, in the order of a little-endian machine


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium installed")
def test_a_browser_walks_through(server: tuple[str, "subprocess.Popen[str]"], tmp_path: Path) -> None:
    home, _ = server
    keys = dict(re.findall(r'/d/([0-9a-f]{12})\?lang=en"><bdi>(\w+)\.ward', fetch(home)))
    new, old = sorted(keys, key=keys.__getitem__)
    pages = {
        "": "new.ward",
        f"d/{new}": "Rows of each finding",
        f"compare?a={old}&b={new}": "50 rows",
        f"d/{new}/rows/0?is0=1": "60 of 100 rows",
        f"d/{new}/row/0": "64 pixels moved",
    }
    for path, expected in pages.items():
        shown = dump(home + path, tmp_path)
        assert expected in shown.replace("&nbsp;", " "), path
        assert "Content Security Policy" not in shown


def dump(address: str, folder: Path) -> str:
    """Return the page as a browser holds it."""
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = [CHROMIUM, *flags, f"--user-data-dir={folder}", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout


def test_ctrl_c_ends_it_with_130(folder: Path) -> None:
    command = [sys.executable, "-m", "veriward", "view", str(folder / "old.ward"), "--lang", "zh"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            home = process.stdout.readline().strip()
            assert "案卷" in fetch(home)
            os.kill(process.pid, signal.SIGINT)
            printed, told = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 130
    assert printed == ""
    assert "Traceback" not in told
    assert {file.name for file in folder.iterdir()} == {"old.ward", "new.ward"}


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0), capsys.readouterr().err


def test_wrong_usage_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "view", folder / "nothing.ward") == (
        2,
        f"veriward: {folder}/nothing.ward: no such file or folder; veriward assess writes dossiers\n",
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, told = call(capsys, "view", folder, "--port", taken.getsockname()[1])
    assert code == 2
    assert "cannot listen there" in told
    assert call(capsys, "view", folder, "--port", 70_000)[0] == 2
    assert call(capsys, "view", folder, "--lang", "fr")[0] == 2
    assert call(capsys, "view")[0] == 2


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_how_to_get_it(
    package: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, told = call(capsys, "view", folder)
    assert code == 2
    assert "pip install 'veriward[serve]'" in told
