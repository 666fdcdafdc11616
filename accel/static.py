"""Decoding in fixed shapes: one step of the model as a recorded list of operations, replayed token after token.

This is what a CUDA graph records; here it is recorded by tracing (torch.fx), which needs no GPU. The layers run as they are. Only
their memory is another: buffers that never change their size, and a position that is a tensor and counts itself. So nothing in a
step depends on a number of the host but which blocks end, and a step is one of few programs: no block ends, one of 4 does, one of
4 and one of 128 do.

    window          a ring of window_size rows, handed out oldest first; those that are not there yet are behind `first`
    unfinished      a ring of one block, in CSA of two; the block before the first one has scores of -inf: it is absent
    entries, keys   the whole buffer; `visible` hides what is not there yet

Going back is not possible here: rings forget.
Not here: the cache that reads a prompt (v4mini/inference/cache.py), capture by CUDA itself (cuda.py).
"""

import copy

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from accel.reference import TorchBackend
from v4mini.layers.sequences import Memory
from v4mini.shapes import Refused


class StaticBackend(TorchBackend):
    """The torch engine, but experts: each token gathers the weights of those it chose, so no count is asked of the device.

    All experts are kept in float32, once more beside their codes: a reference for small models.
    """

    name = "torch, fixed shapes"
    has_fixed_shapes = True

    def __init__(self, simulate=None, device="cpu"):
        super().__init__(simulate, device)
        self._stacks = {}

    def stacked(self, pool):                            # -> [E, inter, D], [E, D, inter], [E, inter, D]
        """The weights w1, w2, w3 of a layer's experts, stacked once."""
        if id(pool) not in self._stacks:
            stacks = [torch.stack([getattr(expert, name).dense() for expert in pool]) for name in ("w1", "w2", "w3")]
            self._stacks[id(pool)] = pool, stacks
        return self._stacks[id(pool)][1]

    def experts(self, x, chosen, weights, pool, limit):
        w1, w2, w3 = (stack[chosen] for stack in self.stacked(pool))                    # [T, K, out, in]
        rows = self._rounded(x, pool[0].w1)
        gate, up = (torch.einsum("td,tkid->tki", rows, w) for w in (w1, w3))
        if limit > 0:
            gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
        hidden = torch.nn.functional.silu(gate) * up * weights[:, :, None]
        return torch.einsum("tki,tkdi->td", self._rounded(hidden, pool[0].w2), w2)


class StaticMemory(Memory):
    """One sequence in buffers of fixed size. `length`, the host's count, says which program runs; `position` says where it is."""

    def __init__(self, config, capacity, formats, device):
        row, key, state = formats
        self.config, self.length, self.capacity = config, 0, capacity
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.formats, self.buffers = {}, {}             # (layer, name) -> its format, its codes
        for layer in range(config.n_layers):
            ratio, blocks = config.ratio(layer), 1 + (config.layer_kind(layer) == "csa")
            self._add(layer, "window", row, config.window_size)
            if not ratio:
                continue
            self._add(layer, "entries", row, capacity // ratio)
            self._unfinished(layer, ("kv", "score"), state(row.width * blocks), ratio * blocks)
            if blocks == 2:
                self._add(layer, "index_keys", key, capacity // ratio)
                self._unfinished(layer, ("index_kv", "index_score"), state(key.width * blocks), ratio * blocks)

    def _add(self, layer, name, format, rows):
        self.formats[layer, name], self.buffers[layer, name] = format, format.empty(rows).zero_()

    def _unfinished(self, layer, names, format, rows):
        for name in names:
            self._add(layer, name, format, rows)
        self.buffers[layer, names[1]].fill_(-torch.inf)     # of scores: the block before the first is absent

    # ---- what layers and Sequences ask, for one token ----

    def positions(self, tokens):
        return self.position

    def block_positions(self, first, last, ratio):
        return self.position - (ratio - 1)

    def window_starts(self, tokens, window):
        return (window - 1 - self.position).clamp(min=0)

    def visible(self, tokens, ratio):
        return (self.position + 1) // ratio

    def extend(self, layer, name, rows):
        codes, format = self.buffers[layer, name], self.formats[layer, name]
        grows = name in ("entries", "index_keys")
        if len(rows):
            place = self.position // self.config.ratio(layer) if grows else self.position % len(codes)
            codes.index_copy_(0, place, format.encode(rows))
        if grows:
            return format.joined([codes])
        order = (self.position + 1 + torch.arange(len(codes), device=codes.device)) % len(codes)
        return format.decode(codes[order])              # oldest first

    def state(self):                                    # -> copies of all that a step writes
        """For restore: a step that only compiles or records leaves no trace."""
        return [part.clone() for part in (self.position, *self.buffers.values())]

    def restore(self, state):
        """As it was when state() was called."""
        for part, old in zip((self.position, *self.buffers.values()), state):
            part.copy_(old)

    # ---- before the first step ----

    def take_over(self, cache):
        """Everything that a Cache of the same engine and storage holds. Refused if that is more than the buffers can."""
        if cache.length > self.capacity or cache.config != self.config:
            raise Refused(f"static: expected a cache of this config with at most {self.capacity:,} tokens, got {cache.length:,}. "
                          "Ask for a larger capacity.")
        self.length = cache.length
        self.position.fill_(self.length)
        for (layer, name), codes in self.buffers.items():
            format = self.formats[layer, name]
            kept = format.encode(cache.extend(layer, name, format.decode(format.empty(0)))[:])
            first = 0 if name in ("entries", "index_keys") else self.length - len(kept)
            kept, first = kept[-len(codes):], first + max(0, len(kept) - len(codes))
            codes[(first + torch.arange(len(kept), device=codes.device)) % len(codes)] = kept
        cache.abandon()


class StaticDecoder:
    """step(token) -> logits [V]: the programs of a model, recorded when they are first needed and replayed from then on.

    model: a Model on the torch engine; it stays as it is. capacity: tokens. cache: what was read before.
    """

    def __init__(self, model, capacity, cache=None):
        storage = "float32" if cache is None else cache.storage
        self.model = copy.copy(model)                   # the same weights
        if not model.ops.has_fixed_shapes:
            self.model.ops = StaticBackend(model.ops.simulate, model.ops.device)
        self.memory = StaticMemory(model.config, capacity, self.model.ops.formats(model.config, storage), model.ops.device)
        self.programs, self.ratios = {}, sorted({*model.config.compress_ratios[: model.config.n_layers]} - {0})
        if cache is not None:
            self.memory.take_over(cache)

    def step(self, token):                              # int -> NumPy [V]
        """Append one token. Gives the scores of the next."""
        memory = self.memory
        if memory.length >= memory.capacity:
            raise Refused(f"static: expected at most {memory.capacity:,} tokens, got one more. Ask for a larger capacity.")
        ends = tuple(ratio for ratio in self.ratios if (memory.length + 1) % ratio == 0)
        token = torch.tensor([int(token)], device=memory.position.device)
        if ends not in self.programs:
            self.programs[ends] = self._record(token)
        logits = self.programs[ends](token)
        memory.length += 1
        return self.model.ops.host(logits)[0]

    def _step(self, token):                             # [1] int -> [1, V]
        logits = self.model.head(self.model.streams(token, [(slice(0, 1), self.memory)]), self.model.weights.head)
        self.memory.position.add_(1)
        return logits

    def _record(self, token):                           # recording runs the step once: what it wrote is taken back
        for layer in self.model.weights.layers:
            self.model.ops.stacked(layer.ffn.experts)
        before = self.memory.state()
        program = make_fx(lambda token: self._step(token))(token)
        self.memory.restore(before)
        return program
