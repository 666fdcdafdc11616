"""place: a checkpoint larger than the device's memory, on the device. Three levels, each with a limit that is kept:

    device      all that every token needs, and slots for routed experts: those stay that were chosen most often lately
    host        slots again, filled by threads that read ahead (v4mini/inference/streaming/pool.py)
    disk        the files, past the page cache

    with place("flash", memory=24 << 30, host=64 << 30, backend="cuda") as model:
        model.report()                  # bytes moved, hit rates, seconds waited

An expert that a layer chose is copied to a slot when it is needed and not there. The engine is any of torch: "torch" on the CPU
plays the device, so that all this can be tried without one.
Not here: the engines (reference.py, device.py), what fits on which machine (`v4mini plan`).
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from accel.weights import TorchMatrix, send
from v4mini.engines import choose_backend
from v4mini.inference.load import load
from v4mini.inference.streaming.budget import TEXT, plan_memory, scratch_bytes
from v4mini.inference.streaming.eviction import ExpertCache
from v4mini.inference.streaming.model import Prefetching, StreamingModel
from v4mini.inference.streaming.pool import READERS, Pool
from v4mini.inference.streaming.read import Files
from v4mini.inference.streaming.weights import EMBED, streamed, units_of
from v4mini.machine import resident_bytes
from v4mini.numerics.matrix import Matrix, StoredMatrix
from v4mini.planning.memory import cache_bytes
from v4mini.shapes import Refused
from v4mini.weights.checkpoint import open_checkpoint
from v4mini.weights.tree import mapped, named

POLICY = "aged"                 # who leaves the device: eviction.py


@dataclass(frozen=True)
class DevicePlan:
    """Bytes on the device: weights that stay, what a pass computes with, a cache; the rest is slots of `expert` bytes."""

    limit: int
    dense: int
    scratch: int
    cache: int
    expert: int
    experts: int                # how many there are

    @property
    def slots(self):
        """For so many experts there is room, or for all."""
        return min(self.experts, (self.limit - self.dense - self.scratch - self.cache) // self.expert)

    def describe(self):                                 # -> {what: bytes}
        """The sum stays within the limit."""
        return {"dense weights": self.dense, "scratch": self.scratch, "cache": self.cache, "experts": self.slots * self.expert}


def place(path, memory, host, backend="torch", simulate=None, config=None, chunk=None, direct=True):    # -> PlacedModel
    """Open a checkpoint on a device, within `memory` bytes there and `host` bytes (resident) here.

    backend: an engine of torch. chunk: tokens of a prompt at once. direct: past the page cache. Refused as in load, and if one
    of the limits is too small, saying for what.
    """
    ops = choose_backend(backend, simulate)
    if ops.on_host:
        raise Refused(f"backend: expected an engine of a device (torch, cuda, ascend), got {ops.name!r}. Try "
                      "v4mini.open_streaming, which needs no copies.")
    checkpoint = open_checkpoint(path, config)
    with checkpoint.store:
        opened = load(checkpoint, "numpy", keep=False)
        units, table = units_of(checkpoint)
    host_plan = plan_memory(opened.config, units, host, resident_bytes(), chunk)
    plan = plan_device(opened.config, opened.weights, memory, host_plan.chunk)
    pool = Pool(units, table, *host_plan.budget(host_plan.chunk), POLICY, Files(direct), READERS)
    try:
        slots = DeviceSlots(plan.slots, ops.device)
        weights = ops.place(on_device(streamed(opened.weights, opened.config, pool), slots))
    except BaseException:                               # Ctrl-C too
        pool.close()
        raise
    return PlacedModel(opened.config, weights, ops, pool, host_plan, plan, slots)


def plan_device(config, weights, limit, chunk):         # -> DevicePlan
    """What of a tree of weights stays on the device, and how many experts find room beside it. Refused if it is not one."""
    dense, experts = 0, Counter()
    for name, leaf in named(weights, config):
        if ".experts." in name:
            experts[name.rsplit(".", 2)[0]] += leaf.nbytes                              # layers.3.ffn.experts.7
        elif name != f"{EMBED}.weight":
            dense += 8 * leaf.size if _is_table(leaf) else leaf.nbytes                  # int64 there
    plan = DevicePlan(limit, dense, scratch_bytes(config, chunk), cache_bytes(config, TEXT), max(experts.values()), len(experts))
    if plan.slots < 1:
        least = plan.dense + plan.scratch + plan.cache + plan.expert
        raise Refused(f"memory: expected at least {least:,} bytes on the device ({plan.dense:,} for weights that every token "
                      f"needs, {plan.scratch:,} to compute with, {plan.cache:,} for a cache of {TEXT:,} tokens, {plan.expert:,} "
                      f"for one expert), got {limit:,}. Try v4mini.open_streaming, which streams the former too.")
    return plan


def _is_table(leaf):
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind != "f"


def on_device(tree, slots):                             # a tree of streamed weights -> what an engine of torch places
    """Experts become slots, the embedding rows that are asked for; every other matrix is read now, once."""
    def change(leaf):
        if not isinstance(leaf, StoredMatrix):
            return leaf
        if leaf.name == EMBED:
            return RowsOnDemand(leaf, slots.device)
        return Matrix(np.array(leaf.codes), np.array(leaf.scale) if leaf.is_quantised else None, name=leaf.name)
    return mapped(tree, change, lambda experts: PlacedExperts(experts, slots))


class DeviceSlots:
    """Room for so many experts on a device. They are alike in shape, whatever their layer."""

    def __init__(self, count, device):
        self.device, self.cache = torch.device(device), ExpertCache(count, POLICY)
        self.uses = self.moves = self.moved_bytes = 0
        self._rooms, self._held, self._free = [], {}, list(range(count))        # key -> (slot, Expert)

    def get(self, key, expert):                         # (layer, number), Expert over the host's pool -> Expert on the device
        """Copied if it is not there. It is whole until another takes its slot."""
        self.uses += 1
        if key not in self._held:
            victim = self.cache.admit(key)
            if victim is not None:
                self._free.append(self._held.pop(victim)[0])
            slot = self._free.pop()
            self._held[key] = slot, self._copied(expert, self._room(slot, expert))
        self.cache.use(key)
        return self._held[key][1]

    def _copied(self, expert, room):
        placed = {name: TorchMatrix(getattr(expert, name), self.device, room=room[name]) for name in room}
        self.moves += 1
        self.moved_bytes += sum(matrix.nbytes for matrix in placed.values())
        return replace(expert, **placed)

    def _room(self, slot, expert):                      # -> {w1: (codes, scale), ...}, taken when a slot is first used
        while len(self._rooms) <= slot:
            like = {name: TorchMatrix(getattr(expert, name), "cpu") for name in ("w1", "w2", "w3")}
            self._rooms.append({name: tuple(None if part is None else torch.empty_like(part, device=self.device)
                                            for part in (matrix.codes, matrix.scale)) for name, matrix in like.items()})
        return self._rooms[slot]

    @property
    def nbytes(self):
        """Bytes that the slots take, used or not yet."""
        return sum(part.nbytes for room in self._rooms for pair in room.values() for part in pair if part is not None)


class PlacedExperts:
    """A layer's experts: experts[number] brings one to the device."""

    def __init__(self, experts, slots):
        self.experts, self.slots, self.layer = experts, slots, experts[0].w1.key[0]

    def __len__(self):
        return len(self.experts)

    def __getitem__(self, number):
        return self.slots.get((self.layer, int(number)), self.experts[number])


