"""The loop around a Run: log, check, save, stop. Not here: a step (run.py), printing (cli/)."""

import contextlib
import json
import signal
import threading
import time
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.training.checkpoint import NAME
from v4mini.training.records import LOG_LINE, expect_like
from v4mini.untrusted import parse_json, read_file
from v4mini.weights.ours import LOCK
from v4mini.writing import alone, append, write_whole

LOG = "log.jsonl"
MOST_LOG = 1 << 28         # bytes
BEGIN = b'{"step": '       # of every line: a last one that was cut short is known by it
CHECK_EVERY = 5             # steps between two looks at the answers, in stages that wait for them
LOG_EVERY = 10
SAVE_SECONDS = 120


def train(run, folder, most=None, report=None, stop=None, save_seconds=SAVE_SECONDS, begun=None, is_alone=False):
    """Go on with a run until its recipe is done, `most` steps are, or stop() says so; then save. -> bool: is the recipe done?

    The folder must exist, and nobody else may train into it; is_alone: the caller holds only_trainer. begun() is called once the
    first step is done.

    Every LOG_EVERY steps a line goes to log.jsonl and to report(line). Raises Refused as Run.learn and Run.save do: the last
    good checkpoint stays.
    """
    with contextlib.nullcontext() if is_alone else only_trainer(folder):
        _steps(run, Path(folder), most, report, stop, save_seconds, begun)
        run.save(Path(folder) / NAME)
    return run.is_over


def _steps(run, folder, most, report, stop, save_seconds, begun):
    saved = time.monotonic()
    lines = []
    _forget_after(folder / LOG, run.step)
    while not run.is_over and (most is None or run.step < most) and not (stop and stop()):
        began = time.perf_counter()
        if run.is_stage_over:
            run.enter_next_stage()
        lines.append(run.learn(recall=(run.step + 1) % LOG_EVERY == 0))
        if begun:
            begun()
            begun = None
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
    """The lines of a log.jsonl, none if there is no such file; a last line that was cut short is left out.

    Raises Refused for a file that is no log of a training run.
    """
    path, lines = Path(path), []
    if not path.is_symlink() and not path.exists():
        return lines
    *whole, last = read_file(path, MOST_LOG, "log", "Name a folder that v4mini train wrote.").split(b"\n")
    for number, raw in enumerate([*whole, last], 1):
        where = f"{path}: line {number}"
        try:
            line = parse_json(raw, where)
            expect_like(line, LOG_LINE, where)
            lines.append(line)
        except Refused:
            if number <= len(whole) or raw[:len(BEGIN)] != BEGIN[:len(raw)]:
                raise
    return lines


def _forget_after(path, step):                          # lines of steps that will be made again
    kept = [line for line in read_log(path) if line["step"] <= step]
    if path.exists():
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))


class StopRequest:
    """Has somebody asked to stop? Call it to know. A request is remembered, so that a step is never cut in half.

    A second request raises KeyboardInterrupt; so does the first while `at_once`: nothing is lost before the first step is done.
    """

    def __init__(self, at_once=False):
        self.at_once = at_once
        self._asked = threading.Event()

    def __call__(self):
        return self._asked.is_set()

    def remember(self, *_):
        if self.at_once or self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()


@contextlib.contextmanager
def asked_to_stop(at_once=False):                       # gives StopRequest
    """Ctrl-C and SIGTERM, which containers and batch systems send, are requests to stop after the running step."""
    stop = StopRequest(at_once)
    before = {one: signal.signal(one, stop.remember) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def only_trainer(folder):               # -> a context
    """While it lasts no other trainer writes into the folder. Raises Refused if one does; a dead one holds nothing."""
    return alone(Path(folder, LOCK), f"{folder}: another v4mini train is writing into this folder. Wait for it, or stop it, or "
                                     "name another.")
