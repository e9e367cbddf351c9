"""Two small subjects on disk: the demo's digits, and a table with a fitted pipeline."""

from pathlib import Path

import pytest

from veriward.examples import digits

from .subjects import write_table


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, data and subject.toml of the demo's digits."""
    folder = tmp_path_factory.mktemp("a folder with spaces") / "digits"
    digits.write(folder)
    return folder


@pytest.fixture
def table_folder(tmp_path: Path) -> Path:
    """A logistic regression on four columns, one of them a category."""
    write_table(tmp_path)
    return tmp_path
