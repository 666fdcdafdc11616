"""Where tokens of a short row pretend to stand, so that it teaches distances of a million.

A random start and random jumps (PoSE, arXiv:2309.10400). Jumps lie between blocks of 128 tokens, so no compressed entry
has one inside it; windows go by position, so nothing leaks over a jump. Not here: rows (facts.py, corpus.py).
"""

import numpy as np

BLOCK = 128


def scattered(rng, tokens, span, jumps=True):           # -> [tokens] int64, rising, below span
    """A start in 0 .. span, then gaps between some blocks that spread the row over up to `span` positions.

    The reach is log-uniform for half of the rows, so that every scale is seen, and uniform for the others, since of
    log-uniform ones too few reach the far end. Without jumps only the start is random.
    """
    blocks = -(-tokens // BLOCK)
    room = span // BLOCK
    if room <= blocks:
        return np.arange(tokens)
    reach = blocks
    if jumps and blocks > 1:
        if rng.random() < 0.5:
            reach = int(np.exp(rng.uniform(np.log(blocks), np.log(room))))
        else:
            reach = int(rng.uniform(blocks, room))
    gaps = np.zeros(blocks, np.int64)
    if reach > blocks:
        count = int(rng.integers(1, blocks))
        at = rng.choice(np.arange(1, blocks), count, replace=False)
        gaps[at] = rng.dirichlet(np.full(count, 0.5)) * (reach - blocks)
    start = rng.integers(0, room - blocks - gaps.sum() + 1)
    return np.arange(tokens) + np.repeat((np.cumsum(gaps) + start) * BLOCK, BLOCK)[:tokens]
