"""A twentieth of what run.py tries, in every slow run: no traceback, nothing slow or large, nothing lost, nothing left behind."""

import os

import pytest
from hostile import targets
from hostile.limits import run_kind
from hostile.run import KINDS, full, killed_savers, killed_trainers

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals, pipes and limits of POSIX")]
SHARE = float(os.environ.get("V4MINI_HOSTILE", "0.05"))         # of a full run


@pytest.mark.parametrize("kind", KINDS)
def test_bad_files_are_refused_or_harmless(kind):
    outcomes, faults = run_kind(kind, max(20, round(full(kind) * SHARE)))
    print(f"\n{kind}: {dict(outcomes)}")
    assert not faults, "\n".join(faults[:10])
    assert outcomes["refused"] > 0.2 * sum(outcomes.values())


def test_killed_saves_leave_the_old_or_the_new_file():
    for name, found in killed_savers(SHARE):
        print(f"\n{name}: {dict(found)}")
        assert found["whole"] + found["refused"] == max(1, round(20 * SHARE))
        assert not [what for what, count in found.items() if what.startswith("WRONG") and count], name


def test_killed_trainers_go_on_bit_for_bit():
    name, found = killed_trainers(SHARE)
    print(f"\n{name}: {dict(found)}")
    assert found["the same bits"] == 1 and not [what for what, count in found.items() if what.startswith("WRONG") and count]


def test_every_command_at_every_target():
    found = targets.table()
    for (name, target), words in found.items():
        print(f"{name:<20} {target:<24} {targets.short(words)}")
    assert not [(case, words) for case, words in found.items() if words.startswith("WRONG")]
    assert len(found) == 17 * len(targets.TARGETS)


@pytest.mark.parametrize("outcome, is_fault", [
    ("refused", False), ("accepted: as it was", False), ("traceback", True), ("WRONG bytes", True), ("warning", True)])
def test_what_counts_as_a_fault(outcome, is_fault):
    from hostile.limits import FAILURES, _judged

    line = {"case": 0, "outcome": outcome, "detail": "", "seconds": 0.1, "waited": 0.1, "bytes": 0}
    assert _judged(line, 10, 1e9).startswith(FAILURES) == is_fault
    assert _judged(line | {"outcome": "refused", "seconds": 11}, 10, 1e9) == "slow"
    assert _judged(line | {"outcome": "refused", "bytes": 2e9}, 10, 1e9) == "large"
