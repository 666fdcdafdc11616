"""Dividing a memory limit: what the process takes anyway, dense weights, and the rest for experts.

Dense weights are read for every token, an expert only when routed to; so dense weights get memory first.
Not here: keeping weights within their budget (pool.py).
"""

from dataclasses import dataclass

from v4mini.config import Config
from v4mini.inference.cached import CHUNK
from v4mini.planning.memory import cache_bytes
from v4mini.shapes import Refused

SMALL_CHUNK = 16                # tokens of a prompt at once where CHUNK is too much: each chunk reads its experts again
CODE = 96 << 20                 # bytes that compiled kernels and BLAS take after the model was opened
TEXT = 4096                     # tokens of which the cache is planned for; what a longer one takes, experts give
FEWEST = 2                      # slots of experts: one in use, one on its way


@dataclass(frozen=True)
class Plan:
    """All in bytes, but `experts` (how many there are) and `chunk` (tokens). `process`: all but weights, as it was planned."""

    config: Config
    limit: int
    process: int
    largest: int                    # of the dense matrices
    dense: int                      # all of them
    expert: int
    experts: int
    chunk: int

    def budget(self, tokens, process=0):                # -> bytes for dense weights, slots for experts
        """While so many tokens are computed at once, and the process without weights has grown to so many bytes."""
        free = self.limit - max(process, self.process) - scratch_bytes(self.config, tokens) - FEWEST * self.expert
        dense = max(self.largest, min(self.dense, free))
        return dense, min(self.experts, FEWEST + max(0, free - dense) // self.expert)

    def describe(self):                                 # -> {what: bytes}; the sum stays within the limit
        """Where the memory goes while one token is computed."""
        dense, slots = self.budget(1)
        return {"process": self.process, "scratch": scratch_bytes(self.config, 1), "experts": slots * self.expert,
                "dense weights": dense}


def plan_memory(config, units, limit, process, chunk=None):     # -> Plan
    """units: {key: Unit} of weights.py; process: bytes resident now. Refused if the limit is too small, saying for what.

    chunk: tokens of a prompt at once; by default CHUNK, or SMALL_CHUNK if that is too much.
    """
    experts = [unit for key, unit in units.items() if isinstance(key, tuple)]
    dense = [unit for key, unit in units.items() if not isinstance(key, tuple)]
    largest = max(dense, key=lambda unit: unit.nbytes)
    expert = max(unit.nbytes for unit in experts)
    process += CODE + cache_bytes(config, TEXT) + max((unit.payload for unit in units.values() if unit.joined), default=0)
    for tokens in [chunk] if chunk else [CHUNK, SMALL_CHUNK]:
        least = process + scratch_bytes(config, tokens) + largest.nbytes + FEWEST * expert
        if least <= limit:
            return Plan(config, limit, process, largest.nbytes, sum(unit.nbytes for unit in dense), expert, len(experts), tokens)
    raise Refused(f"memory: expected at least {least:,} bytes for this checkpoint ({process:,} for the process, "
                  f"{scratch_bytes(config, tokens):,} for what it computes with, {largest.nbytes:,} for {largest.key}, "
                  f"{FEWEST} x {expert:,} for experts), got {limit:,}. Give it more.")


def scratch_bytes(config, tokens):                      # -> bytes that a layer computes with, for so many tokens at once
    """float32: streams before and after, and of the queries four of: product, normed, rotated, answered, rotated back."""
    c = config
    return 4 * tokens * (3 * c.hc_mult * c.dim + 4 * c.n_heads * c.head_dim + 3 * c.moe_inter_dim) + 4 * c.vocab_size + (32 << 20)
