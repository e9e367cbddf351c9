"""Both languages say the same things, and every sentence that the code asks for exists."""

import ast
import re
from pathlib import Path

import pytest

import veriward.reports.catalogue as module
from veriward.core.errors import SettingsError
from veriward.core.note import note
from veriward.reports.catalogue import Catalogue

SOURCE = Path(module.__file__).parents[1]
EN, ZH = Catalogue.load("en"), Catalogue.load("zh")
SAME_ON_PURPOSE = {
    "method:Clopper-Pearson",
    "metric_short:auc",
    "text:summary.verdict",
}


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", text))


def entries(catalogue: Catalogue) -> dict[str, str]:
    found = {f"text:{key}": text for key, text in catalogue.texts.items()}
    found |= {f"note:{key}": text for key, text in catalogue.notes.items()}
    return found | {f"{kind}:{name}": text for kind, terms in catalogue.terms.items() for name, text in terms.items()}


def notes_in_source() -> list[tuple[str, str, set[str]]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "note"
            code = node.args[0] if named and node.args else None
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                keys = {keyword.arg for keyword in node.keywords if keyword.arg}
                found.append((f"{path.relative_to(SOURCE)}:{node.lineno}", code.value, keys))
    return found


def test_both_catalogues_have_the_same_keys_and_placeholders() -> None:
    english, chinese = entries(EN), entries(ZH)
    assert set(english) == set(chinese)
    assert [key for key in english if placeholders(english[key]) != placeholders(chinese[key])] == []


def test_chinese_texts_are_chinese() -> None:
    untranslated = {key for key, text in entries(ZH).items() if not re.search(r"[\u4e00-\u9fff]", text)}
    identical = {key for key in untranslated if key not in SAME_ON_PURPOSE and not key.startswith(("error:",))}
    lists_and_numbers = {
        "text:list.colon",
        "text:list.comma",
        "text:list.semicolon",
        "text:number.percent",
        "text:label.of",
        "text:page.other_language",
    }
    assert identical - lists_and_numbers <= {"method:DeLong"}


@pytest.mark.parametrize("catalogue", [EN, ZH], ids=["en", "zh"])
def test_every_note_of_the_source_has_a_sentence_with_its_values(catalogue: Catalogue) -> None:
    wrong = [
        f"{where}: {code} {sorted(values)} != {sorted(placeholders(catalogue.notes.get(code, '')))}"
        for where, code, values in notes_in_source()
        if code not in catalogue.notes or placeholders(catalogue.notes[code]) != values
    ]
    assert wrong == []


def test_every_text_key_of_the_room_exists() -> None:
    room = SOURCE / "reports"
    written = [path.read_text(encoding="utf-8") for path in [*room.glob("*.py"), *room.glob("templates/*.j2")]]
    asked = {key for text in written for key in re.findall(r"""(?:text|\bt)\(\s*"([a-z_]+\.[a-z_]+)\"""", text)}
    assert asked
    assert asked <= set(EN.texts)


def test_numbers_lists_and_terms_inside_a_sentence() -> None:
    assert EN.note(note("data.sampled", rows=2000, total=96120)) == "2\u00a0000 of 96\u00a0120 rows were sampled"
    assert ZH.note(note("model.access_inferred", access="labels")).endswith("仅标签")
    assert EN.text("label.at_fpr", metric="TPR", fpr=0.01) == "TPR at 1\u00a0% FPR"
    assert EN.text("summary.code", code=["a@1", "b@2"]) == "runs your code: a@1, b@2"


def test_unknown_notes_show_their_code_and_values() -> None:
    assert EN.note(note("plugin.new", rows=3)) == "plugin.new (rows = 3)"
    assert EN.note(note("data.sampled", rows=3)) == "data.sampled (rows = 3)"
    assert EN.note("already a sentence") == "already a sentence"


def test_unknown_terms_stand_for_themselves() -> None:
    assert ZH.term("metric", "new_metric") == "new_metric"
    assert ZH.term("no such kind", "x") == "x"


def test_unknown_language_names_the_choices() -> None:
    with pytest.raises(SettingsError, match="en, zh"):
        Catalogue.load("fr")
