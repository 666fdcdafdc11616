"""The loop: its log, stopping, Ctrl-C, a full disk."""

import json
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from full_disk import FullDisk

from v4mini import Refused, writing
from v4mini.training.checkpoint import NAME, read_checkpoint
from v4mini.training.loop import LOG, asked_to_stop, only_trainer, read_log, train


def test_it_runs_the_recipe_logs_and_saves(run_of, tmp_path):
    run, told = run_of(), []
    assert train(run, tmp_path, report=told.append) is True
    lines = read_log(tmp_path / LOG)
    assert json.loads(json.dumps(told)) == lines
    assert [line["step"] for line in lines] == [4, 10]              # at stage ends and every ten steps
    assert sum(line["steps"] for line in lines) == 10 and lines[-1]["tokens"] == run.tokens
    assert {"next", "mtp", "balance", "index", "loss"} == lines[-1]["losses"].keys() and lines[-1]["tokens_per_second"] > 0
    _, state = read_checkpoint(tmp_path / NAME)
    assert state["step"] == 10


def test_most_and_stop_end_early_and_it_goes_on_as_if_never_stopped(run_of, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    run = run_of()
    train(run, whole)
    assert train(run_of(), parts, most=3) is False
    again = run_of()
    again.restore(parts / NAME)
    asked = iter([False, False, True])
    assert train(again, parts, stop=lambda: next(asked)) is False and again.step == 5
    last = run_of()
    last.restore(parts / NAME)
    assert train(last, parts) is True
    one, two = (read_checkpoint(folder / NAME)[0] for folder in (whole, parts))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("torn", ["", '{"step": 1'], ids=["whole lines", "a torn one"])
def test_lines_of_steps_that_are_made_again_are_forgotten(run_of, tmp_path, torn):
    run = run_of()
    train(run, tmp_path, most=4)
    kept = (tmp_path / NAME).read_bytes()
    train(run, tmp_path)
    (tmp_path / NAME).write_bytes(kept)                 # as if killed before the last save
    with open(tmp_path / LOG, "a") as file:
        file.write(torn)                                # and perhaps in the middle of a line
    again = run_of()
    again.restore(tmp_path / NAME)
    train(again, tmp_path)
    assert [line["step"] for line in read_log(tmp_path / LOG)] == [4, 10]


def test_ctrl_c_is_asked_for_and_a_second_one_raises():
    before = signal.getsignal(signal.SIGINT)
    with asked_to_stop() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("one", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_first_step_raises_and_later_ones_are_remembered(one):
    before = signal.getsignal(one)
    with asked_to_stop(at_once=True) as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(one)
        stop.at_once = False
        signal.raise_signal(one)
        assert stop()
    assert signal.getsignal(one) is before


def test_begun_is_called_once_behind_the_first_step(run_of, tmp_path):
    run, seen = run_of(), []
    train(run, tmp_path, most=3, begun=lambda: seen.append(run.step))
    assert seen == [1]


def test_two_trainers_of_one_folder(run_of, tmp_path):
    """The second is refused, in this process and in another; when the first is dead the next goes on."""
    with only_trainer(tmp_path), pytest.raises(Refused, match="another v4mini train is writing into this folder"):
        train(run_of(), tmp_path, most=1)
    assert list(tmp_path.iterdir()) == []
    code = ("import sys, time; from v4mini.training.loop import only_trainer\n"
            "with only_trainer(sys.argv[1]): print('in', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(Refused, match="another v4mini train"):
            train(run_of(), tmp_path, most=1)
        other.kill()
    train(run_of(), tmp_path, most=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, LOG]


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_stays(run_of, tmp_path, monkeypatch):
    run = run_of()
    train(run, tmp_path, most=2)
    good = (tmp_path / NAME).read_bytes()
    monkeypatch.setattr(writing, "open", FullDisk(len(good) // 3, modes=("xb+",)).open, raising=False)
    with pytest.raises(Refused, match=r"wanted [\d,]+ bytes, got no more room \(No space left on device"):
        train(run, tmp_path)
    assert (tmp_path / NAME).read_bytes() == good
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, LOG]
    monkeypatch.undo()
    again = run_of()
    again.restore(tmp_path / NAME)
    assert train(again, tmp_path) is True


@pytest.mark.slow
def test_a_file_system_that_is_really_full(tmp_path):
    """A limit on file size, set by the system, in a process of its own."""
    script = textwrap.dedent("""
        import resource, sys
        from v4mini import Refused
        from v4mini.training.checkpoint import write_checkpoint
        import numpy as np
        path = sys.argv[1]
        write_checkpoint(path, {"a": np.ones(1000, np.float32)}, {"step": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            write_checkpoint(path, {"a": np.ones(10000, np.float32)}, {"step": 2})
        except Refused as error:
            print(error)
    """)
    path = tmp_path / NAME
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert "no more room" in done.stdout and done.returncode == 0
    arrays, state = read_checkpoint(path)
    assert state == {"step": 1} and (arrays["a"] == 1).all() and list(tmp_path.iterdir()) == [path]
