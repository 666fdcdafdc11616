"""Experts over processes: the numbers of one process to the last bit, and a clear word where a process is lost."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.parity                         # wants torch


def ranks(*arguments, code=0):
    command = [sys.executable, "-m", "accel", "ranks", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("processes", [2, 4])
def test_all_numbers_are_those_of_one_process(processes):
    """Even and uneven splits, a rank without tokens, experts that nobody chose."""
    result = ranks("--processes", str(processes))
    assert [report["rank"] for report in result["reports"]] == list(range(processes)) and not result["silent"]
    for report in result["reports"]:
        assert len(report["same"]) == 6 and all(report["same"].values()), report


@pytest.mark.parametrize("how", ["kill", "exit", "raise"])
def test_a_rank_that_dies_is_noticed_by_all_within_ten_seconds(how):
    result = ranks("--processes", "4", "--die", how)
    assert [report["rank"] for report in result["reports"]] == [0, 2, 3]
    for report in result["reports"]:
        assert report["lost_after"] < 10 and "one has ended or hangs" in report["error"]
        assert f"rank {report['rank']} of 4" in report["error"]


def test_a_rank_that_hangs_is_noticed_after_the_timeout():
    result = ranks("--die", "hang", "--timeout", "4")
    assert 3 < result["reports"][0]["lost_after"] < 14


def test_experts_that_cannot_be_shared_are_refused(monkeypatch):
    pytest.importorskip("torch")
    import numpy as np

    from accel import parallel
    from v4mini.shapes import Refused
    monkeypatch.setattr(parallel.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(parallel.dist, "get_world_size", lambda: 3)
    with pytest.raises(Refused, match="share evenly, got 4"):
        one = np.ones((1, 1), np.float32)
        parallel.experts_over_ranks(one, np.zeros((1, 1), int), one, (None,) * 4, 0, None)


def test_a_process_nobody_started_is_refused(monkeypatch):
    pytest.importorskip("torch")
    from accel import parallel
    from v4mini.shapes import Refused
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(Refused, match="torchrun"):
        parallel.start()
