"""Lesson 22 promises that its cells say the same over a network: here they do, word for word, from a hub on this machine."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from weights.misbehaving import COMMIT, Server

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "22_the_real_weights.ipynb"
PLAY = """
import contextlib, io, json, sys
space, told = {"__name__": "__main__"}, []
for source in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        exec(compile(source, "lesson 22", "exec"), space)
    told.append(text.getvalue())
print(json.dumps({"told": told, "name": space["release"].name, "read": space["source"].budget.nbytes, "size": space["size"]}))
"""


def code_cells():                       # -> [(source, text that is stored as printed)]
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    return [("".join(cell["source"]), "".join("".join(output.get("text", "")) for output in cell["outputs"])) for cell in cells]


@pytest.fixture
def served(tmp_path):
    """The lesson's own small release, as the repository owner/name of a hub."""
    space = {"v4": __import__("v4mini"), "json": json}
    exec(next(source for source, _ in code_cells() if "def small_release" in source), space)    # our own notebook's code
    folder = tmp_path / "release"
    folder.mkdir()
    space["small_release"](folder)
    with Server(folder) as server:
        yield server


def played(sources, server, tmp_path):  # as a kernel would, in a process whose huggingface_hub looks at `server` and nowhere else
    here = {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "hf"), "MPLBACKEND": "agg"}
    process = subprocess.run([sys.executable, "-c", PLAY], input=json.dumps(sources), capture_output=True, text=True,
                             timeout=600, env=os.environ | here)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_every_cell_says_the_same_over_a_network(served, tmp_path):
    sources, stored = zip(*code_cells())
    result = played([re.sub(r"^WHERE = None", "WHERE = 'hf://owner/name'", source, flags=re.M) for source in sources],
                    served, tmp_path)
    for source, wanted, told in zip(sources, stored, result["told"]):
        if "fetch(release, ready)" in source:           # new files name their origin, which is a few letters longer there
            wanted, told = (re.sub(r"\d[\d.,]*", "#", text) for text in (wanted, told))
        assert told == wanted, source
    assert result["name"] == f"hf://owner/name@{COMMIT[:12]}"
    asked = [one for one in served.seen if one["place"] == "cdn" and one["path"].endswith(".safetensors")]
    assert len(asked) > 10 and all(one["range"] for one in asked), "no shard as a whole"
    assert 0 < result["read"] < result["size"] / 30


def test_the_switch_is_one_line():
    (switch,) = [node for source, _ in code_cells() for node in ast.parse(source).body
                 if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WHERE"]
    assert switch.value.value is None
