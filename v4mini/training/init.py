"""First values with which a small V4 learns to fetch from afar within minutes.

V4 has no bias in its attention, keys are values, and keys and queries are normed: from plain random values a small model does
not find out how to look one token back, nor how to read a pooled entry. These are first values of ordinary tensors:

    embedding          a direction u shared by all tokens, as there is no bias that could tell "here is a token"
    first layer        head h begins by looking h + 1 tokens back
    compressors        begin in the space of the layer's own keys, so that whatever matches a token matches its entry
    gains              2 for keys and entries: with heads of 96 a logit is at most 9.8 times the gain
    mHC                near a plain residual net, each sub-layer reading mostly a stream of its own

The report gives the small mHC scale only (2.2); the rest is this project's.
Not here: random checkpoints for tests (weights/random.py).
"""

import numpy as np

from v4mini.layers.attention import layer_frequencies
from v4mini.training.optimisers import layer_of
from v4mini.weights.spec import tensors

SHARED = 0.5                            # of u in every embedding
GAIN = 2.0
MAIN, OTHER = 0.7, 0.1                  # what a sub-layer reads of its own stream and of each other one; with 4 streams 1 in all
KEPT, KEPT_WHOLE = 4.0, 8.0             # logit of the mix's diagonal: each stream stays 95 %, or 99.9 % itself
LOOKING = 8                             # pairs of a head that look back, the fastest ones


def initial_values(config, rng, counts=None):           # -> {released name: float32 array; tid2eid: int64}
    """All tensors of a model about to learn. counts [V]: how often each token comes, for even hash tables."""
    shared = rng.standard_normal(config.dim).astype(np.float32)
    params = {spec.name: _drawn(spec, config, rng, counts) for spec in tensors(config)}
    params["embed.weight"] = 0.5 * params["embed.weight"] * config.dim**0.5 + np.float32(SHARED) * shared
    for name in params:
        if ".attn.compressor.wkv" in name:
            own = params[name.replace("compressor.wkv", "wkv")]
            params[name] = np.tile(own, (len(params[name]) // len(own), 1))
    _look_back(params, config, shared / np.linalg.norm(shared))
    return params


def _drawn(spec, config, rng, counts):
    name, shape = spec.name, spec.shape
    if spec.first.startswith("distinct"):
        return hash_table(rng, np.ones(shape[0]) if counts is None else counts, config.n_routed_experts, shape[1])
    if spec.first == "matrix":
        width = shape[1]**-0.5
        if name.endswith(("wo_b.weight", "w2.weight")):         # what writes into the streams, so that depth does not matter
            width *= (2 * (config.n_layers + config.n_mtp_layers))**-0.5
        return rng.standard_normal(shape, np.float32) * np.float32(width)
    if spec.first == "norm":
        is_key = name.endswith("kv_norm.weight") or name.endswith("attn.compressor.norm.weight")
        return np.full(shape, GAIN if is_key else 1.0, np.float32)
    if spec.first == "hc_scale":
        return np.full(shape, 0.01, np.float32)
    if spec.first == "hc_mix_base":
        return mix_base(config.hc_mult, 2 * layer_of(name, config) + ("hc_ffn" in name), KEPT)
    if spec.first == "hc_head_base":
        return np.full(shape, _logit(1 / max(2, config.hc_mult)), np.float32)
    return np.zeros(shape, np.float32)                          # sinks, ape, gate biases


def mix_base(M, number, kept):                          # -> [(2 + M) M] float32
    """mHC's base for sub-layer `number`: read stream number mod M most, write to all alike, leave streams apart."""
    pre = np.full(M, _logit(OTHER))
    pre[number % M] = _logit(MAIN)
    return np.concatenate([pre, np.zeros(M), kept * np.eye(M).ravel()]).astype(np.float32)


def _logit(share):
    return np.log(share / (1 - share))


def hash_table(rng, counts, experts, k):                # [V] -> [V, k] int64, k different experts per token id
    """The most frequent tokens choose first, each the experts that have least to do so far; ties by lot.

    How V4's tables were made is not published.
    """
    load = np.zeros(experts)
    table = np.empty((len(counts), k), np.int64)
    for token in np.argsort(-np.asarray(counts), kind="stable"):
        table[token] = np.lexsort((rng.random(experts), load))[:k]
        load[table[token]] += counts[token] + 1e-6
    return table


def _look_back(params, config, u):                      # u [D], length 1
    """Head h of the first layer: a key that is the same for all tokens, and a query turned h + 1 tokens into the past."""
    start = config.head_dim - config.rope_head_dim
    freqs = layer_frequencies(config, 0)[:LOOKING].astype(np.float64)
    name = "layers.0.attn.{}.weight".format
    params[name("wkv")][start: start + 2 * len(freqs): 2] += np.float32(0.35) * u
    if "layers.0.attn.compressor.wkv.weight" in params:         # which begins as a copy
        own = params[name("wkv")]
        params[name("compressor.wkv")] = np.tile(own, (len(params[name("compressor.wkv")]) // len(own), 1))
    params[name("wq_a")][0] = np.float32(1.5) * u
    for head in range(config.n_heads):
        rows = head * config.head_dim + start + 2 * np.arange(len(freqs))
        params[name("wq_b")][rows, 0] += np.cos(-(head + 1) * freqs).astype(np.float32)
        params[name("wq_b")][rows + 1, 0] += np.sin(-(head + 1) * freqs).astype(np.float32)
