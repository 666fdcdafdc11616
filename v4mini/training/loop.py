"""The loop around a Run: log, check, save, stop. Not here: a step (run.py), printing (cli/)."""

import contextlib
import json
import signal
import threading
import time
from pathlib import Path

from v4mini.training.checkpoint import NAME
from v4mini.writing import append, write_whole

LOG = "log.jsonl"
CHECK_EVERY = 5             # steps between two looks at the answers, in stages that wait for them
LOG_EVERY = 10
SAVE_SECONDS = 120


def train(run, folder, most=None, report=None, stop=None, save_seconds=SAVE_SECONDS):       # -> bool: is the recipe done?
    """Go on with a run until its recipe is done, `most` steps are, or stop() says so; then save. The folder must exist.

    Every LOG_EVERY steps a line goes to log.jsonl and to report(line). Raises Refused as Run.learn and Run.save do: the last
    good checkpoint stays.
    """
    folder, saved, lines = Path(folder), time.monotonic(), []
    _forget_after(folder / LOG, run.step)
    while not run.is_over and (most is None or run.step < most) and not (stop and stop()):
        began = time.perf_counter()
        if run.is_stage_over:
            run.enter_next_stage()
        lines.append(run.learn(recall=(run.step + 1) % LOG_EVERY == 0))
        if run.stage.until is not None and run.stage_step % CHECK_EVERY == 0:
            lines[-1]["accuracy"] = run.check()
        if run.step % LOG_EVERY == 0 or run.is_stage_over:
            _log(folder / LOG, lines, report)
            lines = []
        run.seconds += time.perf_counter() - began
        if time.monotonic() - saved > save_seconds:
            _log(folder / LOG, lines, report)           # the log holds every step that the checkpoint does
            lines = []
            run.save(folder / NAME)
            saved = time.monotonic()
    _log(folder / LOG, lines, report)
    run.save(folder / NAME)
    return run.is_over


def _log(path, lines, report):
    if not lines:
        return
    seconds = sum(line["seconds"] for line in lines)
    line = {**lines[-1], "steps": len(lines), "seconds": seconds}
    line["losses"] = {name: sum(one["losses"][name] for one in lines) / len(lines) for name in lines[-1]["losses"]}
    line["tokens_per_second"] = sum(one["batch"] for one in lines) / seconds
    append(path, json.dumps(line) + "\n")
    if report:
        report(line)


def read_log(path):                                     # -> [dict]
    """The lines of a log.jsonl; a last line that was cut short is left out."""
    lines = []
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        for text in file:
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
    return lines


def _forget_after(path, step):                          # lines of steps that will be made again
    kept = [line for line in read_log(path) if line["step"] <= step]
    if path.exists():
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))


@contextlib.contextmanager
def asked_to_stop():                                    # gives a function: has somebody pressed Ctrl-C?
    """Ctrl-C is remembered instead of raised, so that a step is never cut in half; a second one raises."""
    asked = threading.Event()

    def remember(*_):
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
