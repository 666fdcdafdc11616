"""Replay a recorded routing through a cache of experts: what would it have had to read, and how long would that take?

A trace is steps: what one layer asks for at once, in one call of the model. A call is one token while decoding, a chunk of the
prompt before. Not here: who goes when there is no room (eviction.py), recording (inference/routing_trace.py).
"""

from dataclasses import dataclass
from typing import NamedTuple

from v4mini.inference.streaming.eviction import ExpertCache
from v4mini.shapes import Refused
from v4mini.weights.spec import tensors


class Step(NamedTuple):
    """The experts that one layer uses in one call, each once, in order; keys are (layer, expert)."""

    call: int
    keys: tuple


@dataclass(frozen=True)
class Replayed:
    """What one policy made of a trace. `misses` are experts read; `loads[call]` how many of them that call read."""

    policy: str
    capacity: int
    uses: int
    misses: int
    loads: tuple
    asked: tuple                    # experts used by each call

    @property
    def hit_rate(self):
        return 1 - self.misses / self.uses if self.uses else 0.0

    def part(self, calls):          # -> uses, misses of these calls
        """For the prompt alone, or the decoded tokens alone."""
        return sum(self.asked[call] for call in calls), sum(self.loads[call] for call in calls)


def steps_of(calls):                                    # [[{layer: experts used}]] -> [Step]
    """Steps from what each call used: {layer: iterable of experts} by call, layers in the order in which they ran."""
    return [Step(number, tuple((layer, int(expert)) for expert in sorted(set(experts))))
            for number, call in enumerate(calls) for layer, experts in call.items()]


def replay(steps, capacity, policy="lru"):              # [Step] -> Replayed
    """Run the steps through a cache of `capacity` experts that starts empty. Experts are used in the order given.

    lru gives exactly the reads of inference.streaming with that many slots, hash tables not read ahead.
    """
    if not steps:
        raise Refused("replay: expected a trace with at least one step, got none. Record one with generate --trace.")
    cache = ExpertCache(capacity, policy, [key for step in steps for key in step.keys] if policy == "belady" else ())
    loads, asked = ([0] * (steps[-1].call + 1) for _ in range(2))
    call = None
    for step in steps:
        if step.call != call:
            cache.begin_pass()
            call = step.call
        cache.expect(step.keys)
        for key in step.keys:
            asked[call] += 1
            if key not in cache:
                loads[call] += 1
                cache.admit(key)
            cache.use(key)
    return Replayed(policy, capacity, sum(asked), sum(loads), tuple(loads), tuple(asked))


class Machine(NamedTuple):
    """Bytes a second: of the disk, in reads as large as an expert, and of memory, weights read by all cores."""

    disk: float
    memory: float


def step_seconds(machine, uses, misses, expert_bytes, dense_bytes):     # -> seconds without, with perfect read-ahead
    """One token: misses come from the disk, all that is used passes through the processor once.

        one after the other     misses E / disk + (uses E + dense) / memory
        fully overlapped        the larger of the two
    E bytes an expert. Arithmetic is taken to hide behind memory, as it does for one token at a time.
    """
    disk = misses * expert_bytes / machine.disk
    memory = (uses * expert_bytes + dense_bytes) / machine.memory
    return disk + memory, max(disk, memory)


def compare(config, steps, decoding, capacities, policies, machine):    # yields dicts of plain values
    """Every policy at every capacity: hit rates, and for the tokens decoded one by one bytes read and seconds per token.

    decoding: the numbers of their calls; where there are none those columns are None.
    """
    expert, dense, tokens = expert_bytes(config), dense_bytes(config), len(decoding)
    for capacity in capacities:
        for policy in policies:
            replayed = replay(steps, capacity, policy)
            uses, misses = replayed.part(decoding)
            first, ahead = step_seconds(machine, uses / tokens, misses / tokens, expert, dense) if tokens else (None, None)
            yield {"policy": policy, "experts": capacity, "bytes": capacity * expert, "uses": replayed.uses,
                   "misses": replayed.misses, "hit_rate": replayed.hit_rate,
                   "decoding_hit_rate": 1 - misses / uses if uses else None,
                   "decoding_read_bytes": misses * expert / tokens if tokens else None,
                   "seconds_one_after_other": first, "seconds_overlapped": ahead}


def reuse_ceiling(steps):                               # -> the hit rate of a cache that never has to evict
    """No policy gets above: the first use of each expert is always a read."""
    used = [key for step in steps for key in step.keys]
    return 1 - len(set(used)) / len(used)


def expert_bytes(config):                               # -> bytes of one routed expert as stored
    """w1, w2 and w3 with their scales. Flash 13,369,344, Pro 35,094,528."""
    return sum(spec.nbytes for spec in tensors(config.replace(n_layers=1, n_mtp_layers=0))
               if spec.name.startswith("layers.0.ffn.experts.0."))


def dense_bytes(config):                                # -> bytes that every decoded token reads, whatever it is routed to
    """All of the main model but routed experts and tables, and of the embedding nothing: a token reads one row."""
    return sum(spec.nbytes for spec in tensors(config.replace(n_mtp_layers=0))
               if spec.group not in ("routed experts", "embedding", "hash tables"))
