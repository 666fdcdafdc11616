"""What one process does in `python -m accel ranks`: data and expert parallelism beside one process, or dying in the middle of it.

Works under torchrun too: torchrun --nproc-per-node 4 -m accel.ranks. Not here: starting processes (cli/ranks.py).
"""

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from accel.parallel import DataParallel, ExpertParallel, RankLost, experts_over_ranks, gathered, groups_of, start
from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.numerics.blocks import quantise_fp4
from v4mini.ops.experts import experts
from v4mini.ops.linear import linear
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import Expert, build

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


class Together(Backend):
    """The ranks of a group in one process, a thread each: they meet at every layer, and its experts take all tokens at once."""

    def __init__(self, ranks):
        super().__init__()
        self.met, self.given, self.here = threading.Barrier(ranks, timeout=60), [None] * ranks, threading.local()

    def experts(self, x, chosen, weights, pool, limit):
        self.given[self.here.rank] = x, chosen, weights
        self.met.wait()
        if self.here.rank == 0:
            self.y = experts(*map(np.concatenate, zip(*self.given)), pool, limit, self.linear)
        self.met.wait()
        begin = sum(len(x) for x, _, _ in self.given[: self.here.rank])
        y = self.y[begin: begin + len(x)].copy()
        self.met.wait()
        return y


def model_on(ops, ranks):                               # every rank draws the same weights
    """A whole small model whose experts `ranks` processes share evenly."""
    config = Config.tiny().replace(n_routed_experts=2 * ranks)
    return CachedModel(config, build(config, random_tensors(config, 0).get), ops)


def passes(count):                                      # -> what is appended, pass by pass: texts of several lengths, then steps
    """[[tokens of each sequence], ...]."""
    texts = [np.arange(6 + 5 * number) * (3 + number) % 97 for number in range(count)]
    return [[text[:-2] for text in texts], [text[-2:-1] for text in texts], [text[-1:] for text in texts]]


def in_one_process(model, parts, group, size, ranks):   # -> [[own, V] of each pass] of each rank of a group
    """The same ranks as threads. model: on Together(size)."""
    def rank(number):
        model.ops.here.rank = number
        mine = DataParallel(model, len(parts[0]), group * size + number, ranks)
        return [mine.append(part) for part in parts]
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(rank, range(size)))


def compare_batches(rank, ranks):                       # -> {what: is every bit that of one process}
    """A batch over all ranks, with experts shared by all and by pairs; more sequences than ranks, and fewer."""
    same = {}
    for size in sorted({ranks, 2}):
        model, one = model_on(ExpertParallel(group=groups_of(size)), size), model_on(Together(size), size)
        for count in (2 * ranks - 1, ranks - 1):
            parts, mine = passes(count), DataParallel(model, count, rank, ranks)
            got = [mine.append(part) for part in parts]
            wanted = [in_one_process(one, parts, group, size, ranks) for group in range(ranks // size)]
            wanted = [np.concatenate([member[at] for group in wanted for member in group]) for at in range(len(parts))]
            whole = [gathered(part) for part in got]
            equal = all(np.array_equal(a, b) for a, b in zip(whole, wanted)) and len(whole[0]) == count
            same[f"{count} sequences, experts over {size} ranks"] = equal and _is_near(one.config, one.weights, parts, whole)
    return same


def _is_near(config, weights, parts, whole):            # and each sequence is what it is alone, up to float32's rounding
    plain = CachedModel(config, weights, Backend())
    for number, rows in enumerate(zip(*whole)):
        text = np.concatenate([part[number] for part in parts])
        alone = plain.logits(text)[-len(parts):]
        if np.abs(np.stack(rows) - alone).max() > 1e-4 * np.abs(alone).max():
            return False
    return True


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
    """Reads what to do from the environment that `python -m accel ranks` makes, or torchrun."""
    rank, ranks = start(float(os.environ.get("ACCEL_TIMEOUT", "60")))
    how = os.environ.get("ACCEL_DIE")
    report = {"rank": rank, "ranks": ranks, "same": {} if how else {**compare(rank, ranks), **compare_batches(rank, ranks)}}
    if how:
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
