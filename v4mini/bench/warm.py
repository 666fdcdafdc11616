"""Compile every kernel once, so that nobody waits for the compiler later: `v4mini doctor --warm`.

Machine code is kept on disk (kernels/folders.py says where) until Numba, the processor or any kernel's source changes.
Not here: timing (the other files of this folder).
"""

import time

import numpy as np

from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.kernels import index, packed
from v4mini.kernels.backend import NumbaBackend
from v4mini.kernels.keys import Keys
from v4mini.weights.random import random_matrix, random_tensors
from v4mini.weights.tree import build


def steps():                                            # -> [(what it compiles, a function that makes it happen)]
    """Small inputs go through serial loops and large ones through parallel ones, so both kinds are run."""
    return [
        ("few tokens, packed weights", lambda: _run(Config.mini(), False, (3, 1))),
        ("many tokens, packed weights", lambda: _run(Config.mini(), False, (300, 1))),
        ("many tokens, float32 weights", lambda: _run(Config.bench(), True, (1024, 512, 1))),
        ("an index of many keys", _choose),
        *((f"a large {format.upper()} matrix", lambda format=format: _multiply(format))
          for format in ("f32", "bf16", "fp8", "fp4")),
    ]


def warm():                                             # yields (what, seconds)
    """Run all steps; a warm one takes well under a second."""
    for what, run in steps():
        start = time.perf_counter()
        run()
        yield what, time.perf_counter() - start


def _run(config, keep, lengths):                        # texts of these lengths one after the other, into one cache
    model = CachedModel(config, build(config, random_tensors(config).get, keep), NumbaBackend())
    cache = model.new_cache()
    for tokens in lengths:
        model.prefill(np.arange(tokens) % config.vocab_size, cache)


def _choose():                                          # codes of many keys at once, then of one more; one token, then many
    keys = Keys(32).empty(1 << 13)
    keys[:] = 1
    for tokens, count in ((1, len(keys) - 1), (1, len(keys)), (16, len(keys))):
        q = np.ones((tokens, 4, 32), np.float32)
        index.index_topk(q, keys[:count], q[:, :, 0], np.full(tokens, count), 64)


def _multiply(format):                                  # above the size where threads share the work
    weight = random_matrix((2048, 2048), format)
    x = np.ones(2048, np.float32)
    if packed.is_dense(weight):
        packed.dense_matvec(weight.dense(), x, np.empty(2048, np.float32))
    else:
        packed.matvec(weight, x[None], np.empty(2048, np.float32))
        packed.rows(weight, 0, 512)
