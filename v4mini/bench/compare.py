"""Engines and builds beside each other, each in a process of its own, taking turns. Not here: what one process does (worker.py).

A machine's pace changes within minutes, so what is compared runs alternately, some rounds long: a number is the median of its
rounds, a ratio the median of each round's ratio.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from v4mini.planning.flops import span_flops, token_flops
from v4mini.shapes import Refused

OURS = "numba"
BESIDE_TORCH = "numba, torch imported first"


@dataclass(frozen=True)
class Result:
    """One engine at one length. `share` is of the machine's measured matrix-product ceiling; None where it did not finish."""

    what: str
    tokens: int
    engine: str                     # "numba", "numpy", "hf", BESIDE_TORCH, or a folder: numba of that checkout
    seconds: float | None           # of the whole prefill, or of one decoded token: median of the rounds
    tokens_per_second: float | None
    gflops: float | None            # per second, by the model of planning/flops.py
    share: float | None
    peak_bytes: int | None
    failure: str = ""
    rounds: tuple = ()              # seconds of each


def check_engine(name):
    """Raises Refused for what is neither an engine that compare knows nor a checkout of v4mini."""
    if name not in ("numpy", "hf") and not _is_checkout(name):
        raise Refused(f"--against: expected numpy, hf or the folder of another checkout of v4mini, got {name!r}.")


def compare(config, what, lengths, engines, ceiling, rounds=3, steps=128, progress=None):       # yields Result
    """Measure every engine at every length, taking turns. An engine that is killed is reported so, and the others go on.

    progress(engine, tokens, seconds or None) is called after each process.
    """
    for tokens in lengths:
        task = {"config": config.to_dict(), "what": what, "tokens": tokens, "repeats": 1,
                "steps": steps if what == "decode" else 0}
        found = {engine: [] for engine in engines}
        failures = {}
        for _ in range(rounds):
            for engine in (engine for engine in engines if engine not in failures):
                result, failure = run_worker(task, engine)
                if result is None:
                    failures[engine] = failure
                else:
                    found[engine].append(result)
                if progress:
                    progress(engine, tokens, result and result["seconds"])
        for engine in engines:
            yield _result(config, task, engine, found[engine], failures.get(engine, ""), ceiling)


def _result(config, task, engine, found, failure, ceiling):
    what, tokens = task["what"], task["tokens"]
    if failure:
        return Result(what, tokens, engine, None, None, None, None, None, failure)
    rounds = tuple(result["seconds"] for result in found)
    seconds = statistics.median(rounds)
    done = tokens if what == "prefill" else 1
    parts = span_flops(config, 0, tokens) if what == "prefill" else token_flops(config, tokens)
    rate = sum(parts.values()) / seconds
    return Result(what, tokens, engine, seconds, done / seconds, rate / 1e9, rate / ceiling["gemm_flops"],
                  max(result["peak_bytes"] for result in found), rounds=rounds)


def run_worker(task, engine):                           # -> {...} or None, and why not
    """Run one measurement in its own process; of a checkout, with its code."""
    is_checkout, environment = _is_checkout(engine), dict(os.environ)
    if is_checkout:
        environment["PYTHONPATH"] = str(Path(engine).resolve())
    task = {**task, "engine": OURS if is_checkout or engine == BESIDE_TORCH else engine, "torch_first": engine == BESIDE_TORCH}
    command = [sys.executable, "-W", "ignore", "-m", "v4mini.bench.worker", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=engine if is_checkout else None)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1]), ""
    if done.returncode < 0:
        return None, f"killed by signal {-done.returncode}" + (" (out of memory?)" if done.returncode == -9 else "")
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if "ModuleNotFoundError" in last or "is not installed" in last:
        raise Refused(f"bench: {last}. For --against hf and --beside torch run: python -m pip install -e \".[parity]\"")
    return None, last[:120]


def _is_checkout(name):
    return (Path(name) / "v4mini" / "bench" / "worker.py").is_file()


def ratios(results, ours, theirs):                      # -> {(what, tokens): how many times faster ours is}
    """Seconds of `theirs` over seconds of `ours` in each round, and the median of that; where both finished."""
    rounds = {(result.what, result.tokens, result.engine): result.rounds for result in results}
    pairs = {(what, tokens) for what, tokens, _ in rounds}
    return {pair: statistics.median(b / a for a, b in zip(rounds[*pair, ours], rounds[*pair, theirs])) for pair in sorted(pairs)
            if rounds.get((*pair, ours)) and rounds.get((*pair, theirs))}
