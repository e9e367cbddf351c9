"""A dossier's items can be had again; an altered result shows even when the chain was rebuilt around it."""

from pathlib import Path

import pytest

import veriward
from veriward.core.errors import SettingsError
from veriward.core.journal import Journal
from veriward.run.reexecute import reexecute, same

pytestmark = pytest.mark.slow  # each run assesses a subject several times


def test_items_come_out_the_same(table_folder: Path) -> None:
    veriward.assess(table_folder, budget="quick").close()
    found = reexecute(table_folder / "table.ward", table_folder, 100)
    with Journal(table_folder / "table.ward") as journal:
        assert found.items == sum(1 for _ in journal.rows("item"))
    assert found.items >= 3
    assert found.differences == []


def test_a_forged_result_is_found(table_folder: Path) -> None:
    veriward.assess(table_folder, budget="quick").close()
    forged = table_folder / "forged.ward"
    with Journal(table_folder / "table.ward") as old, Journal(forged, write=True) as new:
        for row in old.rows():
            body = old.read(row)
            if row.kind == "item" and "correct" in body["result"]:
                body["result"]["by"][:] = -1
            new.append(row.kind, row.key, body)
    assert not veriward.verify(forged).damage
    assert reexecute(forged, table_folder, 100).differences


def test_another_subject_is_refused(table_folder: Path) -> None:
    veriward.assess(table_folder, budget="quick").close()
    file = table_folder / "subject.toml"
    file.write_text(file.read_text().replace('groups = ["gender"]', 'groups = ["region"]'))
    with pytest.raises(SettingsError, match="not the subject"):
        reexecute(table_folder / "table.ward", table_folder, 1)


def test_same_tells_numbers_apart() -> None:
    assert same({"a": [1.0, "x"]}, {"a": [1.0 + 1e-9, "x"]})
    assert not same({"a": [1.0]}, {"a": [1.1]})
    assert not same({"a": 1}, {"b": 1})
