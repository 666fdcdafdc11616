"""Files of the right size whose bytes were never written: downloads that reserve room first, or fetch parts at once, and stop.

Header and sizes fit, the rest is zeros. No norm, scale or quantised matrix of a real checkpoint is all zeros (a ue8m0 code 0 is
2^-127), so these tell: at the end of every file, and in a few places inside. Reads a few pages of each file.
Not here: damage that leaves other bytes; only a checksum tells that (remote/record.py).
"""

import numpy as np

from v4mini.shapes import Refused

BLOCK = 1 << 16                     # bytes looked at together, from the end of a file backwards
FARTHEST = 64 << 20                 # so many bytes of zeros are enough
SAMPLES = 8                         # scales and norms looked at inside a file


def check_written(store, telling):  # telling: stored names of norms, scales and codes
    """Raises Refused that names the file, if norms, scales or codes in it are all zeros."""
    for path, entries in store.shards.items():
        inside = sorted((entry for name, entry in entries.items() if name in telling and entry.nbytes), key=lambda e: e.start)
        if not inside:
            continue
        raw = np.memmap(path, np.uint8, "r")
        begins = _zeros_begin(raw)
        lost = [entry for entry in inside if entry.start >= begins]
        picked = {round(place) for place in np.linspace(0, len(inside) - 1, SAMPLES)}
        lost = lost or [inside[place] for place in sorted(picked) if not raw[inside[place].start: inside[place].stop].any()]
        if lost:
            where = f"from byte {begins:,} on" if lost[0].start >= begins else f"around byte {lost[0].start:,}"
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise Refused(f"{path}: expected numbers, got zeros alone in {lost[0].name}{more}: the file has its full "
                          f"size, but {where} it was never written. Fetch this file again.")


def _zeros_begin(raw):              # uint8 [n] -> where the zeros at its end begin, at most FARTHEST bytes from it
    stop = len(raw)
    while stop > 0 and len(raw) - stop < FARTHEST:
        block = raw[max(0, stop - BLOCK): stop]
        last = np.flatnonzero(block)
        if len(last):
            return stop - len(block) + int(last[-1]) + 1
        stop -= len(block)
    return stop
