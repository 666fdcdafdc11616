"""What one process does in `python -m accel ranks`: expert parallelism beside one process, or dying in the middle of it.

Works under torchrun too: torchrun --nproc-per-node 4 -m accel.ranks. Not here: starting processes (cli/ranks.py).
"""

import json
import os
import signal
import sys
import time

import numpy as np

from accel.parallel import RankLost, experts_over_ranks, start
from v4mini.numerics.blocks import quantise_fp4
from v4mini.ops.experts import experts
from v4mini.ops.linear import linear
from v4mini.weights.tree import Expert

D, INTER, E, K, LIMIT = 64, 96, 16, 3, 2.0


def inputs(tokens, few, seed=0):                        # the same on all ranks: x [T, D], chosen, weights, pool
    """Tokens of all ranks, of which nobody chooses the last E - few experts."""
    rng = np.random.default_rng(seed)

    def matrix(*shape):
        return quantise_fp4(rng.standard_normal(shape).astype(np.float32) * np.float32(0.1))
    pool = tuple(Expert(matrix(INTER, D), matrix(D, INTER), matrix(INTER, D)) for _ in range(E))
    chosen = np.stack([rng.permutation(few)[:K] for _ in range(tokens)])
    return rng.standard_normal((tokens, D)).astype(np.float32), chosen, rng.random((tokens, K)).astype(np.float32), pool


def splits(ranks):                                      # -> {what: tokens of each rank}
    """Even and uneven ones, and a rank that has no token at all."""
    return {"even": [8] * ranks, "uneven": [3 + 5 * rank for rank in range(ranks)],
            "a rank without tokens": [0] + [7] * (ranks - 1)}


def compare(rank, ranks):                               # -> {what: is every number of this rank equal to one process's}
    """Each split twice: with all experts chosen from, and with five that nobody chooses."""
    same = {}
    for what, counts in splits(ranks).items():
        for few in (E, E - 5):
            x, chosen, weights, pool = inputs(sum(counts), few)
            part = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
            got = experts_over_ranks(x[part], chosen[part], weights[part], pool, LIMIT, linear)
            alone = experts(x, chosen, weights, pool, LIMIT, linear)[part]
            same[f"{what}, {few} of {E} experts"] = bool(np.array_equal(got, alone))
    return same


def die(how):
    """End in the middle of a pass, or stop answering."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "raise":
        raise MemoryError("this rank is out of memory, as it was told to be")
    time.sleep(3600)


def main():
    """Reads what to do from the environment that `python -m accel ranks` makes."""
    rank, ranks = start(float(os.environ.get("ACCEL_TIMEOUT", "60")))
    report = {"rank": rank, "ranks": ranks, "same": compare(rank, ranks)}
    if how := os.environ.get("ACCEL_DIE"):
        begin = time.monotonic()
        if rank == 1:
            die(how)
        x, chosen, weights, pool = inputs(8, E)
        try:
            experts_over_ranks(x, chosen, weights, pool, LIMIT, linear)
        except RankLost as error:
            report |= {"lost_after": round(time.monotonic() - begin, 2), "error": str(error)}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    os._exit(0 if "error" not in report else 1)         # no goodbye to ranks that are gone


if __name__ == "__main__":
    main()
