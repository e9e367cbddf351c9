"""The local page: what it lists, opens, compares and explores, whom it turns away, and that it never writes."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriward.core.dossier import Dossier
from veriward.core.evidence import Evidence
from veriward.core.finding import Finding
from veriward.core.journal import Journal
from veriward.core.threat import Threat
from veriward.reports.catalogue import Catalogue
from veriward.reports.view import paired as pairing
from veriward.reports.view.app import HEADERS, application
from veriward.reports.view.compare import change
from veriward.reports.view.find import find, key_of
from veriward.reports.view.shelf import Shelf, is_written, state_of
from veriward.reports.view.table import Asked, columns, select

from .asgi import Answer, Browser
from .fixtures import ALL, HOSTILE, Draft, evasion, image_witnesses, subject, write
from .test_html import Reader

pytest.importorskip("starlette")

SECRET = "a-secret"
HOST = "127.0.0.1:8000"
ROOM = Path(pairing.__file__).parent


def client(*places: Path, lang: str = "en") -> Browser:
    return Browser(application(Shelf(places), secret=SECRET, hosts=[HOST, "localhost:8000"], lang=lang), HOST)


def get(browser: Browser, path: str = "", /, **query: object) -> Answer:
    return browser.get(f"/{SECRET}/{path}", query)


def outcomes(correct: list[int], broken: list[int], spent: list[float]) -> dict[str, Any]:
    return {
        "correct": np.array(correct, np.int8),
        "broken": np.array(broken, np.int8),
        "spent": np.array(spent, np.float32),
        "wide": np.zeros((2, 2)),
    }


def explored(n: int = 120) -> Draft:
    """120 rows: every third is broken, the last ten were not looked at."""
    correct = [1] * (n - 10) + [-1] * 10
    broken = [int(i % 3 == 0) for i in range(n - 10)] + [-1] * 10
    spent = [i / n if i % 3 == 0 and i < n - 10 else float("nan") for i in range(n)]
    found = evasion(110, 37, 110, eps=0.1, witnesses=image_witnesses(), outcomes=outcomes(correct, broken, spent))
    return Draft(subject("explored"), {"evasion/linf@eps=0.1": found})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("案 卷")
    for name, draft in {**ALL, "explored": explored}.items():
        write(place / f"{name}.ward", draft()).close()
    (place / "sub").mkdir()
    write(place / "sub" / "shop.ward", ALL["healthy"]()).close()
    altered = place / "altered.ward"
    shutil.copy(place / "shop.ward", altered)
    data = altered.read_bytes().replace(b"income +4", b"income +9")
    altered.write_bytes(data)
    (place / "empty.ward.lock").touch()  # what a killed writer leaves
    (place / "not.ward").write_text("no dossier")
    (place / "zero.ward").touch()
    return place


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    before = {file: sha256(file.read_bytes()).digest() for file in folder.rglob("*.ward")}
    yield client(folder)
    assert {file: sha256(file.read_bytes()).digest() for file in folder.rglob("*.ward")} == before
    assert not list(folder.rglob("*-journal"))


def key(folder: Path, name: str) -> str:
    return key_of(folder / f"{name}.ward")


def test_every_link_of_every_page_leads_to_a_sound_page(browser: Browser) -> None:
    """A walk from the list over everything that can be clicked: two languages, all dossiers, some rows of each."""
    waiting, seen = [f"/{SECRET}/", f"/{SECRET}/?lang=zh"], set()
    while waiting:
        address = waiting.pop(0)
        kind = re.sub(r"(/row/|page=|sort=)-?\d+", r"\1N", address)
        if kind in seen:
            continue
        seen.add(kind)
        answer = browser.get(address)
        assert answer.status_code == 200, address
        page = Reader(answer.text)
        assert page.stack == []
        sound(page, answer.text)
        waiting += [a["href"].split("#")[0] for _, a in page.tags if a.get("href", "").startswith(f"/{SECRET}")]
        assert len(seen) < 1000
    assert len(seen) > 60


def sound(page: Reader, text: str) -> None:
    """No script, nothing from elsewhere, forms that only ask, named fields, tables with captions, escaped texts."""
    assert not {"script", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert "\x1b" not in text
    assert "\u202e" not in text
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert re.match(rf"/{SECRET}/|#|data:", attributes.get("href", "#") or "#"), attributes
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or tag != "img"
        assert attributes.get("method", "get") == "get"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    if 'class="view"' in text:  # our own page, not the report
        assert text.count("<table") == text.count("<caption")
        assert not re.findall(r"view\.[a-z_]+|page\.[a-z_]+", page.text)
        fields = [a for tag, a in page.tags if tag in {"input", "select"} and a.get("type") not in {"hidden"}]
        labelled = len(re.findall(r"<label[^>]*>[^<]*<(?:input|select)", text)) + text.count("aria-label=")
        assert labelled >= len(fields)


def test_the_list_names_every_dossier_and_its_verdicts(browser: Browser, folder: Path) -> None:
    text = Reader(get(browser).text).text
    for name in (*ALL, "explored", "altered", "not", "zero"):
        assert f"{name}.ward" in text
    assert "✗ 1 fail" in text
    assert "1 of 2 checks have run" in text
    assert "14 of 14" in text
    assert HOSTILE in text


def test_damaged_dossiers_are_listed_with_their_damage_and_not_opened(browser: Browser, folder: Path) -> None:
    text = Reader(get(browser, verdict="unreadable").text).text
    assert "does not match its link" in text
    assert "no dossier there" in text
    assert f"d/{key(folder, 'altered')}" not in get(browser).text
    for page in ("", "/rows/0", "/row/0"):
        answer = get(browser, f"d/{key(folder, 'altered')}{page}")
        assert answer.status_code == 422
        assert "altered" in answer.text
    assert get(browser, "compare", a=key(folder, "shop"), b=key(folder, "altered")).status_code == 422


def names(answer: Any) -> list[str]:
    return re.findall(r"<bdi>([a-z_]+)\.ward</bdi>", answer.text)


def test_the_list_is_filtered_and_sorted(browser: Browser) -> None:
    assert set(names(get(browser, verdict="fail"))) == {"shop", "several_eps", "hostile", "rich"}
    assert names(get(browser, verdict="fail", words="DIGITS")) == ["several_eps"]
    assert names(get(browser, words="no such")) == []
    by_name = names(get(browser, sort="name"))
    assert by_name == sorted(by_name)
    assert names(get(browser, sort="-name")) == by_name[::-1]
    assert names(get(browser, sort="verdict"))[0] in {"altered", "not", "zero"}
    assert names(get(browser, sort="nonsense")) == names(get(browser))


def test_one_dossier_is_its_report_with_a_way_back_and_to_its_rows(browser: Browser, folder: Path) -> None:
    path = f"d/{key(folder, 'several_eps')}"
    english, chinese = get(browser, path), get(browser, path, lang="zh")
    assert "of 345 correct decisions around" in unescape(english.text)
    assert f'href="/{SECRET}/{path}?lang=zh"' in english.text
    assert f'href="/{SECRET}/{path}?lang=en"' in chinese.text
    assert "several_eps.html" not in english.text + chinese.text
    for text in (english.text, chinese.text):
        assert text.count("viewbar") > 2
        assert f"/{SECRET}/{path}/rows/2?" in text
        assert f'href="/{SECRET}/?lang=' in text


def test_rows_are_explored(browser: Browser, folder: Path) -> None:
    path = f"d/{key(folder, 'explored')}/rows/0"
    text = Reader(get(browser, path).text).text
    assert "120 of 120 rows" in text
    assert "page 1 of 3" in text
    assert "wide" in text.split("Not shown")[1]
    broken = get(browser, path, is0="1", sort="-2")  # columns in the order of the dossier: broken, correct, spent
    assert "37 of 120 rows" in broken.text.replace("\u00a0", " ")
    rows = [int(row) for row in re.findall(r"/row/(\d+)\?", broken.text)]
    assert list(dict.fromkeys(rows)) == list(range(108, -1, -3))
    assert 'aria-sort="descending"' in broken.text
    examples = get(browser, path, examples="1").text
    assert set(re.findall(r"/row/(\d+)\?", examples)) == {"12", "40", "77", "91"}


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "99"},
        {"sort": "--2"},
        {"sort": "x"},
        {"page": "-3"},
        {"page": "9" * 5000},
        {"page": "１２"},
        {"is0": "x", "min0": "nan", "max2": "inf", "min2": "-1e400"},
        {"is999": "1", "is-1": "1", "isx": "2", "min": "1"},
        {"lang": "fr", "path": "x", "self": "y", "template": "z"},
        {"words": HOSTILE, "verdict": HOSTILE},
    ],
)
def test_nonsense_in_an_address_is_not_asked_for(browser: Browser, folder: Path, query: dict[str, str]) -> None:
    for path in (f"d/{key(folder, 'explored')}/rows/0", f"d/{key(folder, 'explored')}/row/3", "", "compare"):
        answer = get(browser, path, **query)
        assert answer.status_code == 200
        assert "<script" not in answer.text


def test_a_row_shows_all_findings_and_its_witness_with_pictures(browser: Browser, folder: Path) -> None:
    text = get(browser, f"d/{key(folder, 'explored')}/row/12").text
    assert text.count("data:image/png;base64,") == 3
    assert "64 pixels moved by at most 0.1" in text
    assert "8 became 3" in text
    assert get(browser, f"d/{key(folder, 'explored')}/row/13").text.count("data:image/png") == 0
    several = get(browser, f"d/{key(folder, 'several_eps')}/row/0").text
    assert several.count("broken by the attack") == 3


@pytest.mark.parametrize(
    "path",
    [
        "d/000000000000",
        "d/../../etc/passwd",
        "d/%2e%2e%2fshop.ward",
        "d/{shop}/rows/99",
        "d/{shop}/rows/-1",
        "d/{shop}/rows/" + "9" * 5000,
        "d/{shop}/row/999999999",
        "d/{shop}/row/x",
        "nowhere",
        "d/{shop}/traceback",
        "compare?a=000000000000&b=000000000000",
    ],
)
def test_what_is_not_there_is_told(browser: Browser, folder: Path, path: str) -> None:
    answer = browser.get(f"/{SECRET}/" + path.format(shop=key(folder, "shop")))
    assert answer.status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", "[::1]:8000", ""])
def test_another_host_name_is_turned_away(browser: Browser, host: str) -> None:
    answer = browser.get(f"/{SECRET}/", host=host)
    assert answer.status_code == 421
    assert "ward" not in answer.text


def test_only_the_address_that_was_printed_answers(browser: Browser) -> None:
    assert browser.get(f"/{SECRET}/", host="LOCALHOST:8000").status_code == 200
    for path in ("/", "/wrong/", f"/{SECRET}x/", "/style.css", f"//{SECRET}/", "/é/"):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert "ward" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_asking_is_allowed(browser: Browser, method: str) -> None:
    assert browser.ask(method, f"/{SECRET}/").status_code == 405


def test_every_answer_says_that_it_may_not_be_kept_framed_or_scripted(browser: Browser, folder: Path) -> None:
    for path in (f"/{SECRET}/", f"/{SECRET}/d/{key(folder, 'shop')}", f"/{SECRET}/style.css", "/nowhere"):
        answer = browser.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "access-control-allow-origin" not in answer.headers
        policy = answer.headers.get("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert "frame-ancestors 'none'" in policy
        head = browser.ask("HEAD", path)
        assert (head.status_code, head.content) == (answer.status_code, b"")


def test_a_fault_of_a_page_is_told_without_its_values(browser: Browser, folder: Path, tmp_path: Path) -> None:
    draft = ALL["shop"]()
    del draft.subject["task"]
    write(tmp_path / "x.ward", draft).close()
    own = client(tmp_path)
    answer = get(own, f"d/{key_of(tmp_path / 'x.ward')}")
    assert answer.status_code == 500
    assert "KeyError" in answer.text
    assert get(own).status_code == 200


@pytest.mark.parametrize("path", ["", "compare?a={shop}&b={explored}", "d/{explored}/rows/0", "d/{explored}/row/12"])
def test_a_chinese_reader_finds_no_english_sentence(browser: Browser, folder: Path, path: str) -> None:
    where = path.format(shop=key(folder, "shop"), explored=key(folder, "explored"))
    text = Reader(browser.get(f"/{SECRET}/{where}{'&' if '?' in where else '?'}lang=zh").text).text
    catalogue = resource("en")
    sentences = [part for sentence in catalogue.values() for part in re.split(r"\{\w+\}", sentence) if len(part) > 7]
    assert [sentence for sentence in sentences if sentence.strip() in text] == []
    assert re.search("[\u4e00-\u9fff]", text)


def resource(lang: str) -> dict[str, str]:
    file = ROOM.parent / "catalogues" / lang / "view.toml"
    texts: dict[str, str] = tomllib.loads(file.read_text(encoding="utf-8"))["text"]
    return texts


def test_every_sentence_that_the_pages_ask_for_exists_and_is_used() -> None:
    files = [*ROOM.glob("*.py"), *(ROOM.parent / "templates" / "view").glob("*.j2")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    asked = set(re.findall(r"""["']((?:view|page|list)\.[a-z_]+)["']""", text)) - {"view.change_", "view.column_"}
    known = set(Catalogue.load("en").texts)
    assert asked <= known
    made = {name for name in resource("en") if name.startswith(("view.change_", "view.column_"))}
    assert set(resource("en")) <= asked | made


# the parts


def finding(**arrays: Any) -> Finding:
    evidence = Evidence("a/b", "1", Threat("none", "labels"), (), {name: np.array(a) for name, a in arrays.items()})
    return Finding("a/b", "a/b", "?", "pass", evidence)


def test_columns_are_those_with_one_number_per_row() -> None:
    made = finding(
        a=[0, 1, -1], b=[0.5, np.nan, 1], c=[[1], [2], [3]], d=[1, 2], e=["x", "y", "z"], f=[True, False, True]
    )
    found = {column.name: column for column in columns(made)}
    assert list(found) == ["a", "b", "f"]
    assert found["a"].choices == (0, 1)
    assert found["a"].yes_no
    assert found["a"].seen.tolist() == [True, True, False]
    assert found["b"].seen.tolist() == [True, False, True]
    assert not found["b"].choices
    assert columns(finding()) == []
    assert columns(finding(a=np.array([], np.int8)))[0].choices == ()


def test_rows_not_looked_at_come_last_in_either_order() -> None:
    found = columns(finding(x=[0.3, np.nan, 0.1, 0.2]))
    for sort, order in (("0", [2, 3, 0, 1]), ("-0", [0, 3, 2, 1])):
        assert select(found, Asked.of({"sort": sort})).rows.tolist() == order
    assert select(found, Asked.of({"min0": "0.2"})).rows.tolist() == [0, 3]
    assert select(found, Asked.of({"max0": "0.2"})).rows.tolist() == [2, 3]
    assert select(found, Asked.of({"is0": "none"})).rows.tolist() == [1]
    assert select(found, Asked.of({"examples": "1"}), [1, 99, -3]).rows.tolist() == [1]
    assert select([], Asked.of({})).total == 0


def test_pages_end_where_the_rows_do() -> None:
    found = columns(finding(x=np.arange(101.0)))
    last = select(found, Asked.of({"page": "7"}))
    assert (last.page, last.pages, last.rows.tolist()) == (3, 3, [100])


def test_pairs_count_what_got_worse_and_better() -> None:
    a = finding(broken=[0, 0, 0, 1, 1, -1], correct=[1, 1, 0, 0, 1, 1], favourable=[0, 0, 0, 1, 1, 1], loss=[0.1] * 6)
    b = finding(broken=[1, 1, 0, 0, 1, 0], correct=[0, 1, 1, 0, 1, 1], favourable=[1, 1, 1, 0, 1, 1], other=[0] * 6)
    found = {pair.outcome: pair for pair in pairing.paired(a, b)}
    assert list(found) == ["broken", "correct", "favourable"]
    assert (found["broken"].rows, found["broken"].worse.tolist(), found["broken"].better.tolist()) == (5, [0, 1], [3])
    assert (found["correct"].worse.tolist(), found["correct"].better.tolist()) == ([0], [2])
    assert found["broken"].p == pytest.approx(1 / 2)  # P(X >= 2), X ~ Binomial(3, 1/2)
    assert found["favourable"].p == pytest.approx(2 * 5 / 16)  # 2 P(X >= 3), X ~ Binomial(4, 1/2)
    assert not found["favourable"].sided
    assert found["broken"].drop[0] == pytest.approx(0.2)
    assert found["broken"].drop[1] < 0.2 < found["broken"].drop[2]


def test_findings_of_other_lengths_and_constant_columns_pair_as_they_can() -> None:
    assert pairing.paired(finding(broken=[0, 1]), finding(broken=[0, 1, 1])) == []
    (same,) = pairing.paired(finding(broken=[0, 0]), finding(broken=[0, 0]))
    assert (len(same.worse), len(same.better), same.p) == (0, 0, 1.0)
    (unseen,) = pairing.paired(finding(broken=[0, -1]), finding(broken=[-1, 0]))
    assert unseen.rows == 0


def test_new_and_fixed_speak_of_failures() -> None:
    def verdict(name: Any) -> Finding:
        return Finding("x", "x", "?", name, None)

    assert change(verdict("pass"), verdict("fail")) == "new"
    assert change(verdict("fail"), verdict("pass")) == "fixed"
    assert change(verdict("fail"), verdict("inconclusive")) == "changed"
    assert change(verdict("fail"), verdict("fail")) == "same"
    assert (change(None, verdict("fail")), change(verdict("fail"), None)) == ("only_b", "only_a")


def test_two_dossiers_side_by_side(tmp_path: Path) -> None:
    for name, broken in (("old", 0), ("new", 60)):
        flags = [1] * broken + [0] * (100 - broken)
        found = evasion(100, broken, 100, eps=0.1, outcomes=outcomes([1] * 100, flags, [0.5] * 100))
        write(tmp_path / f"{name}.ward", Draft(subject("one"), {"evasion/linf": found})).close()
    changed = subject("one", fingerprints={**subject()["fingerprints"], "test": "ff" * 32})
    write(tmp_path / "rows.ward", Draft(changed, {"evasion/linf": found})).close()
    own = client(tmp_path)
    a, b, other = (key_of(tmp_path / f"{name}.ward") for name in ("old", "new", "rows"))
    text = Reader(get(own, "compare", a=a, b=b).text).text
    assert "new failure" in text
    assert "60 rows" in text
    assert "intervals apart" in text
    assert "+0.6000" in text
    text = Reader(get(own, "compare", a=b, b=a).text).text
    assert "No new failure." in text
    text = Reader(get(own, "compare", a=a, b=other).text).text
    assert "rows are not paired" in text
    assert "Rows that changed" not in text


def test_folders_are_searched_to_a_depth_and_links_are_not_followed(tmp_path: Path) -> None:
    deep = tmp_path / "a/b/c/d/e"
    deep.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "a/b/c/d", deep):
        (place / "x.ward").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/y.ward").touch()
    (tmp_path / "link").symlink_to(deep)
    (tmp_path / "folder.ward").mkdir()
    assert list(find([tmp_path]).paths.values()) == [tmp_path / "a/b/c/d/x.ward", tmp_path / "x.ward"]
    assert len(find([tmp_path, tmp_path / "x.ward"]).paths) == 2


