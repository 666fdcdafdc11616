"""The project's own tables, read once; and a way to write a table of one's own."""

import json
from pathlib import Path

import pytest

from v4mini.planning.machines import read_machines
from v4mini.planning.models import planned_model
from v4mini.planning.prices import read_prices

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def machines():
    return read_machines(DATA / "machines.json")


@pytest.fixture(scope="session")
def prices():
    return read_prices(DATA / "prices.json")


@pytest.fixture(scope="session")
def flash():
    return planned_model("flash")


@pytest.fixture(scope="session")
def pro():
    return planned_model("pro")


@pytest.fixture(scope="session")
def v32():
    return planned_model("v3.2")


@pytest.fixture
def table(tmp_path):
    """table(machines=[...]) -> path of a file with these rows; table("text") -> path of a file with this text."""
    def write(text=None, **tables):
        path = tmp_path / f"rows{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps(tables) if text is None else text)
        return path
    return write
