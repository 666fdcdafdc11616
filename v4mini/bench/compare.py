"""Engines beside each other, each in a process of its own, in one run. Not here: what one process does (worker.py)."""

import json
import subprocess
import sys
from dataclasses import dataclass

from v4mini.planning.flops import span_flops, token_flops
from v4mini.shapes import Refused


@dataclass(frozen=True)
class Result:
    """One engine at one length. `share` is of the machine's measured matrix-product ceiling; None where it did not finish."""

    what: str
    tokens: int
    engine: str
    seconds: float | None           # of the whole prefill, or of one decoded token
    tokens_per_second: float | None
    gflops: float | None            # per second, by the model of planning/flops.py
    share: float | None
    peak_bytes: int | None
    failure: str = ""


def compare(config, what, lengths, engines, ceiling, repeats=3, steps=128):     # yields Result
    """Measure every engine at every length, taking turns. An engine that is killed is reported so, and the others go on."""
    for tokens in lengths:
        for engine in engines:
            task = {"config": config.to_dict(), "engine": engine, "what": what, "tokens": tokens,
                    "repeats": repeats, "steps": steps if what == "decode" else 0}
            yield _result(config, task, ceiling)


def _result(config, task, ceiling):
    what, tokens, engine = task["what"], task["tokens"], task["engine"]
    result, failure = run_worker(task)
    if result is None:
        return Result(what, tokens, engine, None, None, None, None, None, failure)
    parts = span_flops(config, 0, tokens) if what == "prefill" else token_flops(config, tokens)
    rate = sum(parts.values()) / result["seconds"]
    done = tokens if what == "prefill" else 1
    return Result(what, tokens, engine, result["seconds"], done / result["seconds"], rate / 1e9,
               rate / ceiling["gemm_flops"], result["peak_bytes"])


def run_worker(task):                                   # -> {...} or None, and why not
    """Run one measurement in its own process."""
    command = [sys.executable, "-W", "ignore", "-m", "v4mini.bench.worker", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1]), ""
    if done.returncode < 0:
        return None, f"killed by signal {-done.returncode}" + (" (out of memory?)" if done.returncode == -9 else "")
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if "ModuleNotFoundError" in last or "is not installed" in last:
        raise Refused(f"bench: {last}. For --against hf run: python -m pip install -e \".[parity]\"")
    return None, last[:120]


def ratios(results, ours, theirs):                         # -> {(what, tokens): how many times faster ours is}
    """Seconds of `theirs` over seconds of `ours`, where both finished."""
    seconds = {(result.what, result.tokens, result.engine): result.seconds for result in results}
    pairs = {(what, tokens) for what, tokens, _ in seconds}
    return {pair: seconds[*pair, theirs] / seconds[*pair, ours] for pair in sorted(pairs)
            if seconds.get((*pair, ours)) and seconds.get((*pair, theirs))}
