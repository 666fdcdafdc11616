"""First use: values from which parts that a trained model leaves idle can learn to be of use.

    sinks       a sink far below a head's logits takes no weight, and then its gradient is nothing too. Each layer's are set so
                that they take SHARE of their heads' weight on a text
    HCA         one head of each heavy layer begins to read all entries alike: its query is the same for all tokens, each entry
                answers it with the logit LEVEL and each row of the window with -LEVEL. With its sink, the weight on entries is
                n / (n + constant) after n entries: a count, which no window and no fixed number of picks can give

What they are then used for, training decides. The report says nothing of the kind; this is this project's.
Not here: when (recipe.py), first values of a new model (init.py).
"""

import numpy as np

from v4mini.layers.block import read_streams
from v4mini.layers.compressor import block_rows
from v4mini.model import Model
from v4mini.shapes import Refused
from v4mini.trace import Trace
from v4mini.weights.tree import build

SHARE = 0.5
LEVEL = 3.0                 # logit of an entry
OTHERS = 0.05               # what is left of that head's own query
WRITES = 0.2                # of a stream's length, where the whole weight of the head is on entries
RIDGE = 0.02                # of the mean square of what a constant is read from


def first_use(ops, config, params, ids):                # {name: array}, [T] int -> {name: array}
    """Copies of the parameters, with heads that count entries and sinks that take weight, judged by a text of many blocks.

    The heads of an HCA layer that is the very first stay as they are. Raises Refused for a text without a single block, and for
    heads that rotate all they have.
    """
    longest = max(config.ratio(layer) for layer in range(config.n_layers))
    if len(ids) < longest or config.rope_head_dim == config.head_dim:
        raise Refused(f"first_use: expected {longest} tokens or more and heads that are not all rotated, got {len(ids)} tokens "
                      f"and {config.rope_head_dim} of {config.head_dim} rotated. Leave the stage out.")
    params = {name: values.copy() for name, values in params.items()}
    for layer in range(1, config.n_layers):
        if config.layer_kind(layer) == "hca":
            _level_head(ops, config, params, layer, ids)
    _raise_sinks(ops, config, params, ids)
    return params


def _run(ops, config, params, ids, *extra):             # -> Trace, Weights
    model = Model(config, build(config, params.get), ops)
    trace = Trace(*extra)
    model.logits(ids, trace)
    return trace, model.weights


def _raise_sinks(ops, config, params, ids):
    """share = e^sink / (e^sink + rest), so its own share tells the rest. Layer by layer: each reads what the one before says."""
    for layer in range(config.n_layers):
        trace, _ = _run(ops, config, params, ids, "attn.weights")
        name = f"layers.{layer}.attn.attn_sink"
        share = trace[f"layers.{layer}.attn.weights"][2].astype(np.float64)             # [T, H]
        share = np.clip(share, 1e-30, 1 - 1e-7)         # of a sink that has nothing, or all
        rest = np.median(params[name] + np.log(1 / share - 1), axis=0)
        params[name][...] = rest + np.log(SHARE / (1 - SHARE))


def _level_head(ops, config, params, layer, ids):
    """The last head of an HCA layer reads and writes the last unrotated number: keys and values are the same numbers."""
    head = config.n_heads - 1
    at = config.head_dim - config.rope_head_dim - 1
    trace, weights = _run(ops, config, params, ids)
    w = weights.layers[layer]
    streams = ops.host(trace[f"layers.{layer - 1}.streams"])
    x = read_streams(ops, streams, w.hc_attn, w.attn_norm, config)[0]
    _answer_alike(ops, config, params, layer, at, x, w.attn)
    qr = ops.rms_norm(ops.linear(x, w.attn.wq_a), w.attn.q_norm, config.norm_eps)
    queries = params[f"layers.{layer}.attn.wq_b.weight"].reshape(config.n_heads, config.head_dim, -1)
    queries[:, at] = 0
    queries[head] *= np.float32(OTHERS)
    queries[head, at] = config.head_dim**0.5 / 2 * _constant(qr)        # most of a query of unit root mean square
    _write(config, params, layer, head, at, WRITES * float(np.median(np.linalg.norm(streams, axis=2))) / LEVEL)


def _answer_alike(ops, config, params, layer, at, x, w):
    """Number `at` of every entry becomes LEVEL, that of every row -LEVEL, whatever the token."""
    name = f"layers.{layer}.attn.{{}}".format
    ratio = config.ratio(layer)
    blocks = slice(0, len(x) // ratio * ratio)
    kv, score = block_rows(ops, x, w.compressor)
    pooled = ops.compress(kv[blocks], score[blocks], w.compressor.ape, ratio, None, False)
    one = _constant(x)
    for matrix, norm, found, logit in (("wkv.weight", "kv_norm.weight", ops.linear(x, w.wkv), -LEVEL),
                                       ("compressor.wkv.weight", "compressor.norm.weight", pooled, LEVEL)):
        params[name(matrix)][at] = logit / params[name(norm)][at] * _rms(found) * one


def _write(config, params, layer, head, at, length):
    """Only `head` gives number `at` to the streams: `length` for each unit, along what an even column of wo_a becomes."""
    name = f"layers.{layer}.attn.{{}}".format
    wide = config.n_heads // config.o_groups * config.head_dim          # what a group reads
    wo_a = params[name("wo_a.weight")].reshape(config.o_groups, -1, wide)
    wo_a[:, :, at::config.head_dim] = 0
    group, first = divmod(head * config.head_dim, wide)
    rank = wo_a.shape[1]
    even = params[name("wo_b.weight")][:, group * rank: (group + 1) * rank].sum(axis=1)
    if even.any():                                      # a layer that was just added is silent, and stays so
        wo_a[group, :, first + at] = length / np.linalg.norm(even)


def _constant(x):                                       # [T, n] -> [n]: x times it is as near to 1 as it gets
    gram = x.T.astype(np.float64) @ x / len(x)
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    found = np.linalg.solve(gram, x.mean(axis=0))
    return (found / (x @ found).mean()).astype(np.float32)


def _rms(rows):                                         # mean over rows of their root mean square
    return float(np.sqrt((rows**2).mean(axis=1)).mean())
