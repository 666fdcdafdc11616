"""Lesson 21, rooms 4 to 6: streams and experts, number formats, training. Each exercise is a defect to repair."""

import ml_dtypes
import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.numerics import e2m1, e4m3, ue8m0
from v4mini.ops.experts import swiglu
from v4mini.ops.mix import hc_post, sigmoid
from v4mini.ops.route import affinity, gate_weights, route


def _rows(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


# ---- room 4: streams and experts ----

def _mix_cases(rng):
    turn = np.float32([[[0, 1, 0], [0, 0, 1], [1, 0, 0]]])          # stream j goes to stream j + 1
    yield "three streams change places", (np.zeros((1, 1), np.float32), np.float32([[[1], [2], [3]]]), np.zeros((1, 3),
                                          np.float32), turn)
    yield "four streams, some tokens", (_rows(rng, 5, 8), _rows(rng, 5, 4, 8), _rows(rng, 5, 4), _rows(rng, 5, 4, 4))
    yield "one token, wide", (_rows(rng, 1, 64), _rows(rng, 1, 4, 64), _rows(rng, 1, 4), _rows(rng, 1, 4, 4))
    yield "two streams, a matrix that is not symmetric", (_rows(rng, 2, 3), _rows(rng, 2, 2, 3), _rows(rng, 2, 2),
                                                          _rows(rng, 2, 2, 2))


def _mix_summed(y, streams, post, comb):
    return np.einsum("tk,td->tkd", post, y) + np.einsum("tjk,tjd->tkd", comb, streams)


def _mix_transposed(y, streams, post, comb):
    return post[:, :, None] * y[:, None, :] + np.matmul(comb, streams)


def _mix_without_answer(y, streams, post, comb):
    return np.einsum("tjk,tjd->tkd", comb, streams)


def post_gate(logits):                                              # [T, M] -> [T, M]
    return np.float32(2) * sigmoid(logits)


def _gate_cases(rng):
    yield "0 gives 1: a sub-layer that is neither raised nor lowered", (np.zeros((1, 4), np.float32),)
    yield "some", (_rows(rng, 5, 4) * 3,)
    yield "far out", (np.float32([[-100, 100, -1000, 1000]]),)
    yield "two streams", (_rows(rng, 3, 2),)


def _gate_by_tanh(logits):
    return 1 + np.tanh(logits / 2)


def _half_gate(logits):
    return sigmoid(logits)


def _doubled_inside(logits):
    return sigmoid(2 * logits)


def _clamp_cases(rng):
    yield "inside the limit", (_rows(rng, 3, 4), _rows(rng, 3, 4), 10.0)
    yield "a gate of 50", (np.float32([[50.0]]), np.float32([[1.0]]), 10.0)
    yield "up beyond the limit on both sides", (np.ones((1, 4), np.float32), np.float32([[-30, -9, 9, 30]]), 10.0)
    yield "gates far below", (np.float32([[-3, -30]]), np.ones((1, 2), np.float32), 2.0)


def _clamped_by_where(gate, up, limit):
    gate, up = np.where(gate > limit, limit, gate), np.where(np.abs(up) > limit, np.sign(up) * limit, up)
    return gate * up * 0.5 * (1 + np.tanh(gate / 2))


def _unclamped(gate, up, limit):
    return gate / (1 + np.exp(-gate)) * up


def _clamped_after(gate, up, limit):
    return np.clip(_unclamped(gate, up, limit), -limit, limit)


def _route_cases(rng):
    yield "a bias of +1 for expert 2", (np.log(np.expm1(np.float32([[9, 2.25, 1, 0.25]]))), 1.5, 2, np.float32([0, 0, 1, 0]))
    yield "8 experts", (_rows(rng, 6, 8), 1.5, 3, _rows(rng, 8))
    yield "a tie: the earlier expert", (np.zeros((2, 20), np.float32), 1.0, 3, np.zeros(20, np.float32))
    yield "one expert a token", (_rows(rng, 4, 5), 2.5, 1, _rows(rng, 5))


def _routed_row_by_row(scores, route_scale, k, bias):
    a = np.sqrt(np.logaddexp(0, scores))
    chosen = np.array([sorted(range(len(row)), key=lambda e: (-(row[e] + bias[e]), e))[:k] for row in a])
    picked = np.array([row[places] for row, places in zip(a, chosen)])
    return chosen, picked / picked.sum(axis=1, keepdims=True) * route_scale


def _bias_before_the_root(scores, route_scale, k, bias):
    a = np.sqrt(np.logaddexp(0, scores + bias))
    chosen = np.argsort(-a, axis=1, kind="stable")[:, :k]
    picked = np.take_along_axis(a, chosen, axis=1)
    return chosen, picked / picked.sum(axis=1, keepdims=True) * route_scale


def _bias_weighs(scores, route_scale, k, bias):
    a = np.sqrt(np.logaddexp(0, scores)) + bias
    chosen = np.argsort(-a, axis=1, kind="stable")[:, :k]
    picked = np.take_along_axis(a, chosen, axis=1)
    return chosen, picked / picked.sum(axis=1, keepdims=True) * route_scale


def routed(scores, route_scale, k, bias):                           # [T, E], float, int, [E] -> [T, k] int, [T, k]
    return route(scores, route_scale, k, bias)


def hash_weights(scores, chosen, route_scale):                      # [T, E], [T, K] int, float -> [T, K]
    return gate_weights(affinity(scores), chosen, route_scale)


def _hash_cases(rng):
    yield "affinities 3 and 1", (np.log(np.expm1(np.float32([[9, 1, 0.25]]))), np.array([[0, 1]]), 1.0)
    yield "8 experts, 3 named", (_rows(rng, 5, 8), np.argsort(rng.random((5, 8)), axis=1)[:, :3], 1.5)
    yield "a table that names one twice", (_rows(rng, 2, 4), np.array([[1, 1], [3, 0]]), 1.5)
    yield "one named", (_rows(rng, 3, 4), np.array([[2], [0], [1]]), 2.5)


def _hash_row_by_row(scores, chosen, route_scale):
    a = np.sqrt(np.logaddexp(0, scores))
    return np.array([row[places] / row[places].sum() for row, places in zip(a, chosen)]) * route_scale


def _equal_shares(scores, chosen, route_scale):
    return np.full(chosen.shape, route_scale / chosen.shape[1], np.float32)


def _hash_over_all(scores, chosen, route_scale):
    a = affinity(scores)
    return np.take_along_axis(a / a.sum(axis=1, keepdims=True), chosen, axis=1) * np.float32(route_scale)


# ---- room 5: number formats ----

def fp8_values(codes):                                              # uint8 [...] -> float32 [...]
    return e4m3.decode(codes)


def _code_cases(rng):
    yield "1.0 is 0x38, 448 is 0x7E", (np.array([0x38, 0x7E], np.uint8),)
    yield "negative numbers", (np.array([0xB8, 0x81], np.uint8),)
    yield "all 256 codes", (np.arange(256, dtype=np.uint8),)
    yield "a matrix", (rng.integers(0, 0x7F, (3, 4)).astype(np.uint8),)


def _codes_by_ml_dtypes(codes):
    return codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32)


