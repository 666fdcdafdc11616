"""Tools for authors: text to notebook and back, running, where data lies, the machine's table."""

import sys

import nbformat
import pytest
from click.testing import CliRunner

from v4mini.lessons import data_folder, machine
from v4mini.lessons.__main__ import main
from v4mini.lessons.notebooks import KERNEL, run_notebook, save
from v4mini.lessons.percent import to_notebook, to_text
from v4mini.shapes import Refused

TEXT = """# %% [markdown]
# # 02 · A question?
#
# Two lines.

# %%
x = 1

# a comment of the code
print(x + 1)

# %% tags=raises-exception
1 / 0
"""


def test_text_and_notebook_are_the_same_lesson():
    made = to_notebook(TEXT, "l02")
    assert [cell.cell_type for cell in made.cells] == ["markdown", "code", "code"]
    assert [cell.id for cell in made.cells] == ["l02-01", "l02-02", "l02-03"]
    assert made.cells[0].source == "# 02 · A question?\n\nTwo lines."
    assert to_text(made) == TEXT
    nbformat.validate(made)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")     # jupyter_client's own
def test_run_fills_in_outputs_and_leaves_nothing_volatile(tmp_path):
    path = tmp_path / "02_x.ipynb"
    made = to_notebook(TEXT, "l02")
    made.metadata["authors"] = "somebody"
    save(made, path)
    report = run_notebook(path)
    done = nbformat.read(path, as_version=4)
    assert (report.fault, report.cells) == ("", 2)
    assert done.cells[1].outputs[0].text == "2\n"
    assert done.cells[2].outputs[0].ename == "ZeroDivisionError"
    assert dict(done.metadata) == KERNEL and all(set(cell.metadata) <= {"tags"} for cell in done.cells)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_lesson_that_fails_is_left_as_it_was(tmp_path):
    path = tmp_path / "02_x.ipynb"
    save(to_notebook("# %%\nprint(1)\n\n# %%\nboom\n"), path)
    before = path.read_bytes()
    assert run_notebook(path).fault == "NameError: name 'boom' is not defined"
    assert path.read_bytes() == before


def test_data_is_found_from_below_from_anywhere_and_where_told(tmp_path, monkeypatch):
    monkeypatch.delenv("V4MINI_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert (data_folder() / "configs").is_dir()                     # beside the package
    mine = tmp_path / "data" / "golden"
    mine.mkdir(parents=True)
    (mine / "README.md").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert data_folder() == tmp_path / "data"                       # above
    monkeypatch.setenv("V4MINI_DATA", str(tmp_path / "a"))
    with pytest.raises(Refused, match="Set V4MINI_DATA"):
        data_folder()


def test_the_machines_table_ends_in_a_verdict(capsys, monkeypatch):
    machine()
    assert capsys.readouterr().out.endswith("ready\n")
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    monkeypatch.setattr("v4mini.machine.cores", lambda: 1)
    machine()
    told = capsys.readouterr().out
    assert told.splitlines()[-1].startswith("not ready: python, cores.") and "cores 2 or more 1" in " ".join(told.split())


def test_commands_explain_themselves():
    for command in ([], ["run"], ["verify"], ["edit"], ["build"]):
        shown = CliRunner().invoke(main, [*command, "--help"])
        assert shown.exit_code == 0 and "Usage" in shown.output


def test_verify_prints_a_row_for_each_exercise():
    shown = CliRunner().invoke(main, ["verify"])
    assert shown.exit_code == 0 and "start.probabilities" in shown.output and "NO" not in shown.output


def test_edit_and_build_are_each_others_way_back(tmp_path, monkeypatch):
    shown = CliRunner().invoke(main, ["edit", "00", "--into", str(tmp_path)])
    assert shown.exit_code == 0
    (written,) = tmp_path.glob("00_*.py")
    monkeypatch.setattr("v4mini.lessons.__main__.notebook_folder", lambda: tmp_path)
    assert CliRunner().invoke(main, ["build", str(written)]).exit_code == 0
    again = nbformat.read(next(tmp_path.glob("00_*.ipynb")), as_version=4)
    assert to_text(again) == written.read_text(encoding="utf-8")
