"""The rate of learning, step by step. Not here: what it multiplies (muon.py, adamw.py), who sets it (recipe.py)."""

import math


def rate_at(step, steps, peak, end=None, warm_up=0, decay_steps=0):     # -> float
    """Linear up to `peak` over `warm_up` steps, constant, then a cosine down to `end` over the last `decay_steps`.

    V4: 2,000 steps of warm-up, constant for most of training, cosine near the end only. Source: report 4.2.
    `step` counts from 0; the first step already learns (1 / warm_up of the peak), the last one gets `end`.
    """
    end = peak if end is None else end
    if step < warm_up:
        return peak * (step + 1) / warm_up
    past = step + 1 - (steps - decay_steps)             # 1 .. decay_steps within the cosine
    if decay_steps == 0 or past <= 0:
        return peak
    return end + (peak - end) * (1 + math.cos(math.pi * min(past / decay_steps, 1))) / 2