def _codes_as_integers(codes):
    return codes.astype(np.float32)


def _codes_without_subnormals(codes):
    exponent, mantissa = codes >> 3 & 15, codes & 7
    return np.where(codes & 128, -1, 1) * np.ldexp(np.float32(1), exponent.astype(np.int64) - 7) * (1 + mantissa / 8)


def scale_values(codes):                                            # uint8 [...] -> float32 [...]
    return ue8m0.decode(codes)


def _scale_cases(rng):
    yield "127 means 1", (np.array([127], np.uint8),)
    yield "120 means 2^-7", (np.array([120, 134], np.uint8),)
    yield "the smallest and the largest", (np.array([0, 254], np.uint8),)
    yield "a grid", (rng.integers(100, 140, (2, 3)).astype(np.uint8),)


def _scales_by_power(codes):
    return 2.0 ** (codes.astype(np.float64) - 127)


def _bytes_as_scales(codes):
    return codes.astype(np.float32)


def _scales_off_by_one(codes):
    return np.ldexp(np.float32(1), codes.astype(np.int64) - 128)


def fp4_values(packed):                                             # uint8 [out, in / 2] -> float32 [out, in]
    return e2m1.decode_packed(packed)


def _packed_cases(rng):
    yield "0xC3: first 1.5, then -2", (np.array([[0xC3]], np.uint8),)
    yield "all 256 bytes", (np.arange(256, dtype=np.uint8)[None],)
    yield "a matrix: twice as wide as its bytes", (rng.integers(0, 256, (3, 4)).astype(np.uint8),)
    yield "zeros of both signs", (np.array([[0x80, 0x08]], np.uint8),)