def test_too_many_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from veriward.reports.view import find as module

    monkeypatch.setattr(module, "MOST_DOSSIERS", 2)
    for i in range(4):
        write(tmp_path / f"{i}.ward", ALL["healthy"]()).close()
    own = client(tmp_path)
    assert "only the first 2 are shown" in get(own).text


# while somebody writes

WRITER = """
import sys
import numpy as np
from veriward.core.journal import Journal
with Journal(sys.argv[1], write=True) as journal:
    print("ready", flush=True)
    for i in range(10_000):
        journal.append("item", f"i{i}", {"rows": np.arange(2000) + i})
        if i % 20 == 19:
            print(i, flush=True)
        if not i % 20 and sys.stdin.readline() != "on\\n":
            break
"""


def test_a_dossier_that_is_being_written(tmp_path: Path) -> None:
    """Another process appends all the time: every page is sound, shows what was added, and the writer goes on."""
    path = tmp_path / "live.ward"
    write(path, Draft(explored().subject, explored().evidence, finish=False)).close()
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == "ready\n"
        states = set()
        own = client(tmp_path)
        for _ in range(5):
            writer.stdin.write("on\n")
            writer.stdin.flush()
            for _ in range(3):
                assert "being written" in get(own).text
                assert "does not match" not in get(own).text
                assert get(own, f"d/{key_of(path)}/rows/0").status_code == 200
                opened = get(own, f"d/{key_of(path)}")
                assert opened.status_code == 200
                assert "A run is writing this dossier" in opened.text
                states.add(re.findall(r"SHA-256 ([0-9a-f]{64})", opened.text)[-1])
            assert writer.stdout.readline() != ""
        assert len(states) > 1
    finally:
        writer.stdin.close()
        assert writer.wait(timeout=60) == 0
        writer.stdout.close()
    assert not is_written(path)
    assert not path.with_name("live.ward.lock").exists()
    with Journal(path) as journal:
        assert journal.damage() == []


