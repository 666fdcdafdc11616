"""Everything of this folder by one command, with its counts. Exit status 1 if anything came out that must not.

    python tests/hostile/run.py                         a twentieth of it, some minutes
    python tests/hostile/run.py --full                  all of it, an hour or two of one core
    python tests/hostile/run.py --strict                10,000 configs, indexes, caches and tokenizers, 5 s and 500 MB each
    python tests/hostile/run.py bad_caches --first 17 --count 1         one case again

Not here: what a case is (limits.py), the kinds (bad_*.py, odd_files.py, kills.py, targets.py).
"""

import argparse
import importlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])                # tests/, and not this folder

from hostile import kills, limits, targets

KINDS = ("bad_headers", "bad_configs", "bad_indexes", "bad_caches", "bad_tokenizers", "bad_checkpoints", "bad_cards",
         "bad_answers", "odd_files")
STRICT = ("bad_configs", "bad_indexes", "bad_caches", "bad_tokenizers")
SHOWN = 20                              # faults of a kind that are printed
SAVERS, KILLS, LIVES = ("training", "cache", "checkpoint"), 20, 20              # kills of each saver, lives of a trainer


def full(kind):                         # -> how many cases a full run has
    return importlib.import_module(f"hostile.{kind}").FULL


def killed_savers(share):               # yields name, Counter
    """Savers of three kinds of file, killed at random moments."""
    for name in SAVERS:
        with tempfile.TemporaryDirectory() as folder:
            yield f"killed while saving: {name}", kills.kill_savers(name, max(1, round(KILLS * share)), folder)


def killed_trainers(share):             # -> name, Counter
    """One training run of many lives, beside one that nobody disturbed."""
    lives = max(2, round(LIVES * share))
    with tempfile.TemporaryDirectory() as folder:
        killed, whole = Path(folder, "killed"), Path(folder, "whole")
        killed.mkdir(), whole.mkdir()
        found = kills.kill_trainers(lives, killed, whole)
    found["WRONG lives that did not go on"] += lives - 1 - found.pop("lives that went on")
    found.pop("steps")
    return f"killed while training: {lives} lives", found


def pointed_at_targets():               # -> name, Counter
    """Every writer at every target."""
    return "writers at targets", Counter(targets.short(words) for words in targets.table().values())


def everything(share):                  # yields name, Counter, [faults]
    """All of it, kind by kind."""
    for kind in KINDS:
        yield kind, *limits.run_kind(kind, max(1, round(full(kind) * share)))
    for name, found in (*killed_savers(share), killed_trainers(share), pointed_at_targets()):
        yield name, found, [f"{name}: {what} {count}" for what, count in found.items() if what.startswith("WRONG") and count]


def strict():                           # yields the same
    """What a stranger's files may ask for, held to half."""
    for kind in STRICT:
        yield kind, *limits.run_kind(kind, 2500, first=1_000_000, seconds=5.0, nbytes=5e8)


def main():
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=", ".join(KINDS))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int)
    chosen = parser.parse_args()
    if chosen.kinds:
        runs = ((kind, *limits.run_kind(kind, chosen.count or full(kind), chosen.first)) for kind in chosen.kinds)
    else:
        runs = strict() if chosen.strict else everything(1.0 if chosen.full else 0.05)
    started, faults = time.monotonic(), []
    for name, outcomes, wrong in runs:
        sys.stdout.write(f"{name}: {sum(outcomes.values()):,} in all, after {time.monotonic() - started:,.0f} s\n")
        sys.stdout.write("".join(f"    {count:6,}  {what}\n" for what, count in outcomes.most_common() if count))
        sys.stdout.write("".join(f"    FAULT {one}\n" for one in wrong[:SHOWN]))
        sys.stdout.flush()
        faults += wrong
    sys.stdout.write(f"{len(faults)} faults\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
