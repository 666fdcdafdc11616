"""Whole parts of a layer in one call, for a single token and float32 weights: layers/seams.py says when they are asked.

A call from Python costs as much as many a product of one token takes. Inside run the same functions as in the kernels of each
operation, in the same order, so the bits are the same. A part gives None for what it does not take: several tokens, weights in
other formats, weights so large that threads share them out.
Not here: the parts in operations (layers/).
"""

import numpy as np

from v4mini.kernels import experts, mix, norm, packed, rope, route
from v4mini.kernels.arguments import as_floats
from v4mini.kernels.compiled import njit
from v4mini.kernels.vector import floats_at
from v4mini.numerics.matrix import Matrix

NO_WEIGHT = np.empty(0, np.float32)
NO_CHOICE = np.empty((0, 0), np.int64)


class Plain:
    """Weights as kernels take them, found by their identity: each is looked at once."""

    def __init__(self):
        self._found = {}                                # id -> the weight, and its float32 numbers or None

    def __call__(self, weight):                         # Matrix or vector -> float32 array, or None
        """None for a weight that is stored in fewer bits, comes and goes, or is large."""
        known = self._found.get(id(weight))
        if known is None:
            if type(weight) is Matrix and not packed.is_dense(weight) or type(weight) not in (Matrix, np.ndarray):
                return None
            array = as_floats(weight.dense() if type(weight) is Matrix else weight)
            known = self._found[id(weight)] = weight, array if array.nbytes < packed.PARALLEL_FROM else None
        return known[1]

    def all(self, *weights):                            # -> list of arrays, or None if one is not plain
        found = [self(weight) for weight in weights]
        return None if any(one is None for one in found) else found


def queries(ops, x, w, config, positions, freqs):       # as layers.attention.queries
    if len(x) != 1 or ops.simulate or (plain := ops.plain.all(w.wq_a, w.q_norm, w.wq_b)) is None:
        return None
    c = config
    qr, q = np.empty((1, len(plain[0])), np.float32), np.empty((1, c.n_heads, c.head_dim), np.float32)
    _queries(as_floats(x), *plain, c.norm_eps, positions, freqs, qr, q)
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
    if len(x) != 1 or ops.simulate or (plain := ops.plain.all(w.wkv, w.kv_norm)) is None:
        return None
    rows = np.empty((1, config.head_dim), np.float32)
    _key_rows(as_floats(x), *plain, config.norm_eps, positions, freqs, rows)
    return rows


@njit
def _key_rows(x, wkv, kv_norm, eps, positions, freqs, rows):
    product, normed = np.empty(len(wkv), np.float32), np.empty((1, len(wkv)), np.float32)
    packed._dense_rows(wkv, x.reshape(-1), product, 0, len(product))
    norm._rows(product.reshape(1, -1), kv_norm, eps, normed, 0, 1)
    rope._rotate(normed.reshape(1, 1, -1), positions.astype(np.float32), freqs, False, rows.reshape(1, 1, -1), 0, 1)


def project_out(ops, out, w, config, positions, freqs):         # as layers.attention.project_out
    if len(out) != 1 or ops.simulate or (plain := ops.plain.all(w.wo_a, w.wo_b)) is None:
        return None
    y = np.empty((1, len(plain[1])), np.float32)
    _project_out(as_floats(out), *plain, config.o_groups, positions, freqs, y)
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
    if len(streams) != 1 or (plain := ops.plain.all(hc.fn, hc.base, hc.scale, norm_weight)) is None:
        return None
    c, (_, M, D) = config, streams.shape
    if streams.size >= mix.PARALLEL_FROM:
        return None
    x, post, comb = np.empty((1, D), np.float32), np.empty((1, M), np.float32), np.empty((1, M, M), np.float32)
    _read_streams(as_floats(streams), *plain, c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps, x, post, comb)
    return x, post, comb


@njit
def _read_streams(streams, fn, base, scale, norm_weight, iters, eps, norm_eps, x, post, comb):
    logits, u = np.empty((1, len(fn)), np.float32), np.empty(x.shape, np.float32)
    packed._dense_rows(fn, streams.reshape(-1), logits.reshape(-1), 0, len(fn))
    mix._pre(streams, logits, base, scale, iters, np.float32(eps), np.float32(norm_eps), u, post, comb)
    norm._rows(u, norm_weight, norm_eps, x, 0, 1)


def experts_of(ops, x, by_table, w, config):            # as layers.moe.experts_of
    """Every expert's three products, one expert after the other in the order of their numbers, then the shared one."""
    if len(x) != 1 or ops.simulate:
        return None
    gate, pool = ops.plain(w.gate.weight), ops.bound(w.experts, w.experts)
    shared = ops.bound(w.shared_experts, (w.shared_experts,))
    if gate is None or pool is None or shared is None or max(pool.nbytes, shared.nbytes) >= packed.PARALLEL_FROM:
        return None
    c, E = config, len(gate)
    chosen = np.empty((1, min(c.n_activated_experts, E)), np.int64) if by_table is None else by_table.astype(np.int64)
    bias = NO_WEIGHT if w.gate.bias is None else ops.plain(w.gate.bias)
    y, scores, weights = np.empty(x.shape, np.float32), np.empty((1, E), np.float32), np.empty(chosen.shape, np.float32)
    limit = c.swiglu_limit if c.swiglu_limit > 0 else np.inf
    _experts_of(as_floats(x), gate, bias, by_table is not None, c.route_scale, pool.addresses, pool.inter, shared.addresses,
                shared.inter, limit, scores, chosen, weights, y)
    return y, scores, chosen, weights


@njit
def _experts_of(x, gate, bias, is_given, route_scale, pool, inter, shared, shared_inter, limit, scores, chosen, weights, y):
    one = np.ones(1, np.float32)
    packed._dense_rows(gate, x.reshape(-1), scores.reshape(-1), 0, len(gate))
    if len(bias) == 0:
        bias = np.zeros(len(gate), np.float32)
    route._route(scores, route_scale, bias, is_given, chosen, weights, 0, 1)
    order, z = np.argsort(chosen[0], kind="mergesort"), np.empty(y.shape[1], np.float32)
    own = np.zeros(y.shape[1], np.float32)
    for slot in order:
        _one_expert(x, pool[chosen[0, slot]], inter, limit, weights[0, slot: slot + 1], z)
        for d in range(len(z)):
            own[d] += z[d]
    _one_expert(x, shared[0], shared_inter, limit, one, z)
    for d in range(len(z)):
        y[0, d] = own[d] + z[d]


@njit
def _one_expert(x, addresses, inter, limit, weight, z):
    D = x.shape[1]
    gate, up = np.empty((1, inter), np.float32), np.empty((1, inter), np.float32)
    packed._dense_rows(floats_at(addresses[0], inter, D), x.reshape(-1), gate.reshape(-1), 0, inter)
    packed._dense_rows(floats_at(addresses[2], inter, D), x.reshape(-1), up.reshape(-1), 0, inter)
    experts._swiglu(gate, up, limit, weight, gate, 0, 1)
    packed._dense_rows(floats_at(addresses[1], D, inter), gate.reshape(-1), z, 0, D)


PARTS = {"queries": queries, "key_rows": key_rows, "project_out": project_out, "read_streams": read_streams,
         "experts_of": experts_of}
