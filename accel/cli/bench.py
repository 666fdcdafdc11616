"""bench: the torch engine beside Hugging Face's eager model, the same weights, each in a process of its own.

Not here: what one process measures (v4mini/bench/worker.py), the Numba engine (`v4mini bench`), kernels (selftest.py).
"""


import click

from accel.cli.front import main, progress
from v4mini.bench.compare import run_worker
from v4mini.cli.main import json_option, say, say_json
from v4mini.config import Config
from v4mini.viz.tables import human_bytes, text_table


def measured(lengths, engines, repeats):                # -> [{"engine", "tokens", "seconds", "peak_bytes", "failure"}]
    """Reading a text of each length on each engine, the 12M model in float32."""
    rows = []
    for tokens in lengths:
        for engine in engines:
            task = {"config": Config.bench().to_dict(), "what": "prefill", "tokens": tokens, "repeats": repeats}
            found, failure = run_worker(task, engine)
            found = found or {"seconds": None, "peak_bytes": None}
            rows.append({"engine": engine, "tokens": tokens, "seconds": found["seconds"], "peak_bytes": found["peak_bytes"],
                         "failure": failure})
            progress(f"{tokens:,} tokens, {engine}: {failure or str(round(found['seconds'], 2)) + ' s'}")
    return rows


def times_of(rows):                                     # -> {tokens: how many times as fast as Hugging Face}
    """Where both finished."""
    seconds = {(row["engine"], row["tokens"]): row["seconds"] for row in rows}
    return {tokens: seconds["hf", tokens] / seconds["torch", tokens] for engine, tokens in seconds
            if engine == "torch" and seconds["torch", tokens] and seconds.get(("hf", tokens))}


@main.command()
@click.option("--tokens", "lengths", multiple=True, type=click.IntRange(1, 1 << 20), default=(2048, 8192), show_default=True,
              help="Length of the text; may be repeated.")
@click.option("--alone", is_flag=True, help="Without Hugging Face, which needs the extra [parity].")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="The median of so many.")
@json_option
def bench(lengths, alone, repeats, as_json):
    """How fast the torch engine reads a text on this CPU, beside Hugging Face eager on the same weights.

    --json gives one object: results (engine, tokens, seconds, peak_bytes, failure or ""), ratios (tokens, times).
    """
    rows = measured(lengths, ["torch"] if alone else ["torch", "hf"], repeats)
    times = times_of(rows)
    if as_json:
        say_json({"results": rows, "ratios": [{"tokens": t, "times": r} for t, r in times.items()]})
        return
    say(text_table(["tokens", "engine", "seconds", "peak memory"],
                   [[row["tokens"], row["engine"], row["seconds"], row["failure"] or human_bytes(row["peak_bytes"])]
                    for row in rows]))
    for tokens, ratio in times.items():
        say(f"{tokens:,} tokens: torch is {ratio:.1f} times as fast as Hugging Face")
