"""Decoding in recorded steps on a device: the logits of NumPy at every position, and what a step of each kind takes.

Not here: recording (accel/static.py, accel/cuda.py), single kernels (device.py).
"""

import statistics
import time
from collections import defaultdict

import numpy as np

from v4mini.shapes import Refused

START, STEPS = 100, 170         # past 128 and 256, where a block of 128 ends
NEAR = 0.03                     # largest difference over largest logit, in bfloat16 products through all layers


def measure(model, right, decoder, start=START, steps=STEPS, near=NEAR):        # -> {"error", "kinds": {...}}
    """model: on the device; right: the same weights on NumPy; decoder: StaticDecoder or one made of it.

    kinds: by blocks that end ("none", "4", "4 and 128"), the median milliseconds of a replay. Refused where logits are off.
    """
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, start + steps)
    cache = model.new_cache()
    model.prefill(ids[:start], cache)
    recorded, wanted = decoder(model, start + steps, cache), right.logits(ids)
    times, worst = defaultdict(list), 0.0
    for at in range(start, start + steps):
        ends = tuple(ratio for ratio in recorded.ratios if (at + 1) % ratio == 0)
        is_new = ends not in recorded.programs          # recording is not a step's time
        begin = time.perf_counter()
        logits = recorded.step(ids[at])
        if not is_new:
            times[ends].append(time.perf_counter() - begin)
        worst = max(worst, float(np.abs(logits - wanted[at]).max() / np.abs(wanted[at]).max()))
        if not worst <= near:
            raise Refused(f"decode: position {at}: expected logits within {near} of NumPy's, got {worst:.1e}.")
    kinds = {" and ".join(map(str, ends)) or "none": {"steps": len(seconds), "milliseconds": 1e3 * statistics.median(seconds)}
             for ends, seconds in times.items()}
    return {"error": worst, "kinds": kinds}
