"""What is solved is kept, once, in a place of the reader's own; it is shown by lesson and grade."""

import json
import os
import sys

import pytest
from click.testing import CliRunner

from v4mini.lessons import check, progress
from v4mini.lessons.__main__ import main
from v4mini.lessons.registry import find
from v4mini.lessons.solved import keep, place, solved, table
from v4mini.ops.norm import rms_norm
from v4mini.shapes import Refused

NORM = "ops.norm.rms_norm"


def mine(x, weight, eps=1e-6):
    return find(NORM).differently(x, weight, eps)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    path = tmp_path / "of a reader" / "progress.jsonl"
    monkeypatch.setenv("V4MINI_PROGRESS", str(path))
    return path


def test_a_solved_exercise_is_kept_once(kept, capsys):
    for _ in range(3):
        check(mine, NORM)
    (line,) = kept.read_text().splitlines()
    assert json.loads(line)["exercise"] == NORM and list(solved()) == [NORM]
    assert "kept" not in capsys.readouterr().out            # check says no more than before


def test_wrong_answers_and_the_library_s_own_do_not_count(kept):
    check(find(NORM).wrong[0], NORM)
    check(rms_norm, NORM)
    check(7, NORM)
    assert not kept.exists() and solved() == {}


def test_progress_is_shown_by_lesson_and_grade(kept, capsys):
    keep(NORM)
    keep("start.probabilities")
    rows = {row[0]: row[2:] for row in table(solved())}
    assert rows["00"] == ["1 of 1", "", ""] and rows["02"] == ["1 of 1", "0 of 3", ""] and rows["25"] == ["", "", ""]
    progress()
    told = capsys.readouterr().out
    assert "2 of " in told and f"kept in {kept}" in told and "next: tokens.join, in lesson 01 (Tokens and chat)" in told
    assert CliRunner().invoke(main, ["progress", "--work", str(kept.parent)]).output == told


@pytest.mark.parametrize("line", ["{", "[]", '{"exercise": 1, "solved": "2026-11-29"}', '{"exercise": "a"}', "\x00"])
def test_a_file_that_is_none_of_ours_is_refused_and_named(kept, line):
    kept.parent.mkdir()
    kept.write_text(json.dumps({"exercise": NORM, "solved": "2026-11-29"}) + "\n" + line + "\n")
    with pytest.raises(Refused, match="in line 2 of .*Move it away"):
        progress()


def test_exercises_that_are_no_more_do_not_count(kept):
    kept.parent.mkdir()
    kept.write_text(json.dumps({"exercise": "of.another.year", "solved": "2025-01-01"}) + "\n")
    assert solved() == {}


def test_where_nothing_can_be_kept_the_verdict_stands_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("V4MINI_PROGRESS", str(tmp_path))                     # a folder
    check(mine, NORM)
    assert capsys.readouterr().out.splitlines()[1].startswith("(solved, but not kept for lessons.progress(). ")


@pytest.mark.skipif(sys.platform != "linux", reason="asks for a path of this system")
def test_it_lies_in_the_reader_s_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("V4MINI_PROGRESS", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert place() == type(place())(os.path.expanduser("~/.local/share/v4mini/progress.jsonl"))
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    with pytest.raises(Refused, match="Set V4MINI_PROGRESS"):
        place()
