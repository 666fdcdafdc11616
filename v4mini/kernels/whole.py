"""Whole parts of a layer in one call, for a single token and float32 weights: layers/seams.py says when they are asked.

A call from Python costs as much as many a product of one token takes. Inside run the same functions as in the kernels of each
operation, in the same order, so the bits are the same. A part gives None for what it does not take: several tokens, weights in
other formats, weights so large that threads share them out.
Not here: the parts in operations (layers/), which weights are taken (bind.py).
"""

import numpy as np

from v4mini.kernels import bind, experts, mix, norm, packed, rope, route
from v4mini.kernels.arguments import as_floats
from v4mini.kernels.bind import NO_WEIGHT
from v4mini.kernels.compiled import njit
from v4mini.kernels.vector import floats_at


def queries(ops, x, w, config, positions, freqs):       # as layers.attention.queries
    if len(x) != 1 or ops.simulate or (bound := ops.bound(w, bind.query_weights)) is None:
        return None
    c = config
    qr, q = np.empty((1, len(bound[0])), np.float32), np.empty((1, c.n_heads, c.head_dim), np.float32)
    _queries(as_floats(x), *bound, c.norm_eps, positions, freqs, qr, q)
    return qr, q


@njit
def _queries(x, wq_a, q_norm, wq_b, eps, positions, freqs, qr, q):
    _, H, hd = q.shape
    narrow, wide, unit = np.empty(len(wq_a), np.float32), np.empty(H * hd, np.float32), np.empty((H, hd), np.float32)
    packed._dense_rows(wq_a, x.reshape(-1), narrow, 0, len(narrow))
    norm._rows(narrow.reshape(1, -1), q_norm, eps, qr, 0, 1)
    packed._dense_rows(wq_b, qr.reshape(-1), wide, 0, len(wide))
    norm._rows(wide.reshape(H, hd), NO_WEIGHT, eps, unit, 0, H)
    rope._rotate(unit.reshape(1, H, hd), positions.astype(np.float32), freqs, False, q, 0, 1)


def key_rows(ops, x, w, config, positions, freqs):      # as layers.attention.key_rows
    if len(x) != 1 or ops.simulate or (bound := ops.bound(w, bind.key_weights)) is None:
        return None
    rows = np.empty((1, config.head_dim), np.float32)
    _key_rows(as_floats(x), *bound, config.norm_eps, positions, freqs, rows)
    return rows


@njit
def _key_rows(x, wkv, kv_norm, eps, positions, freqs, rows):
    product, normed = np.empty(len(wkv), np.float32), np.empty((1, len(wkv)), np.float32)
    packed._dense_rows(wkv, x.reshape(-1), product, 0, len(product))
    norm._rows(product.reshape(1, -1), kv_norm, eps, normed, 0, 1)
    rope._rotate(normed.reshape(1, 1, -1), positions.astype(np.float32), freqs, False, rows.reshape(1, 1, -1), 0, 1)


def index_queries(ops, x, qr, w, config, positions, freqs):     # as layers.attention.index_queries
    if len(x) != 1 or ops.simulate or (bound := ops.bound(w, bind.indexer_weights)) is None:
        return None
    heads, width = config.index_n_heads, config.index_head_dim
    q, weights = np.empty((1, heads, width), np.float32), np.empty((1, heads), np.float32)
    _index_queries(as_floats(x), as_floats(qr), *bound, width**-0.5 * heads**-0.5, positions, freqs, q, weights)
    return q, weights


@njit
def _index_queries(x, qr, wq_b, weights_proj, scale, positions, freqs, q, weights):
    wide = np.empty(q.shape, np.float32)
    packed._dense_rows(wq_b, qr.reshape(-1), wide.reshape(-1), 0, len(wq_b))
    rope._rotate(wide, positions.astype(np.float32), freqs, False, q, 0, 1)
    packed._dense_rows(weights_proj, x.reshape(-1), weights.reshape(-1), 0, len(weights_proj))
    for h in range(len(weights_proj)):
        weights[0, h] *= np.float32(scale)


def block_rows(ops, x, w):                              # as layers.compressor.block_rows
    if len(x) != 1 or ops.simulate or (bound := ops.bound(w, bind.block_weights)) is None:
        return None
    kv, score = np.empty((1, len(bound[0])), np.float32), np.empty((1, len(bound[1])), np.float32)
    _block_rows(as_floats(x), *bound, kv, score)
    return kv, score


@njit
def _block_rows(x, wkv, wgate, kv, score):
    packed._dense_rows(wkv, x.reshape(-1), kv.reshape(-1), 0, len(wkv))
    packed._dense_rows(wgate, x.reshape(-1), score.reshape(-1), 0, len(wgate))


def project_out(ops, out, w, config, positions, freqs):         # as layers.attention.project_out
    if len(out) != 1 or ops.simulate or (bound := ops.bound(w, bind.out_weights)) is None:
        return None
    y = np.empty((1, len(bound[1])), np.float32)
    _project_out(as_floats(out), *bound, config.o_groups, positions, freqs, y)
    return y