def _packed_by_table(packed):
    table = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    out = np.empty((len(packed), 2 * packed.shape[1]), np.float32)
    out[:, 0::2], out[:, 1::2] = table[packed & 15], table[packed >> 4]
    return out


def _packed_as_fp8(packed):
    return e4m3.decode(packed)


def _packed_high_first(packed):
    return _packed_by_table(packed << 4 | packed >> 4)


def scaled_by_tiles(values, scale, tile):                           # [out, in], [ceil(out/tile), ceil(in/tile)] -> [out, in]
    out, width = values.shape
    return values * scale[np.arange(out) // tile][:, np.arange(width) // tile]


def _tile_cases(rng):
    yield "whole tiles", (np.ones((4, 4), np.float32), np.float32([[1, 2], [4, 8]]), 2)
    yield "6 rows in tiles of 4: a partial one below", (np.ones((6, 4), np.float32), np.float32([[1], [10]]), 4)
    yield "a partial one on the right", (_rows(rng, 4, 7), np.exp2(rng.integers(-3, 3, (1, 2))).astype(np.float32), 4)
    yield "1,000 rows in tiles of 128", (_rows(rng, 1000, 3), np.exp2(rng.integers(-3, 3, (8, 1))).astype(np.float32), 128)


def _tiles_repeated(values, scale, tile):
    return values * np.kron(scale, np.ones((tile, tile)))[: values.shape[0], : values.shape[1]]


def _tiles_guessed(values, scale, tile):
    rows, columns = (-(-n // m) for n, m in zip(values.shape, scale.shape))
    return values * scale[np.arange(len(values)) // rows][:, np.arange(values.shape[1]) // columns]


def _tiles_turned(values, scale, tile):
    return values / scale[np.arange(len(values)) // tile][:, np.arange(values.shape[1]) // tile]


# ---- room 6: training ----

def index_slope(scores, target):                                    # [N], [N] -> [N]: of m KL(target / m || softmax(scores))
    p = np.exp(scores - scores.max())
    return target.sum() * p / p.sum() - target


def _slope_cases(rng):
    yield "attention takes all from the first of two", (np.zeros(2, np.float32), np.float32([1, 0]))
    yield "already right: no slope", (np.log(np.float32([1, 3])), np.float32([0.5, 1.5]))
    yield "attention of several heads", (_rows(rng, 6), rng.random(6).astype(np.float32))
    yield "scores far apart", (np.float32([0, 1000, -1000]), np.float32([0.2, 0.3, 0.1]))


def _slope_through_the_softmax(scores, target):
    m, p = target.sum(), np.exp(scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max())
    inner = -target / np.maximum(p, 1e-30)                              # d/dp of -sum target log p, then through the softmax
    return p * (inner - (p * inner).sum()) if (p > 1e-20).all() else m * p - target


def _frozen(scores, target):
    return np.zeros_like(scores)


def _slope_without_mass(scores, target):
    p = np.exp(scores - scores.max())
    return p / p.sum() - target / target.sum()


def joint_target(window, entries, sink):                            # [H, W], [H, N], [H] logits -> [N]
    logits = np.concatenate([window, entries, sink[:, None]], axis=1)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    return p[:, window.shape[1]: -1].sum(axis=0)


def _target_cases(rng):
    yield "all logits 0: window 2, entries 2, sink 1, so a fifth each", (np.zeros((1, 2), np.float32), np.zeros((1, 2),
                                                                         np.float32),
                                                                      np.zeros(1, np.float32))
    yield "a head that reads its window only", (np.float32([[20, 0], [0, 0]]), np.float32([[0, 1], [3, 0]]), np.zeros(2,
                                                np.float32))
    yield "four heads", (_rows(rng, 4, 8), _rows(rng, 4, 6), _rows(rng, 4))
    yield "a sink that takes nearly all", (_rows(rng, 2, 3), _rows(rng, 2, 4), np.float32([9, -9]))


def _target_head_by_head(window, entries, sink):
    total = np.zeros(entries.shape[1])
    for w, e, s in zip(*(np.float64(part) for part in (window, entries, sink))):
        total += np.exp(e - np.logaddexp(np.logaddexp.reduce([*w, *e]), s))
    return total


def _lost_share(window, entries, sink):
    p = np.exp(entries - entries.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True)).sum(axis=0)


def _without_sink(window, entries, sink):
    return joint_target(window, entries, np.full_like(sink, -np.inf))


EXERCISES = [
    Exercise("museum.transposed", _mix_cases, ours=hc_post, differently=_mix_summed, wrong=(_mix_transposed, _mix_without_answer),
             hints=("comb[j, k] carries old stream j into new stream k: the sum runs over the first index.",)),
    Exercise("museum.half_gate", _gate_cases, ours=post_gate, differently=_gate_by_tanh, wrong=(_half_gate, _doubled_inside),
             hints=("A logit of 0 should neither raise nor lower an answer: the gate is 1 there.",)),
    Exercise("museum.unclamped", _clamp_cases, ours=swiglu, differently=_clamped_by_where, wrong=(_unclamped, _clamped_after),
             hints=("Cut the gate above, and up on both sides, before anything is multiplied.",)),
    Exercise("museum.leaking_bias", _route_cases, ours=routed, differently=_routed_row_by_row,
             wrong=(_bias_before_the_root, _bias_weighs),
             hints=("The bias helps to choose, and is forgotten before anything is weighed.",)),
    Exercise("museum.equal_shares", _hash_cases, ours=hash_weights, differently=_hash_row_by_row,
             wrong=(_equal_shares, _hash_over_all),
             hints=("The table says who. How much still comes from the scores.",)),
    Exercise("museum.codes_as_integers", _code_cases, ours=fp8_values, differently=_codes_by_ml_dtypes, tolerance=0,
             wrong=(_codes_as_integers, _codes_without_subnormals),
             hints=("A code is an index into a table of 256 values: e4m3.TABLE.",)),
    Exercise("museum.bytes_as_scales", _scale_cases, ours=scale_values, differently=_scales_by_power, tolerance=0,
             wrong=(_bytes_as_scales, _scales_off_by_one),
             hints=("The byte is an exponent, 127 too large: 1 times 2 to the byte - 127. np.ldexp does that exactly.",)),
    Exercise("museum.fp4_as_fp8", _packed_cases, ours=fp4_values, differently=_packed_by_table, tolerance=0,
             wrong=(_packed_as_fp8, _packed_high_first), hints=("Two numbers share a byte; the first lies in the low four bits.",
                                                                "e2m1.TABLE has their 16 values.")),
    Exercise("museum.guessed_tiles", _tile_cases, ours=scaled_by_tiles, differently=_tiles_repeated,
             wrong=(_tiles_guessed, _tiles_turned),
             hints=("Row i lies in tile i // tile, however many rows there are.",)),
    Exercise("museum.frozen_indexer", _slope_cases, ours=index_slope, differently=_slope_through_the_softmax,
             wrong=(_frozen, _slope_without_mass),
             hints=("m is target.sum(). The slope of m KL is m softmax(scores) - target.",)),
    Exercise("museum.lost_share", _target_cases, ours=joint_target, differently=_target_head_by_head,
             wrong=(_lost_share, _without_sink),
             hints=("One softmax over window, entries and sink together; only then look at the entries' part.",)),
]
