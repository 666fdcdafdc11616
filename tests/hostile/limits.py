"""Many bad inputs in one child process, each under limits of time and memory; what came of each is counted.

A kind is a module of this folder with

    FULL                        how many cases a full run has
    prepare(folder)             -> state: what is made once, valid, in the child
    case(state, rng, folder)    make one bad input in an empty folder, feed it, return what came of it in a few words

and a case may return "..." (accepted; the words say why that is right or cannot be noticed; "WRONG ..." is a failure) or raise
Refused. Everything else that happens is a failure: another exception, a warning, a sentence that is no sentence, a control
character in it, more than SECONDS of work or BYTES, the end of the process, a file that the case did not name in KEEPS.

    python tests/hostile/limits.py KIND FIRST COUNT             the child: a JSON line for each case

Not here: the kinds.
"""

import importlib
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

SECONDS, BYTES = 10.0, 1e9              # of one case; its memory is what the process takes more than before the first case
WAITING = 6                             # times as long by the clock: the machine may have other work
LONGEST = 4000                          # letters of a refusal, which is at most LINES lines
LINES = 25
WHOLE_PROCESS = 6 << 30                 # bytes of address space that a child can have: the machine's own safety

FAILURES = ("traceback", "warning", "no sentence", "control character", "slow", "large", "file left", "died", "WRONG")


def run_kind(name, count, first=0, seconds=SECONDS, nbytes=BYTES):          # -> Counter of outcomes, [failures as text]
    """Run cases first, first + 1, ... of a kind. A case that hangs or ends its process costs that process only."""
    outcomes, faults, number, stop = Counter(), [], first, first + count
    while number < stop:
        for line in _child(name, number, stop - number, seconds):
            number = line["case"] + 1
            outcome = _judged(line, seconds, nbytes)
            outcomes[outcome] += 1
            if outcome.startswith(FAILURES):
                faults.append(f"{name} case {line['case']}: {outcome}: {line['detail']}")
    return outcomes, faults


def _judged(line, seconds, nbytes):
    if line["outcome"].startswith(FAILURES):
        return line["outcome"]
    if line["seconds"] > seconds or line["waited"] > WAITING * seconds:
        return "slow"
    return "large" if line["bytes"] > nbytes else line["outcome"]


def _child(name, first, count, seconds):            # yields a line for each case, one for the case that ended the process too
    command = [sys.executable, str(Path(__file__)), name, str(first), str(count)]
    environment = os.environ | {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as folder, subprocess.Popen(
            [*command, folder], stdout=subprocess.PIPE, stderr=errors, env=environment, bufsize=0) as child:
        number, patience, came = first, 300.0, b""  # the first case waits for imports and what is made once
        while number < first + count:
            ready = True
            while ready and b"\n" not in came:
                ready, _, _ = select.select([child.stdout], [], [], patience)
                raw = os.read(child.stdout.fileno(), 1 << 16) if ready else b""
                if not raw:
                    break
                came += raw
            text, found, came = came.partition(b"\n")
            if not found:
                child.kill()
                child.wait()
                errors.seek(0)
                words = errors.read().decode(errors="replace")[-2000:]
                what = "died" if ready else "slow"
                yield {"case": number, "outcome": what, "detail": words or f"exit {child.returncode}",
                       **dict.fromkeys(("seconds", "waited", "bytes"), 0)}
                return
            yield json.loads(text)
            number, patience = number + 1, (WAITING + 1) * seconds


# ---- the child ----

def main(name, first, count, folder):
    """Run the cases and print a line for each."""
    resource.setrlimit(resource.RLIMIT_DATA, (WHOLE_PROCESS, WHOLE_PROCESS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kind = importlib.import_module(f"hostile.{name}")
    state = kind.prepare(Path(folder, "state"))
    warnings.simplefilter("error")
    base = _peak()
    for number in range(first, first + count):
        place = Path(folder, "case")
        place.mkdir()
        _reset_peak()
        started, clock = time.process_time(), time.perf_counter()
        outcome, detail = _one(kind, state, np.random.default_rng([number, len(name), *name.encode()]), place)
        line = {"case": number, "outcome": outcome, "detail": detail, "seconds": time.process_time() - started,
                "waited": time.perf_counter() - clock, "bytes": max(0, _peak() - base)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        shutil.rmtree(place)


def _one(kind, state, rng, place):                  # -> outcome, detail
    from v4mini.shapes import Refused

    try:
        said = kind.case(state, rng, place)
    except Refused as refused:
        return _sentence(str(refused))
    except Warning as warning:
        return "warning", f"{type(warning).__name__}: {warning}"
    except BaseException:                           # SystemExit, a panic of a package, MemoryError
        return "traceback", traceback.format_exc()[-1500:]
    return f"accepted: {said}" if not said.startswith("WRONG") else said, ""


def _sentence(text):
    if any(c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text):
        return "control character", ascii(text[:300])
    is_told = any(sign in text.replace("\n", " ") for sign in ("expected", ". ", ";"))
    if not is_told or len(text) > LONGEST or text.count("\n") >= LINES:
        return "no sentence", text[:300]
    return "refused", text[:200]


def _peak():                                        # -> bytes, the most this process had since _reset_peak
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_peak():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:                                 # not Linux, or not ours: then the peak is that of all cases so far
        return


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])            # tests/, and not this folder
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
