"""A reader's own copy of the course: copied once, never written over, one lesson brought back with the old one kept."""

import pytest
from click.testing import CliRunner

from v4mini.cli import main
from v4mini.lessons.places import notebook_folder, notebooks
from v4mini.lessons.work import lay_out, reset
from v4mini.lessons.yours import own_folder
from v4mini.shapes import Refused

FIVE = "05_heavy_compression.ipynb"


def test_lessons_are_copied_once_and_mine_stay(tmp_path):
    assert lay_out(tmp_path / "work") == [path.name for path in notebooks()]
    mine = tmp_path / "work" / FIVE
    mine.write_text("mine")
    (tmp_path / "work" / "07_experts_and_routing.ipynb").unlink()
    assert lay_out(tmp_path / "work") == ["07_experts_and_routing.ipynb"] and mine.read_text() == "mine"
    assert (tmp_path / "work" / "00_start_here.ipynb").read_bytes() == (notebook_folder() / "00_start_here.ipynb").read_bytes()


def test_reset_brings_one_lesson_back_and_keeps_every_old_one(tmp_path):
    lay_out(tmp_path)
    for number in (1, 2):
        (tmp_path / FIVE).write_text(f"attempt {number}")
        name, old = reset(tmp_path, "05")
        assert name == FIVE and old.read_text() == f"attempt {number}" and old.name == f"05_heavy_compression.{number}.ipynb"
        assert (tmp_path / FIVE).read_bytes() == (notebook_folder() / FIVE).read_bytes()
    assert len(notebooks(folder=tmp_path)) == len(notebooks())              # backups are no lessons


def test_a_backup_is_never_replaced_even_if_older_ones_are_gone(tmp_path):
    lay_out(tmp_path)
    for text in ("one", "two", "three"):
        (tmp_path / "00_start_here.ipynb").write_text(text)
        reset(tmp_path, "00")
    backups = tmp_path / "backups"
    (backups / "00_start_here.1.ipynb").unlink()
    (tmp_path / "00_start_here.ipynb").write_text("four")
    reset(tmp_path, "00")
    assert sorted(path.read_text() for path in backups.iterdir()) == ["four", "three", "two"]


def test_a_link_in_a_circle_is_no_place_to_work(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(Refused, match="cannot be made"):
        lay_out(tmp_path / "circle")


def test_no_lesson_or_several_are_not_reset(tmp_path):
    with pytest.raises(Refused, match="expected one lesson, got 10"):
        reset(tmp_path, "0")
    with pytest.raises(Refused, match="none begins with '99'"):
        reset(tmp_path, "99")


@pytest.mark.parametrize("inside", [".", "notebooks", "notebooks/mine"])
def test_the_checkout_itself_is_refused(inside):
    with pytest.raises(Refused, match="expected a folder of your own"):
        lay_out(notebook_folder().parent / inside)


def test_lab_opens_the_copy_and_keeps_progress_there(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("subprocess.call", lambda command, **settings: asked.append((command, settings)) or 0)
    work = tmp_path / "work"
    shown = CliRunner().invoke(main, ["lab", "--work", str(work), "--no-browser"])
    assert shown.exit_code == 0 and f"{len(notebooks())} lessons copied to {work}" in shown.output
    shown = CliRunner().invoke(main, ["lab", "--work", str(work), "--reset", "05"])
    assert shown.exit_code == 0 and "yours is kept as" in shown.output and "copied" not in shown.output
    (first, where), (second, _) = asked
    assert first[-2:] == ["00_start_here.ipynb", "--no-browser"] and second[-1] == FIVE
    assert where["cwd"] == work and where["env"]["V4MINI_PROGRESS"] == str(work.resolve() / "progress.jsonl")
    refused = CliRunner().invoke(main, ["lab", "--reset", "05"])
    assert refused.exit_code == 2 and "expected --work with --reset" in refused.output and len(asked) == 2


def test_your_functions_are_read_from_where_you_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert own_folder() == notebook_folder()
    lay_out(tmp_path)
    assert own_folder() == tmp_path
