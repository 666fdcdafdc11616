"""Data and expert parallelism: each process has sequences of its own and a share of every layer's experts; tokens travel to them.

    order       rows of a rank's tokens by expert, then by token
    dispatch    all_to_all: each row to the rank that holds its expert
    compute     an expert meets the rows of all ranks at once, in rank order
    combine     all_to_all back; a token adds its experts by rising number

So an expert multiplies the same rows in the same order as in one process that has the tokens of all ranks, and sums run as
there: the result is the same to the last bit. Attention and everything else stay with the rank whose sequences they are. Ranks
may form groups that share the experts among themselves; groups meet only where answers are put together.
All ranks must make the same passes; one without sequences takes part with no tokens.
Source: DeepSeek's DeepEP (dispatch, combine). Not here: starting processes (torchrun).
"""

import os
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from v4mini.backend import Backend
from v4mini.ops.experts import expert
from v4mini.shapes import Refused

TIMEOUT = 60                    # seconds; the library's default is half an hour, in which nobody would know why nothing happens


BACKENDS = {"cpu": "gloo", "cuda": "nccl", "npu": "hccl"}       # by device; the last two have not run


class RankLost(RuntimeError):
    """Another process died or did not answer in time."""


def start(timeout=TIMEOUT, device="cpu"):               # seconds -> (rank, ranks)
    """Join the other processes, as torchrun's environment says. A rank that is silent for `timeout` seconds counts as lost."""
    if "RANK" not in os.environ:
        raise Refused("ranks: expected a process that torchrun started, got one without RANK. "
                      "Try torchrun --nproc-per-node 4 -m accel.ranks, or python -m accel ranks.")
    dist.init_process_group(BACKENDS[device], timeout=timedelta(seconds=timeout))
    return dist.get_rank(), dist.get_world_size()


def groups_of(size):                                    # -> this rank's group of `size` neighbours
    """Every rank must call it. Refused unless the ranks divide into such groups."""
    ranks = dist.get_world_size()
    if ranks % size:
        raise Refused(f"groups: expected a size that divides {ranks} ranks, got {size}. Try {ranks} or a divisor of it.")
    groups = [dist.new_group(range(first, first + size)) for first in range(0, ranks, size)]
    return groups[dist.get_rank() // size]


def share(count, rank, ranks):                          # ints -> slice
    """Which of `count` sequences are this rank's: neighbours, as evenly as it goes; some ranks may get none."""
    return slice(count * rank // ranks, count * (rank + 1) // ranks)


def _exchange(array, sent, received, group=None):       # rows for each rank, in order -> rows from each rank, in order
    device = {"nccl": "cuda", "hccl": "npu"}.get(dist.get_backend(), "cpu")
    source = torch.from_numpy(np.ascontiguousarray(array)).to(device)
    out = source.new_empty((int(sum(received)), *source.shape[1:]))
    try:
        dist.all_to_all_single(out, source, [int(n) for n in received], [int(n) for n in sent], group=group)
    except RuntimeError as error:                       # gloo says "Connection closed by peer" or "Timed out", and no rank
        reason = str(error).split(". This is typically")[0].split("] ")[-1]
        raise RankLost(f"rank {dist.get_rank()} of {dist.get_world_size()}: expected rows of the other ranks, got none: one has "
                       f"ended or hangs ({reason}). Try its own log.") from None
    return out.cpu().numpy()


def gathered(array):                                    # [n, ...], n of this rank's own -> [all, ...], on every rank
    """Rows of all ranks in rank order: the answers of a batch put together again."""
    ranks = dist.get_world_size()
    counts = _exchange(np.full((ranks, 1), len(array)), np.ones(ranks), np.ones(ranks))[:, 0]
    return _exchange(np.concatenate([array] * ranks), [len(array)] * ranks, counts)


def experts_over_ranks(x, chosen, weights, pool, limit, linear, group=None):    # [T, D], [T, K] int, [T, K] -> [T, D]
    """v4mini.ops.experts.experts, of which each rank computes len(pool) / ranks experts; T is this rank's own.

    Only those experts of `pool` are touched. Refused unless all experts can be shared out evenly.
    """
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    per, rest = divmod(len(pool), ranks)
    if rest:
        raise Refused(f"experts: expected a number that {ranks} ranks share evenly, got {len(pool)}. Try more or fewer ranks.")
    token, slot = np.divmod(np.argsort(chosen, axis=None, kind="stable"), chosen.shape[1])     # by expert, then by token
    number = chosen[token, slot]
    sent = np.bincount(number // per, minlength=ranks)
    received = _exchange(sent[:, None], np.ones(ranks), np.ones(ranks), group)[:, 0]
    rows, numbers, scale = (_exchange(a, sent, received, group) for a in (x[token], number, weights[token, slot]))
    y = np.empty((len(rows), x.shape[1]), x.dtype)
    for e in np.unique(numbers):
        at = np.nonzero(numbers == e)[0]
        y[at] = expert(rows[at], pool[rank * per + e % per], limit, linear, scale[at])
    back = _exchange(y, received, sent, group)
    out = np.zeros_like(x)
    for e in np.unique(number):
        at = np.nonzero(number == e)[0]
        out[token[at]] += back[at]
    return out


class ExpertParallel(Backend):
    """The NumPy engine, whose experts are spread over the processes that `start` joined, or over one group of them."""

    name = "numpy over ranks"

    def __init__(self, simulate=None, group=None):
        super().__init__(simulate)
        self.group = group

    def experts(self, x, chosen, weights, pool, limit):
        return experts_over_ranks(x, np.asarray(chosen), weights, pool, limit, self.linear, self.group)


class DataParallel:
    """One rank's part of a batch: its own sequences with their caches, and its share of everybody's experts.

    model: a CachedModel on an engine over ranks. count: sequences of all ranks.
    """

    def __init__(self, model, count, rank, ranks):
        self.model, self.own = model, share(count, rank, ranks)
        self.caches = [model.new_cache() for _ in range(self.own.stop - self.own.start)]

    def append(self, sequences):                        # [[T1], [T2], ...], one for each of `count` -> [own, V]
        """Append to every sequence of the batch. All ranks must call it; the scores of this one's own come back."""
        if self.caches:
            return self.model.prefill_many(sequences[self.own], self.caches)
        c = self.model.config                           # no tokens of its own: as many calls of experts as the others make
        nothing = (np.empty((0, width), kind) for width, kind in (
            (c.dim, np.float32), (c.n_activated_experts, np.int64), (c.n_activated_experts, np.float32)))
        x, chosen, weights = nothing
        for layer in self.model.weights.layers:
            self.model.ops.experts(x, chosen, weights, layer.ffn.experts, c.swiglu_limit)
        return np.empty((0, c.vocab_size), np.float32)
