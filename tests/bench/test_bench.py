"""The benchmark measures what it says; how fast anything is, no test asserts."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from v4mini.bench import kernels
from v4mini.bench.compare import Result, check_engine, compare, ratios, run_worker
from v4mini.bench.kernels import Timing, kernel_times
from v4mini.bench.million import amounts, million, pretend_past, read_log
from v4mini.bench.worker import measure
from v4mini.config import Config
from v4mini.kernels.backend import NumbaBackend
from v4mini.planning.flops import span_flops
from v4mini.shapes import Refused
from v4mini.viz.speed import save_comparison, save_kernels

TINY = Config.tiny().replace(n_mtp_layers=0)
ROOF = {"gemm_flops": 1e10, "read_bytes": 1e10}


@pytest.mark.parametrize("what, steps", [("prefill", 0), ("decode", 3)])
def test_a_worker_gives_a_median_and_its_peak_memory(what, steps):
    result = measure({"config": TINY.to_dict(), "engine": "numpy", "what": what, "tokens": 20, "repeats": 3, "steps": steps})
    assert 0 < result["fastest"] <= result["seconds"] <= result["slowest"] and result["peak_bytes"] > 1e7


def test_a_race_runs_each_engine_in_its_own_process():
    results = list(compare(TINY, "prefill", [16], ["numpy", "nonsense"], ROOF, rounds=2))
    assert results[0].tokens_per_second > 0 and results[0].share > 0 and not results[0].failure and len(results[0].rounds) == 2
    assert results[1].seconds is None and "expected auto, numpy, numba" in results[1].failure


def test_an_engine_that_is_killed_is_reported(monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, -9, "", ""))
    assert run_worker({}, "numba") == (None, "killed by signal 9 (out of memory?)")


def test_another_checkout_runs_its_own_code(tmp_path):
    """Here one whose worker tells where it lies and what it was asked."""
    (tmp_path / "v4mini" / "bench").mkdir(parents=True)
    for folder in ("v4mini", "v4mini/bench"):
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "v4mini/bench/worker.py").write_text(
        "import json, sys; print(json.dumps({'file': __file__, **json.loads(sys.argv[1])}))")
    found, failure = run_worker({"tokens": 3}, str(tmp_path))
    assert found == {"file": str(tmp_path / "v4mini/bench/worker.py"), "tokens": 3, "engine": "numba", "torch_first": False}
    check_engine(str(tmp_path))
    with pytest.raises(Refused, match="--against: expected numpy, hf or the folder of another checkout"):
        check_engine(str(tmp_path / "v4mini"))


def test_ratios_leave_out_what_did_not_finish():
    def result(tokens, engine, *rounds):
        return Result("prefill", tokens, engine, *[1] * 5, rounds=rounds)
    results = [result(8, "numba", 2.0, 4.0, 1.0), result(8, "hf", 6.0, 4.0, 5.0), result(16, "numba", 4.0),
               Result("prefill", 16, "hf", None, None, None, None, None, "killed")]
    assert ratios(results, "numba", "hf") == {("prefill", 8): 3.0}      # 3, 1, 5


def test_a_race_can_be_drawn(tmp_path):
    results = [Result("prefill", n, engine, n / 10, 10, 1, 1, 1) for n in (8, 16) for engine in ("numba", "hf")]
    save_comparison(results, tmp_path / "race.png")
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")


def test_the_log_of_a_long_text_has_a_line_per_doubling(tiny, tmp_path):
    lines = list(million(tiny, tokens=8192, steps=2, near=2, far=8))
    assert [line["what"] for line in lines] == ["start", "prefill", "prefill", "decode"]
    assert [line.get("to") for line in lines[1:3]] == [4096, 8192] and lines[-1]["tokens"] == 8194
    (log := tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_log(log) == lines


def test_choices_are_the_entries_that_pass_the_bar_of_their_time(rng):
    config, n = Config.tiny(), 1000                     # k = 7; one CSA layer that is not the last
    def passed(scores):
        return sum(score > sorted(scores[:i])[-7] if i >= 7 else True for i, score in enumerate(scores))
    counted = np.mean([passed(rng.random(n)) for _ in range(200)])
    flat, growing, choices = amounts(config, 4 * n, 4 * n + 1)
    assert choices == pytest.approx(counted, rel=0.05)
    parts = span_flops(config, 4 * n, 4 * n + 1)
    assert flat + growing == pytest.approx(sum(parts.values())) and growing == parts["index"] + parts["hca"]


@pytest.mark.parametrize("text", ["", "hello", "[1]", '{"what": "start"}\n{"what": "prefill"}', '{"no": 1}'])
def test_what_is_no_log_of_a_whole_run_is_refused(text, tmp_path):
    (log := tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(Refused, match="expected"):
        read_log(log)


def test_a_pretended_past_is_as_long_as_asked(tiny):
    cache = pretend_past(tiny, 1024)
    assert cache.length == 1024 and cache.nbytes == pretend_past(tiny, 1024).nbytes
    tiny.prefill([1, 2, 3], cache)
    assert cache.length == 1027


def test_a_kernel_and_its_roof_run_in_turns(monkeypatch):
    """A machine that is twice as slow in some rounds gives the same share in all of them."""
    pace, ran = iter([1.0, 2.0, 1.0, 4.0]), []
    clock, now = [0.0], [1.0]

    def roof():
        now[0] = next(pace)
        ran.append("roof")
        clock[0] += now[0]

    def kernel(ops):
        ran.append("kernel" if isinstance(ops, NumbaBackend) else "numpy")
        clock[0] += now[0] * (2.0 if isinstance(ops, NumbaBackend) else 20.0)
    monkeypatch.setattr(kernels, "_roof", lambda bound: (roof, 100.0))
    monkeypatch.setattr(kernels, "time", SimpleNamespace(sleep=lambda seconds: None, perf_counter=lambda: clock[0]))
    timing = kernels._time(kernels.Case("k", "2 x 2", kernel, 50.0, 1.0), ROOF, 4)
    assert timing.rounds == (0.25,) * 4 and timing.share == 0.25 and timing.times_numpy == 10 and timing.bound == "compute"
    assert timing.seconds == 3.0 and ran == ["kernel", *["roof", "kernel", "numpy"] * 3, "roof", "kernel"]


@pytest.mark.slow
def test_every_kernel_is_timed_beside_its_roof(tmp_path):
    timings = list(kernel_times(ROOF, rounds=2, tokens=64))
    assert len({timing.name for timing in timings}) == len(timings) == 15
    assert all(timing.seconds > 0 and timing.share > 0 and timing.bound in ("compute", "read") for timing in timings)
    assert timings[-1].name == "one Flash layer" and timings[-1].times_numpy is None
    assert all(len(timing.rounds) == 2 and timing.share == pytest.approx(sum(timing.rounds) / 2) for timing in timings)


def test_kernels_can_be_drawn(tmp_path):
    timings = [Timing("rope", "2 x 3", 0.1, 2.0, "read", 0.5), Timing("route", "2", 0.1, None, "compute", 0.1)]
    save_kernels(timings, tmp_path / "k.png")
    assert (tmp_path / "k.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_after_warming_up_nothing_is_left_to_compile(tmp_path):
    def compiled(*command):
        command = [sys.executable, "-c", "from v4mini.cli import main; main()", *command]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        return len(list(tmp_path.rglob("*.kernel")))
    warm = compiled("doctor", "--warm")
    assert warm > 20
    assert compiled("generate", "import", "-n", "3") == warm
    assert compiled("bench", "million", "--tokens", "4096") == warm
