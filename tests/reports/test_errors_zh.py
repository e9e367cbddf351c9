"""What errors say in Chinese: all of it, in good order, and nothing of a file's or server's author between."""

import re
import time
from itertools import chain, zip_longest
from pathlib import Path
from string import ascii_letters

import pytest

from veriward.core.errors import SettingsError
from veriward.core.policy import Policy
from veriward.core.subject import Subject
from veriward.reports.error_words import drafted_text, error_text, raised_text, verified_text
from veriward.reports.phrase_book import LIST, book, templates

from .error_sentences import collected, fixed_texts

SAID, CHINESE = collected(), templates("errors")
COLLECTED = ("error", "part", "told", "drafted")
FROM_OTHERS = ("kind", "system")  # what pydantic and the operating system say


def entries() -> list[tuple[str, str, str]]:
    return [(section, english, said) for section, known in CHINESE.items() for english, said in known.items()]


def test_the_source_was_read() -> None:
    assert "--seed {}: want a whole number of at most 15 digits" in SAID.error  # an f-string
    assert "{}: the scanner says {}: {}; {}" in SAID.error  # raised by a name that stands for one of two classes
    assert "the connection is refused: does the server run, and on this port?" in SAID.error  # of a subclass
    assert "is no regular file" in SAID.part  # in a hole, on a condition
    assert "{} is not a condition; want e.g. '>= 0.50', '< 3' or '<= 5 %'" in SAID.part  # pydantic passes it on
    assert "blob {} is missing" in SAID.told
    assert "the shape of the data" in SAID.drafted


@pytest.mark.parametrize("section", COLLECTED)
def test_every_message_of_the_source_has_a_translation(section: str) -> None:
    lacking = SAID.pasteable(section, set(CHINESE[section]))
    assert not lacking, f"add to [{section}] of reports/catalogues/errors.zh.toml:\n" + "\n".join(lacking)


def test_no_translation_is_stale() -> None:
    """Some entries join two texts of the source, so it is their parts that must stand there."""
    texts = fixed_texts()
    parts = [
        (english, part)
        for section, english, _ in entries()
        if section not in FROM_OTHERS
        for part in re.split(r"\{\}|; |\? ", english)
        if len(part) > 3
    ]
    assert sorted({english for english, part in parts if part.strip(" :;,'()") not in texts}) == []


def test_every_hole_is_filled_once() -> None:
    wrong = [
        english
        for _, english, said in entries()
        if sorted(re.findall(r"\{(\d)(?:\}|:[\w.*|!]+\})", said)) != [str(hole) for hole in range(english.count("{}"))]
        or re.sub(r"\{\d(:[\w.*|!]+)?\}", "", said).count("{")
    ]
    assert wrong == []


def test_holes_look_into_sections_that_exist() -> None:
    asked = {
        name.rstrip("*!")
        for _, _, said in entries()
        for names in re.findall(r"\{\d:([^}]+)\}", said)
        for name in names.split("|")
    }
    known = {*CHINESE, *(f"scan.{section}" for section in templates("scan"))}
    assert asked <= known


def test_translations_are_chinese_and_punctuated_so() -> None:
    bare = [(english, re.sub(r"\{\d(:[^}]+)?\}", "", said)) for _, english, said in entries()]
    foreign = [
        english for english, said in bare if re.search(r"[a-z]{3}", english.replace("{}", "")) and said == english
    ]
    assert foreign == ["null"]
    assert [
        english for english, said in bare if re.search(r"[\u4e00-\u9fff][,;:?!]|[,;:] ?[\u4e00-\u9fff]", said)
    ] == []


def test_chinese_and_latin_are_set_apart() -> None:
    close = re.compile(r"[\u4e00-\u9fff][A-Za-z0-9-]|[A-Za-z0-9][\u4e00-\u9fff]")
    assert [said for _, _, said in entries() if close.search(re.sub(r"\{\d(:[^}]+)?\}", "", said))] == []


@pytest.mark.parametrize("section", COLLECTED)
def test_every_template_is_found_again_from_a_sentence(section: str) -> None:
    lost = []
    for english, chinese in CHINESE[section].items():
        strict = "!" in chinese or "}{" in english
        holes = [f"«{letter}»" for letter in ascii_letters[: english.count("{}")]]
        said = "".join(chain(*zip_longest(english.split("{}"), holes, fillvalue="")))
        wanted = re.sub(r"\{(\d)(:[^}]+)?\}", r"{\1}", chinese).format(*holes)
        found = book("errors").find(said, section)
        if found != wanted and not strict:
            lost.append((english, found))
    assert lost == []


