"""The offline bundle: what is missing or fails is a sentence, and the network is really gone while it is tried."""

import subprocess
import sys

import pytest

from v4mini.lessons import bundle
from v4mini.lessons.places import notebook_folder
from v4mini.shapes import Refused

ASK = "import socket; socket.create_connection(({!r}, {}), 5)"


def test_the_first_lane_is_found():
    page = (notebook_folder() / "TEACHING.md").read_text(encoding="utf-8")
    assert bundle.LANE_ONE.search(page)[1].split(", ") == ["00", "02", "03"]


@pytest.mark.skipif(not bundle._can_cut(), reason="needs network namespaces")
def test_without_a_network_only_the_machine_itself_answers():
    """A server outside cannot be reached, one inside can: kernels talk so."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        ask = [sys.executable, "-c", ASK.format("127.0.0.1", server.getsockname()[1])]
        assert subprocess.run(ask).returncode == 0
        assert subprocess.run([*bundle.NO_NETWORK, *ask], capture_output=True).returncode != 0       # outside of the namespace
    inside = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 5)"
    assert subprocess.run([*bundle.NO_NETWORK, sys.executable, "-c", inside]).returncode == 0


def test_what_fails_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("")
    with pytest.raises(Refused, match="a new or an empty folder"):
        bundle.make_bundle(tmp_path)
    monkeypatch.setattr(bundle, "notebook_folder", lambda: tmp_path / "notebooks")
    with pytest.raises(Refused, match="expected a checkout"):
        bundle.make_bundle(tmp_path / "out")
    with pytest.raises(Refused, match="failed: one / two$"):
        bundle._run("bundle", [sys.executable, "-c", "import sys; sys.exit('one\\ntwo')"])


def test_a_bundle_that_lacks_a_wheel_does_not_pass(tmp_path, monkeypatch):
    """The real pip, no wheel at all. Making the environment is left out; it would take seconds."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "TEACHING.md").write_bytes((notebook_folder() / "TEACHING.md").read_bytes())
    own, venv = bundle._run, []

    def run(what, command, cwd=None):
        if "venv" in command:
            venv.append(command[-1])
        else:
            own(what, [sys.executable if part == venv[0] / "bin" / "python" else part for part in command], cwd)
    monkeypatch.setattr(bundle, "_run", run)
    monkeypatch.setattr(bundle, "REQUIREMENT", "a-package-of-nobody")
    with pytest.raises(Refused, match="a-package-of-nobody"):
        bundle.check_bundle(tmp_path)
