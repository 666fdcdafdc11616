"""How many numbers a V4 consists of, how many of them one token meets, and how many bytes they take in a file.

Everything is read off the table of tensors (weights/spec.py). Not here: caches (memory.py).
"""

from collections import defaultdict
from dataclasses import dataclass

from v4mini.planning.storage import kinds


@dataclass(frozen=True)
class Count:
    """Parameters in all, those one token meets, and bytes as stored."""

    total: int = 0
    active: float = 0
    nbytes: int = 0

    def __add__(self, other):
        return Count(self.total + other.total, self.active + other.active, self.nbytes + other.nbytes)


def counts(config):                                     # -> {group: Count} of the main model, Count of the MTP block
    """Count by group. Hash tables have bytes but are no parameters: nothing in them was learned as a number.

    One token meets one row of the embedding, n_activated_experts of n_routed_experts experts, and all the rest.
    """
    groups = defaultdict(Count)
    mtp = Count()
    for kind in kinds(config):
        met = _met(config, kind.one, kind.size)
        all_of_it = Count(kind.size, met, kind.count * kind.one.nbytes)
        if kind.is_mtp:
            mtp += all_of_it
        else:
            groups[kind.one.group] += all_of_it
    return dict(groups), mtp


def _met(config, spec, size):
    if spec.group == "routed experts":
        return size * config.n_activated_experts / config.n_routed_experts
    return config.dim if spec.group == "embedding" else size


def total(config):                                      # -> Count of the main model
    return sum(counts(config)[0].values(), Count())


def bytes_by_format(config):                            # -> {format: bytes}, MTP and scales included
    sizes = defaultdict(int)
    for kind in kinds(config):
        sizes[kind.one.format] += kind.count * kind.one.nbytes
    return dict(sizes)
