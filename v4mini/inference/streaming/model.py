"""A model larger than memory: the same layers and kernels, over weights that come from the files when they are needed.

    model = open_streaming("flash", memory=8 << 30)
    model.report()                  # hit rates, bytes read, seconds waited

The numbers are, to the last bit, those of v4mini.load(path, keep=False) for prompts cut into the same chunks. Not here: what is
held (pool.py), how the memory is divided (budget.py), the tree of weights (weights.py).
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from v4mini.engines import choose_backend
from v4mini.inference.cached import CachedModel
from v4mini.inference.load import load
from v4mini.inference.streaming.budget import plan_memory
from v4mini.inference.streaming.pool import READERS, Pool
from v4mini.inference.streaming.read import Buffer, Files
from v4mini.inference.streaming.weights import streamed, units_of
from v4mini.layers.sequences import Sequences
from v4mini.machine import disk_read_bytes, resident_bytes
from v4mini.shapes import Refused
from v4mini.weights.checkpoint import open_checkpoint

POLICIES = {"lru": "lru", "known": "aged"}              # what users choose -> who goes, by eviction.py


def open_streaming(path, memory, backend="auto", simulate=None, policy="known", config=None, chunk=None, direct=True,
                   readers=READERS):                    # -> StreamingModel
    """Open a checkpoint to run within `memory` bytes: resident set of this process, all included.

    policy: "lru", or "known": experts of hash layers are read as soon as the tokens are known, and of the others those stay
    that were chosen most often lately. chunk: tokens of a prompt at once (default: 512, or 16 where memory is small). direct:
    past the system's page cache; without, what does not fit here may be found there. Refused as in `load`, and if the limit is
    too small for the largest matrix.
    """
    if policy not in POLICIES:
        raise Refused(f"policy: expected lru or known, got {policy!r}. known is the default.")
    ops = choose_backend(backend, simulate)
    if not ops.on_host:
        raise Refused(f"backend: expected one that reads weights in main memory (numba, numpy), got {ops.name!r}. "
                      "Name one of these, or load it whole.")
    checkpoint = open_checkpoint(path, config)
    with checkpoint.store:
        opened = load(checkpoint, ops, keep=False)
        units, table = units_of(checkpoint)
    plan = plan_memory(opened.config, units, memory, resident_bytes(), chunk)
    return stream(opened, units, table, plan, policy, direct, readers)


def stream(opened, units, table, plan, policy="known", direct=True, readers=READERS):      # -> StreamingModel
    """A model that was loaded (keep=False), over a pool with the budgets of `plan`, which may also be drawn by hand."""
    pool = Pool(units, table, *plan.budget(plan.chunk), POLICIES[policy], Files(direct), readers)
    weights = streamed(opened.weights, opened.config, pool)
    return StreamingModel(opened.config, weights, opened.ops, pool, plan, reads_ahead=policy == "known")


class StreamingModel(CachedModel):
    """A CachedModel that tells its pool what comes next. Close it, or use it in a `with`, to stop its readers."""

    def __init__(self, config, weights, ops, pool, plan, reads_ahead=True):
        super().__init__(config, weights, Prefetching(ops, pool))
        self.pool = pool
        self.plan = plan
        self.reads_ahead = reads_ahead
        self._disk = disk_read_bytes()

    def prefill(self, ids, cache, progress=None, chunk=None):
        """As CachedModel.prefill; by default the plan's chunk, so that each expert is read at most once a layer and chunk."""
        return super().prefill(ids, cache, progress, self.plan.chunk if chunk is None else chunk)

    def streams(self, ids, sequences, trace=None, logits_to_keep=None, taps=None):
        """As Model.streams. The hash layers' experts follow from the ids alone, so they are asked for before anything runs."""
        self.pool.resize(*self.plan.budget(len(ids), resident_bytes() - self.pool.nbytes))
        self.pool.begin_pass(self._known(ids, sequences, logits_to_keep) if self.reads_ahead else ())
        return super().streams(ids, sequences, trace, logits_to_keep, taps)

    def report(self):                                   # -> dict of plain values
        """What was used and read since the model was opened."""
        stats = self.pool.stats
        used, read = stats.uses["experts"], stats.reads["experts"]
        now = disk_read_bytes()
        return {"limit": self.plan.limit, "memory": self.plan.describe(), "expert_slots": self.pool.experts.capacity,
                "expert_bytes": self.plan.expert, "expert_uses": used, "expert_reads": read,
                "hit_rate": 1 - read / used if used else None, "read_bytes": dict(stats.read_bytes),
                "from_disk_bytes": None if now is None else now - self._disk, "waited_seconds": stats.waited,
                "past_page_cache": self.pool.files.is_direct}

    def close(self):
        """Stop reading. The model cannot be used any more."""
        self.pool.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _known(self, ids, sequences, logits_to_keep):   # -> [(layer, expert)] in the order of use
        known = []
        last = self.config.n_layers - 1
        for layer, block in enumerate(self.weights.layers[: self.config.n_hash_layers]):
            keep = logits_to_keep if layer == last else None
            query_ids = Sequences(self.config, sequences, keep).of_queries(self.ops, ids)
            known += expert_keys(layer, self.ops.host(self.ops.take(block.ffn.gate.tid2eid, query_ids)))
        return known


class Prefetching:
    """An engine as it is, which tells the pool each layer's choice before its experts run."""

    def __init__(self, ops, pool, layer=None):
        self._ops, self._pool, self._layer = ops, pool, layer

    def __getattr__(self, name):
        return getattr(self._ops, name)

    def at(self, layer):
        return Prefetching(self._ops.at(layer), self._pool, layer)

    def experts(self, x, chosen, weights, pool, limit):
        self._pool.prefetch(expert_keys(self._layer, self._ops.host(chosen)))
        return self._ops.experts(x, chosen, weights, pool, limit)


def expert_keys(layer, chosen):                         # int, ints of any shape -> [(layer, expert)], each once, in order of use
    """What the pool calls a layer's chosen experts."""
    return [(layer, int(number)) for number in np.unique(chosen)]


def disk_rate(path, experts=64, readers=READERS, direct=True):          # -> bytes a second
    """Read some experts of a checkpoint, in no order, with as many threads as a Pool has, and see how long it takes."""
    checkpoint = open_checkpoint(path)
    with checkpoint.store:
        units = [unit for key, unit in units_of(checkpoint)[0].items() if isinstance(key, tuple)]
    picked = [units[i] for i in np.random.default_rng(0).permutation(len(units))[:experts]]
    files = Files(direct)
    largest = max(unit.nbytes for unit in units)
    buffers = [Buffer(largest) for _ in range(readers)]

    def read(number, some):
        for unit in some:
            for run in unit.runs:
                buffers[number].fill(run, files)
    for number in range(readers):                       # memory touched for the first time costs more than reading
        read(number, picked[:1])
    started = time.perf_counter()
    with ThreadPoolExecutor(readers) as pool:
        list(pool.map(read, range(readers), [picked[number::readers] for number in range(readers)]))
    seconds = time.perf_counter() - started
    files.close()
    return sum(unit.payload for unit in picked) / seconds
