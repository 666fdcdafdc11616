"""Expert parallelism: each process holds its share of every layer's experts; tokens travel to them and back.

    order       rows of a rank's tokens by expert, then by token
    dispatch    all_to_all: each row to the rank that holds its expert
    compute     an expert meets the rows of all ranks at once, in rank order
    combine     all_to_all back; a token adds its experts by rising number

So an expert multiplies the same rows in the same order as in one process that has the tokens of all ranks, and sums run as
there: the result is the same to the last bit. Attention and everything else stay with the rank whose tokens they are (data
parallelism).
All ranks must make the same passes; one without tokens takes part with none.
Source: DeepSeek's DeepEP (dispatch, combine). Not here: NCCL and HCCL, which need their devices; starting processes (torchrun).
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


class RankLost(RuntimeError):
    """Another process died or did not answer in time."""


def start(timeout=TIMEOUT, backend="gloo"):             # seconds -> (rank, ranks)
    """Join the other processes, as torchrun's environment says. A rank that is silent for `timeout` seconds counts as lost."""
    if "RANK" not in os.environ:
        raise Refused("ranks: expected a process that torchrun started, got one without RANK. "
                      "Try torchrun --nproc-per-node 4 -m accel.ranks, or python -m accel ranks.")
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    return dist.get_rank(), dist.get_world_size()


def _exchange(array, sent, received):                   # rows for each rank, in order -> rows from each rank, in order
    source = torch.from_numpy(np.ascontiguousarray(array))
    out = source.new_empty((int(sum(received)), *source.shape[1:]))
    try:
        dist.all_to_all_single(out, source, [int(n) for n in received], [int(n) for n in sent])
    except RuntimeError as error:                       # gloo says "Connection closed by peer" or "Timed out", and no rank
        reason = str(error).split(". This is typically")[0].split("] ")[-1]
        raise RankLost(f"rank {dist.get_rank()} of {dist.get_world_size()}: expected rows of the other ranks, got none: one has "
                       f"ended or hangs ({reason}). Try its own log.") from None
    return out.numpy()


def experts_over_ranks(x, chosen, weights, pool, limit, linear):        # [T, D], [T, K] int, [T, K] -> [T, D]
    """v4mini.ops.experts.experts, of which each rank computes len(pool) / ranks experts; T is this rank's own.

    Only those experts of `pool` are touched. Refused unless all experts can be shared out evenly.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    per, rest = divmod(len(pool), ranks)
    if rest:
        raise Refused(f"experts: expected a number that {ranks} ranks share evenly, got {len(pool)}. Try more or fewer ranks.")
    token, slot = np.divmod(np.argsort(chosen, axis=None, kind="stable"), chosen.shape[1])     # by expert, then by token
    number = chosen[token, slot]
    sent = np.bincount(number // per, minlength=ranks)
    received = _exchange(sent[:, None], np.ones(ranks), np.ones(ranks))[:, 0]
    rows, numbers, scale = (_exchange(a, sent, received) for a in (x[token], number, weights[token, slot]))
    y = np.empty((len(rows), x.shape[1]), x.dtype)
    for e in np.unique(numbers):
        at = np.nonzero(numbers == e)[0]
        y[at] = expert(rows[at], pool[rank * per + e % per], limit, linear, scale[at])
    back = _exchange(y, received, sent)
    out = np.zeros_like(x)
    for e in np.unique(number):
        at = np.nonzero(number == e)[0]
        out[token[at]] += back[at]
    return out


class ExpertParallel(Backend):
    """The NumPy engine, whose experts are spread over the processes that `start` joined."""

    name = "numpy over ranks"

    def experts(self, x, chosen, weights, pool, limit):
        return experts_over_ranks(x, np.asarray(chosen), weights, pool, limit, self.linear)