@njit
def _project_out(out, wo_a, wo_b, groups, positions, freqs, y):
    turned, z = np.empty(out.shape, np.float32), np.empty(len(wo_a), np.float32)
    rope._rotate(out, positions.astype(np.float32), freqs, True, turned, 0, 1)
    rows, parts, each = turned.reshape(groups, -1), z.reshape(groups, -1), len(wo_a) // groups
    for g in range(groups):
        packed._dense_rows(wo_a[g * each: (g + 1) * each], rows[g], parts[g], 0, each)
    packed._dense_rows(wo_b, z, y.reshape(-1), 0, y.shape[1])


def read_streams(ops, streams, hc, norm_weight, config):        # as layers.block.read_streams
    """Nothing is rounded here, so the released rounding changes nothing."""
    if len(streams) != 1 or (bound := ops.bound(hc, bind.stream_weights)) is None:
        return None
    weight = ops.bound(norm_weight, bind.plain)
    if weight is None:
        return None
    c, (_, M, D) = config, streams.shape
    x, post, comb = np.empty((1, D), np.float32), np.empty((1, M), np.float32), np.empty((1, M, M), np.float32)
    _read_streams(as_floats(streams), *bound, weight, c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps, x, post, comb)
    return x, post, comb


@njit
def _read_streams(streams, fn, base, scale, norm_weight, iters, eps, norm_eps, x, post, comb):
    logits, u = np.empty((1, len(fn)), np.float32), np.empty(x.shape, np.float32)
    packed._dense_rows(fn, streams.reshape(-1), logits.reshape(-1), 0, len(fn))
    mix._pre(streams, logits, base, scale, iters, eps, norm_eps, u, post, comb)
    norm._rows(u, norm_weight, norm_eps, x, 0, 1)


def feed_forward(ops, streams, ids, w, config, note):   # as layers.block.feed_forward, which nobody watches
    """Every expert's three products, one expert after the other in the order of their numbers, then the shared one."""
    if len(streams) != 1 or note.trace is not None or ops.simulate or (bound := ops.bound(w, bind.half_weights)) is None:
        return None
    c, table = config, w.ffn.gate.tid2eid
    chosen = np.empty((1, min(c.n_activated_experts, len(w.ffn.experts))), np.int64) if table is None \
        else table[ids].astype(np.int64)
    limit, out = c.swiglu_limit if c.swiglu_limit > 0 else np.inf, np.empty(streams.shape, np.float32)
    _feed_forward(as_floats(streams), *bound.arguments, c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps, table is not None,
                  c.route_scale, limit, chosen, out)
    return out


@njit
def _feed_forward(streams, fn, base, scale, norm_weight, gate, bias, pool, inter, shared, shared_inter, iters, eps, norm_eps,
                  is_given, route_scale, limit, chosen, out):
    _, M, D = streams.shape
    x, y, post, comb = (np.empty((1, D), np.float32), np.empty((1, D), np.float32), np.empty((1, M), np.float32),
                        np.empty((1, M, M), np.float32))
    _read_streams(streams, fn, base, scale, norm_weight, iters, eps, norm_eps, x, post, comb)
    _experts_of(x, gate, bias, is_given, route_scale, pool, inter, shared, shared_inter, limit, chosen, y)
    mix._post(y, streams, post, comb, out)


@njit
def _experts_of(x, gate, bias, is_given, route_scale, pool, inter, shared, shared_inter, limit, chosen, y):
    scores, weights = np.empty((1, len(gate)), np.float32), np.empty(chosen.shape, np.float32)
    one = np.ones(1, np.float32)
    packed._dense_rows(gate, x.reshape(-1), scores.reshape(-1), 0, len(gate))
    if len(bias) == 0:
        bias = np.zeros(len(gate), np.float32)
    route._route(scores, route_scale, bias, is_given, chosen, weights, 0, 1)
    z, own = np.empty(y.shape[1], np.float32), np.zeros(y.shape[1], np.float32)
    for slot in _rising(chosen[0]):
        _one_expert(x, pool[chosen[0, slot]], inter, limit, weights[0, slot: slot + 1], z)
        for d in range(len(z)):
            own[d] += z[d]
    _one_expert(x, shared[0], shared_inter, limit, one, z)
    for d in range(len(z)):
        y[0, d] = own[d] + z[d]


@njit
def _rising(numbers):                                   # -> places, of the smallest first; argsort takes seconds to compile
    order = np.empty(len(numbers), np.int64)
    for place in range(len(numbers)):
        at = place
        while at > 0 and numbers[order[at - 1]] > numbers[place]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = place
    return order


@njit
def _one_expert(x, addresses, inter, limit, weight, z):
    D = x.shape[1]
    gate, up = np.empty((1, inter), np.float32), np.empty((1, inter), np.float32)
    packed._dense_rows(floats_at(addresses[0], inter, D), x.reshape(-1), gate.reshape(-1), 0, inter)
    packed._dense_rows(floats_at(addresses[2], inter, D), x.reshape(-1), up.reshape(-1), 0, inter)
    experts._swiglu(gate, up, limit, weight, gate, 0, 1)
    packed._dense_rows(floats_at(addresses[1], D, inter), gate.reshape(-1), z, 0, D)


PARTS = {"queries": queries, "key_rows": key_rows, "index_queries": index_queries, "project_out": project_out,
         "block_rows": block_rows, "read_streams": read_streams, "feed_forward": feed_forward}
