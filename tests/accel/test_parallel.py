"""Batches and experts over processes: the numbers of one process to the last bit, a clear word where a process is lost."""

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
    """Even and uneven splits, a rank without tokens, experts that nobody chose; whole models with batches of several lengths,
    more sequences than ranks and fewer, experts shared by all and by pairs."""
    result = ranks("--processes", str(processes))
    assert [report["rank"] for report in result["reports"]] == list(range(processes)) and not result["silent"]
    for report in result["reports"]:
        assert len(report["same"]) == 6 + 2 * len({2, processes}) and all(report["same"].values()), report


def test_torchrun_starts_them_too():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "accel.ranks"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0 and sorted(report["rank"] for report in reports) == [0, 1], done.stderr
    assert all(all(report["same"].values()) for report in reports)


@pytest.mark.parametrize("device,backend", [("cpu", "gloo"), ("cuda", "nccl"), ("npu", "hccl")])
def test_who_carries_the_tokens_follows_from_the_device(monkeypatch, device, backend):
    from accel import parallel
    monkeypatch.setenv("RANK", "0")
    asked = {}
    for name, value in (("init_process_group", lambda kind, timeout: asked.update(kind=kind, seconds=timeout.total_seconds())),
                        ("get_rank", lambda: 0), ("get_world_size", lambda: 1)):
        monkeypatch.setattr(parallel.dist, name, value)
    assert parallel.start(7, device) == (0, 1) and asked == {"kind": backend, "seconds": 7}


def test_sequences_are_shared_out_evenly_and_once():
    from accel import parallel
    for count in range(12):
        for ranks in range(1, 6):
            parts = [range(count)[parallel.share(count, rank, ranks)] for rank in range(ranks)]
            assert [number for part in parts for number in part] == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_groups_that_leave_a_rank_over_are_refused(monkeypatch):
    from accel import parallel
    from v4mini.shapes import Refused
    monkeypatch.setattr(parallel.dist, "get_world_size", lambda: 4)
    with pytest.raises(Refused, match="divides 4 ranks, got 3"):
        parallel.groups_of(3)


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
    monkeypatch.setattr(parallel.dist, "get_rank", lambda group: 0)
    monkeypatch.setattr(parallel.dist, "get_world_size", lambda group: 3)
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
