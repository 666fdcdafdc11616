"""Makes data/golden/dspark: `PYTHONPATH=tests python -m layers.dspark_golden data/golden/dspark`. Takes half a minute.

Three rounds over one text: before the ring is full, two accepted tokens later, and past the window. Of the last two also what
each mistake of naive_dspark.WRONG gives instead, so that a port that is off can look up why.
"""

import sys

import numpy as np
from layers import naive_dspark

from v4mini.config import Config
from v4mini.weights.random import random_tensors, random_weights

CONFIG = Config.tiny().with_dspark(markov_rank=12, noise_token_id=95)
READ = (10, 12, 40)             # tokens the model has read before each round; the next one is the anchor


def cases(config=CONFIG, seed=0, mistakes=naive_dspark.WRONG):           # -> {name: array}
    tensors, found, stale = random_tensors(config, seed), {"ids": text(config), "read": np.array(READ)}, None
    for number, n in enumerate(READ):
        one = naive_dspark.round_of(config, tensors, found["ids"][:n], found["ids"][n])
        found |= {f"{name}_{number}": one[name] for name in ("main_x", "base", "logits", "drafts", "confidence")}
        for wrong in mistakes if number else ():
            other = naive_dspark.round_of(config, tensors, found["ids"][:n], found["ids"][n], wrong, stale)
            found |= {f"wrong/{wrong}/{name}_{number}": other[name] for name in ("logits", "confidence")}
        stale = [[(row, n + i) for i, row in enumerate(rows)] for rows in one["block_rows"]]
    return found


def text(config):
    return np.random.default_rng(0).integers(0, config.vocab_size, READ[-1] + 1)


if __name__ == "__main__":
    random_weights(CONFIG, sys.argv[1])
    np.savez_compressed(f"{sys.argv[1]}/cases.npz", **cases())