WITHIN = """
m.pt: cannot be read (Permission denied); check the file
    m.pt：无法读取（没有权限）；请检查该文件
data.test: column 'a': values of type complex64 are not understood; want numbers or texts
    data.test：列 'a'：无法识别类型为 complex64 的取值
data.test: column 'a' has no value in row 3; model: answered int8; want real numbers
    data.test：列 'a' 在第 3 行缺值；模型：输出类型为 int8；应为实数
model at http://h:1/p: the connection is refused: does the server run, and on this port? (asked 3 times)
    位于 http://h:1/p 的模型：连接被拒绝：服务是否在运行，端口是否正确？（已询问 3 次）
model at http://h/p: answers 503; it says: 'busy' (asked 6 times)
    位于 http://h/p 的模型：返回 503；对方称：'busy'（已询问 6 次）
model at http://h/p: 'x y' is no name of a host; check model.path
    位于 http://h/p 的模型：'x y' 不是主机名；请检查 model.path
model at http://h/p: refuses the caller (403); the header A was sent with the value of $B: is that the whole, valid value?
    位于 http://h/p 的模型：拒绝了调用者（403）；请求头 A 已按 $B 的值发送：该值是否完整有效？
x.csv: two columns are called 'a'; rename one (capitals do not count)
    x.csv：有两列同名为 'a'；请改名其一（不区分大小写）
y.ward: altered: blob 12 is missing; restore a copy, start anew with --fresh, or choose another --out
    y.ward：有改动：缺少数据块 12；请从副本恢复、用 --fresh 重新开始，或用 --out 另选位置
f.pkl: the scanner says unknown: a.B (f.pkl @ 3): names code that is not on the allowlist; save it as .keras or ONNX
    f.pkl：扫描结果为未知：a.B（f.pkl @ 3）：
"""
LINES = [line.strip() for line in WITHIN.strip().splitlines()]


@pytest.mark.parametrize(("english", "chinese"), list(zip(LINES[::2], LINES[1::2], strict=True)))
def test_messages_within_messages(english: str, chinese: str) -> None:
    said = error_text(english, "zh")
    assert said.startswith(chinese)
    assert error_text(english, "en") == english


def test_mistakes_in_a_file_are_told_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "subject.toml"
    file.write_text(
        'tusk = "x"\ntask = "y"\n[model]\n[data]\ntest = "t.csv"\nlabel = "l"\n[threat.evasion]\nnorm = ["l2", "l2"]\n'
    )
    with pytest.raises(SettingsError) as caught:
        Subject.load(file)
    said = error_text(str(caught.value), "zh")
    assert str(caught.value).count(LIST) == said.count(LIST) >= 2
    assert "未知的键 'tusk'；是否想写 'task'？" in said
    assert "'classification', 'regression', 'forecasting', 'recommendation', 'text' 或 'policy'" in said
    assert "重复出现；每项只应出现一次" in said
    assert not re.search(r"\b(want|known|unknown|missing|or)\b", said.replace("'text' 或", ""))


def test_mistakes_in_a_policy_name_their_lines() -> None:
    with pytest.raises(SettingsError) as caught:
        Policy.parse('[[limit]]\ncheck = "a"\nmetric = "m"\npass = "3"\n', name="p", where="p.toml")
    assert error_text(str(caught.value), "zh").startswith("p.toml：第 4 行：limit.0.pass = '3'：'3' 不是条件；应如")


def test_texts_of_others_are_copied_and_not_read() -> None:
    assert (
        error_text("--label {0:part} {1}: no such column; there are: {}", "zh")
        == "--label {0:part} {1}：没有该列；现有：{}"
    )
    for text in ("says something new", "", "{}", "%s: %s", "KeyError: 'a'"):
        assert error_text(text, "zh") == text


def test_hostile_texts_take_no_time() -> None:
    start = time.perf_counter()
    for text in (": " * 1900, "; " * 1900, " · " * 1300, "a: " * 1300, " (" * 1900, "line 1: " * 400, "x: want " * 400):
        error_text(text, "zh")
        error_text("p.toml: " + text, "zh")
    error_text("--seed " * 1_000_000, "zh")
    assert time.perf_counter() - start < 10


def test_what_a_check_raised_and_what_verify_finds() -> None:
    assert raised_text("ModelError: model: answered int8; want real numbers", "zh").startswith(
        "ModelError：模型：输出类型"
    )
    assert raised_text("ZeroDivisionError: division by zero", "zh") == "ZeroDivisionError: division by zero"
    assert verified_text("row 3 is missing (row 4 follows)", "zh") == "缺少第 3 行记录（其后为第 4 行）"
    assert verified_text("row 3 is missing (row 4 follows)", "en") == "row 3 is missing (row 4 follows)"


def test_a_drafted_subject_keeps_its_values() -> None:
    line = 'path = "a  # inferred: b"  # inferred: the shape of the data'
    assert drafted_text(line, "zh") == 'path = "a  # inferred: b"  # 推断依据：数据的形状'
    assert drafted_text(line, "en") == line
    assert drafted_text('path = "x  # y"', "zh") == 'path = "x  # y"'