KILLED = """
import os, signal, sys
from veriward.core.journal import Journal
connection = Journal(sys.argv[1], write=True)._connection
connection.execute("PRAGMA cache_size=1")  # pages of the transaction reach the file before its end
connection.execute("BEGIN")
for i in range(200):
    connection.execute("INSERT INTO blob VALUES (?, ?)", (str(i), b"z" * 9000))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_dossier_whose_writer_was_killed_is_shown_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "killed.ward"
    write(path, ALL["unjudged"]()).close()
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    before = {file.name: sha256(file.read_bytes()).digest() for file in tmp_path.iterdir()}
    assert set(before) == {"killed.ward", "killed.ward-journal", "killed.ward.lock"}
    own = client(tmp_path)
    text = Reader(get(own).text).text
    assert "not finished" in text
    assert "chain intact" in text
    assert get(own, f"d/{key_of(path)}").status_code == 200
    assert get(own, f"d/{key_of(path)}/rows/0").status_code == 200
    assert {file.name: sha256(file.read_bytes()).digest() for file in tmp_path.iterdir()} == before


def test_a_page_follows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ward"
    write(path, Draft(subject(), {"evasion/linf": evasion(90, 10, 100)}, finish=False)).close()
    own = client(tmp_path)
    assert "not finished" in get(own).text
    before = state_of(path)
    with Journal(path, write=True) as journal:
        assert "being written" in get(own).text
        journal.append("finish", "f9", {"count": 0})
    assert state_of(path) != before
    text = get(own).text
    assert "being written" not in text
    assert ">finished" in re.sub(r"\s+<", "<", text)
    path.unlink()
    assert "x.ward" not in get(own).text
    assert get(own, f"d/{key_of(path)}").status_code == 404


def test_opened_dossiers_are_read_once_per_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    snapshot = Dossier.snapshot.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Dossier], path: Path) -> Dossier:
        reads.append(path.name)
        made: Dossier = snapshot(cls, path)
        return made

    monkeypatch.setattr(Dossier, "snapshot", classmethod(counted))
    shelf = Shelf([folder])
    for _ in range(3):
        shelf.open(folder / "shop.ward")
    assert reads == ["shop.ward"]


def test_listing_reads_no_array(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from veriward.core import packing

    def refuse(data: bytes) -> Any:
        raise AssertionError("an array was read")

    monkeypatch.setattr(packing, "_bytes_array", refuse)
    entries, cut = Shelf([folder]).entries()
    assert not cut
    assert sum(entry.line is not None for entry in entries) >= 10


def test_starlette_is_imported_at_one_door_and_only_when_asked() -> None:
    found = [
        file.name
        for file in ROOM.glob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom | ast.Import) and "starlette" in ast.unparse(node)
    ]
    assert found == []
