"""A very long text, read and continued on this machine: time and memory at every doubling, beside what the FLOPs predict.

Three rates are measured before the run (work that stays, work per entry stored, choosing among them) and never fitted to it.
Not here: the model's own code; printing (cli/).
"""

import json
import platform
import time
from datetime import date

import numpy as np

from v4mini import __version__
from v4mini.bench.ceiling import median_seconds
from v4mini.machine import cores, resident_bytes
from v4mini.planning.flops import span_flops
from v4mini.shapes import Refused
from v4mini.untrusted import read_file

FIRST = 4096                                            # tokens of the first line of the log
PROBE, NEAR, FAR = 1024, 32, 512                        # tokens of a measured chunk; how many chunks lie before two of them


def rates(model, probe=PROBE, near=NEAR, far=FAR):      # -> {"flat", "growing": FLOP/s, "choosing": seconds for one entry}
    """Seconds of a chunk at the start and of two behind `near` and `far` times as much text: a rate for each kind of work.

    The long pasts are noise put straight into a cache: reading a text would take the time that is to be predicted.
    """
    config = model.config
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, probe)
    cache = model.new_cache()
    model.prefill(ids, cache)
    short = median_seconds(lambda: model.prefill(ids, cache.copy()), repeats=3)
    flat = sum(span_flops(config, probe, 2 * probe).values()) / short
    rest, work = [], []                                 # seconds that grow with the past, and what was done in them
    for times in (near, far):
        past = pretend_past(model, times * probe)
        seconds = median_seconds(lambda past=past: model.prefill(ids, past), repeats=3)     # each behind the last
        still, *grown = amounts(config, (times + 2) * probe, (times + 3) * probe)
        rest.append(max(0.0, seconds - still / flat))
        work.append(grown)
    growing, choosing = np.linalg.solve(work, rest)
    if growing <= 0 or choosing < 0:                    # on a machine too busy to tell them apart all is put down to FLOPs
        growing = max(rest[1] / work[1][0], 1e-15)
        choosing = 0.0
    return {"flat": flat, "growing": 1 / growing, "choosing": choosing}


def amounts(config, start, stop):                       # tokens start .. stop - 1 -> FLOPs that stay, FLOPs that grow, choices
    """The work of a stretch of text in the three kinds that a machine does at rates of their own.

    A choice is an entry that is among a token's best k when it is met: of n entries in no special order that is k (1 + ln(n / k))
    of them, so choosing gets cheaper per entry the more there are. In the last layer a prefilled token chooses nothing.
    """
    parts = span_flops(config, start, stop)
    choices = 0.0
    growing = parts["index"] + parts["hca"]
    k = config.index_topk
    for layer in range(config.n_layers - 1):
        if config.layer_kind(layer) == "csa":
            n = np.linspace(start, stop, 65) / config.ratio(layer)
            choices += (stop - start) * np.where(n > k, k * (1 + np.log(np.maximum(n, k) / k)), n).mean()
    return sum(parts.values()) - growing, growing, choices


def pretend_past(model, tokens):                        # -> Cache of `tokens` random rows that no text produced
    """A cache as long as asked for, filled with noise: for timing what lies behind it."""
    config = model.config
    cache = model.new_cache()
    rng = np.random.default_rng(2)

    def rows(n, width):
        return rng.standard_normal((n, width), np.float32)
    for layer in range(config.n_layers):
        kind, ratio = config.layer_kind(layer), config.ratio(layer)
        cache.extend(layer, "window", rows(tokens, config.head_dim))
        wide = {"window": {}, "csa": {"": 2 * config.head_dim, "index_": 2 * config.index_head_dim}, "hca": {"": config.head_dim}}
        for name, width in wide[kind].items():
            cache.extend(layer, f"{name}kv", rows(tokens, width))
            cache.extend(layer, f"{name}score", rows(tokens, width))
            own = config.index_head_dim if name else config.head_dim
            cache.extend(layer, "index_keys" if name else "entries", rows(tokens // ratio, own))
    cache.commit(tokens)
    return cache


def million(model, tokens=1 << 20, steps=64, progress=None, near=NEAR, far=FAR):      # yields dict
    """Prefill `tokens` random tokens, then decode `steps` more. A dict per doubling and one for decoding: lines of a log."""
    config = model.config
    measured = rates(model, near=near, far=far)
    yield {"what": "start", "date": date.today().isoformat(), "version": __version__, "machine": platform.machine(),
           "system": platform.platform(), "cores": cores(), "python": platform.python_version(), "engine": model.ops.name,
           "tokens": tokens, "flat_gflops": measured["flat"] / 1e9, "growing_gflops": measured["growing"] / 1e9,
           "choosing_ns": measured["choosing"] * 1e9}
    cache = model.new_cache()
    rng = np.random.default_rng(0)
    begin = time.perf_counter()
    mark = min(FIRST, tokens)
    while cache.length < tokens:
        start = cache.length
        t0 = time.perf_counter()
        ids = rng.integers(0, config.vocab_size, mark - start)
        model.prefill(ids, cache, progress=progress and (lambda done, start=start: progress(start + done)))
        seconds = time.perf_counter() - t0
        yield _line(config, measured, start, cache, seconds, time.perf_counter() - begin)
        mark = min(2 * mark, tokens)
    times = []
    for token in rng.integers(0, config.vocab_size, steps):
        t0 = time.perf_counter()
        model.step(int(token), cache)
        times.append(time.perf_counter() - t0)
    yield {"what": "decode", "tokens": cache.length, "median_ms": sorted(times)[len(times) // 2] * 1e3,
           "slowest_ms": max(times) * 1e3, "cache_bytes": cache.nbytes, "resident_bytes": resident_bytes()}


def _line(config, measured, start, cache, seconds, total):
    flat, growing, choices = amounts(config, start, cache.length)
    predicted = flat / measured["flat"] + growing / measured["growing"] + choices * measured["choosing"]
    return {"what": "prefill", "from": start, "to": cache.length, "seconds": seconds, "total_seconds": total,
            "tokens_per_second": (cache.length - start) / seconds,
            "predicted_tokens_per_second": (cache.length - start) / predicted,
            "gflops": (flat + growing) / seconds / 1e9, "cache_bytes": cache.nbytes, "resident_bytes": resident_bytes()}


def read_log(path):                                     # -> [dict], as `million` gave them
    """The lines of one run's log. Raises Refused for a file that is not one, or for a run that was stopped."""
    raw = read_file(path, 64 << 20, "log", "Write one with --log.")
    try:
        lines = [json.loads(line) for line in raw.decode("utf-8").splitlines()]
        kinds = [line["what"] for line in lines]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Refused(f"{path}: expected a log of v4mini bench million, a JSON object a line. Write one with --log.") from None
    if kinds[:1] != ["start"] or kinds[-1:] != ["decode"] or set(kinds[1:-1]) != {"prefill"}:
        raise Refused(f"{path}: expected one run from start to decode, got {' '.join(kinds)[:80] or 'nothing'}. Use a new file.")
    return lines
