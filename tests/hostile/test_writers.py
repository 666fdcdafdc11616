"""What writers leave when they are killed, damaged, or pointed at what is none of theirs; counts are printed (pytest -s)."""

import os

import pytest
from hostile import kills, targets
from hostile.limits import run_kind

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals, pipes and limits of POSIX")]
SHARE = float(os.environ.get("V4MINI_HOSTILE", "1"))    # of a full run


@pytest.mark.parametrize("kind", ["bad_checkpoints", "bad_cards"])
def test_bad_files_are_refused_or_harmless(kind):
    outcomes, faults = run_kind(kind, round(1000 * SHARE))
    print(f"\n{kind}: {dict(outcomes)}")
    assert not faults, "\n".join(faults[:10])


@pytest.mark.parametrize("name", ["training", "cache", "checkpoint"])
def test_killed_saves_leave_the_old_or_the_new_file(name, tmp_path):
    found = kills.kill_savers(name, max(1, round(20 * SHARE)), tmp_path)
    print(f"\nkilled while saving {name}: {dict(found)}")
    assert not [what for what, count in found.items() if what.startswith("WRONG") and count]


def test_killed_trainers_go_on_bit_for_bit(tmp_path):
    (tmp_path / "killed").mkdir(), (tmp_path / "whole").mkdir()
    lives = max(2, round(20 * SHARE))
    found = kills.kill_trainers(lives, tmp_path / "killed", tmp_path / "whole")
    print(f"\nkilled while training: {dict(found)}")
    assert found["lives that went on"] == lives - 1         # all but the first resumed, and saved a later step
    assert found["the same bits"] == 1 and not [what for what, count in found.items() if what.startswith("WRONG") and count]


def test_every_command_at_every_target():
    found = targets.table()
    for (name, target), words in found.items():
        print(f"{name:<20} {target:<24} {targets.short(words)}")
    assert not [(case, words) for case, words in found.items() if words.startswith("WRONG")]
    assert len(found) == 12 * len(targets.TARGETS)