class RowsOnDemand:
    """An embedding that stays on disk; the rows of a text go over."""

    def __init__(self, matrix, device):
        self.matrix, self.device, self.name, self.shape = matrix, device, matrix.name, matrix.shape

    def take(self, ids):                                # tensor [n] -> float32 [n, D]
        """Rows by number."""
        return send(self.matrix.take(ids.cpu().numpy()), self.device)


class Levels(NamedTuple):
    """Whoever is told what comes next: the host's pool reads it, and on the device it stays until it is used."""

    pool: Pool
    cache: ExpertCache

    def prefetch(self, keys):                           # [(layer, number)]
        """As Pool.prefetch."""
        self.pool.prefetch(keys)
        self.cache.expect(keys)


class PlacedModel(StreamingModel):
    """What place returns. Close it, or use it in a `with`."""

    def __init__(self, config, weights, ops, pool, host_plan, plan, slots):
        super().__init__(config, weights, ops, pool, host_plan)
        self.ops = Prefetching(ops, Levels(pool, slots.cache))
        self.device_plan, self.slots = plan, slots

    def streams(self, ids, sequences, trace=None, logits_to_keep=None, taps=None):
        """As StreamingModel.streams; a pass of the host's pool is a pass of the device's slots too."""
        self.slots.cache.begin_pass()
        return super().streams(ids, sequences, trace, logits_to_keep, taps)

    def report(self):                                   # -> dict of plain values
        """What went from disk to host (as StreamingModel says it) and, under "device", from host to device."""
        slots, plan = self.slots, self.device_plan
        moved = {"limit": plan.limit, "memory": plan.describe(), "expert_slots": plan.slots, "expert_uses": slots.uses,
                 "expert_moves": slots.moves, "moved_bytes": slots.moved_bytes,
                 "hit_rate": 1 - slots.moves / slots.uses if slots.uses else None}
        return {**super().report(), "device": moved}
