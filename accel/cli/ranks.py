"""ranks: data and expert parallelism on this machine, several processes beside one. Not here: the exchange (parallel.py)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import click

from accel.cli.front import main
from v4mini.cli.main import json_option, say, say_json

DEATHS = ("kill", "exit", "raise", "hang")


@main.command()
@click.option("--processes", default=2, show_default=True, type=click.IntRange(2, 16),
              help="How many; they share 16 experts evenly.")
@click.option("--die", type=click.Choice(DEATHS), help="How rank 1 ends in the middle: what do the others see, and when?")
@click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(1),
              help="Seconds after which a silent rank is lost.")
@json_option
def ranks(processes, die, timeout, as_json):
    """Spread experts and the sequences of a batch over processes here: are all numbers those of one process? What if one dies?

    \b
    python -m accel ranks --processes 4
    python -m accel ranks --processes 4 --die kill
    python -m accel ranks --die hang --timeout 5

    Each process by torchrun, on one machine or several: torchrun --nproc-per-node 4 -m accel.ranks
    """
    begin = time.monotonic()
    reports, silent = run(processes, die, timeout)
    same = all(all(report["same"].values()) for report in reports)
    told = [report for report in reports if "error" in report]
    is_ok = same and len(reports) == (processes - 1 if die else processes) and len(told) == (processes - 1 if die else 0)
    result = {"ok": is_ok, "seconds": round(time.monotonic() - begin, 1), "reports": reports, "silent": silent}
    if as_json:
        say_json(result)
    else:
        for report in reports:
            if "error" in report:
                say(f"after {report['lost_after']} s: {report['error']}")
            else:
                equal = sum(report["same"].values())
                say(f"rank {report['rank']} of {report['ranks']}: {equal} of {len(report['same'])} splits and batches equal one "
                    "process, to the last bit")
        say(f"in {result['seconds']} s" + (f"; rank 1 was told to {die}" if die else ""))
    raise SystemExit(0 if is_ok else 1)


def run(processes, die=None, timeout=60.0):             # -> (reports, ranks without one)
    """Start the processes, read a line of JSON from each, and end whoever hangs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes),
              "ACCEL_TIMEOUT": str(timeout), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
              **({"ACCEL_DIE": die} if die else {})}
    started = [subprocess.Popen([sys.executable, "-m", "accel.ranks"], env={**common, "RANK": str(rank)}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for rank in range(processes)]
    reports, silent = [], []
    try:
        for rank in (rank for rank in range(processes) if not (die and rank == 1)):
            lines, _ = started[rank].communicate()
            (reports.append(json.loads(lines)) if lines.startswith("{") else silent.append(rank))
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return reports, silent
