"""What a class needs is tried, and what is absent is named with what to do."""

import json
import socket
import webbrowser
from pathlib import Path

import pytest
from click.testing import CliRunner

from v4mini.cli import main
from v4mini.lessons import data_folder
from v4mini.proof import workshop as room
from v4mini.proof.installation import Need


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")     # jupyter_client's own
def test_this_machine_can_hold_a_class():
    shown = CliRunner().invoke(main, ["doctor", "--workshop", "--json"])
    facts = {fact["what"]: fact["verdict"] for fact in json.loads(shown.output) if fact["what"].startswith("workshop: ")}
    told = {what.removeprefix("workshop: "): verdict for what, verdict in facts.items() if what != "workshop: a browser"}
    assert shown.exit_code == 0 and set(told.values()) == {"ok"}, told
    assert list(told) == ["packages of the lessons", "lessons", "a token of the bundled model", "a notebook's kernel",
                          "a local port", "progress"]


def test_what_is_absent_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "needs", lambda extras: [Need("jupyterlab", "4.2", "not installed", "missing", False, "lab")])
    assert room._lab()["verdict"].startswith("missing: python -m pip")
    assert room._lessons(tmp_path / "data")["verdict"].startswith("missing: run this in a checkout")
    assert room._speaks(tmp_path)["verdict"].startswith("missing: ")

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(socket, "create_server", refused)
    assert room._port()["verdict"] == "missing: Permission denied"

    def none_there(*_):
        raise webbrowser.Error
    monkeypatch.setattr(webbrowser, "get", none_there)
    assert "from another machine" in room._browser()["verdict"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("V4MINI_PROGRESS", str(tmp_path / "file" / "progress.jsonl"))
    assert room._progress()["verdict"].startswith("cannot be written")
    assert Path(data_folder()).is_dir()
