"""Lesson 09: the last step, one block, and finding the first layer that is wrong."""

import numpy as np

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.layers.attention import attention
from v4mini.layers.block import block
from v4mini.layers.moe import moe
from v4mini.layers.sequences import Sequences
from v4mini.lessons.exercise import Exercise
from v4mini.trace import Note
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

SMALL = Config(vocab_size=40, dim=24, moe_inter_dim=16, n_layers=3, n_heads=2, n_routed_experts=4, n_activated_experts=2,
               route_scale=1.5, q_lora_rank=16, o_groups=2, o_lora_rank=8, index_topk=3, compress_ratios=(0, 4, 8),
               n_hash_layers=1, n_mtp_layers=0, head_dim=20, rope_head_dim=4, window_size=8, index_n_heads=2,
               index_head_dim=8, original_seq_len=0, dtype="f32", expert_dtype=None)


def last_step(ops, streams, head, config):  # [T, M, D] -> [T, V]
    h = ops.hc_head(streams, head.hc_head, config.hc_eps, config.norm_eps)
    return ops.linear(ops.rms_norm(h, head.norm, config.norm_eps), head.weight)


def one_block(ops, streams, ids, w, config, layer):     # [T, M, D], [T] -> [T, M, D]
    return block(ops, streams, ids, w, config, layer, Sequences.alone(config, len(ids)), Note(None, ""))


def first_wrong_layer(mine, theirs, bound):             # [L, ...] twice -> int, or -1 if none is wrong
    """The first layer whose streams differ by more than `bound` somewhere, or are no numbers."""
    for layer in range(len(mine)):
        if not np.all(np.abs(mine[layer] - theirs[layer]) <= bound):
            return layer
    return -1


def _weights(rng):
    return build(SMALL, random_tensors(SMALL, seed=int(rng.integers(1 << 20))).get)


def _streams(rng, T):
    return rng.standard_normal((T, SMALL.hc_mult, SMALL.dim)).astype(np.float32)


def _head_cases(rng):
    head = _weights(rng).head
    yield "one token", (Backend(), _streams(rng, 1), head, SMALL)
    yield "equal streams, as right after the embedding", (Backend(), np.repeat(_streams(rng, 3)[:, :1], 4, axis=1), head, SMALL)
    yield "several tokens", (Backend(), _streams(rng, 7), head, SMALL)
    yield "large streams", (Backend(), _streams(rng, 2) * 1000, head, SMALL)


def _block_cases(rng):
    weights = _weights(rng)
    for layer, T, title in ((0, 1, "window layer, one token"), (0, 12, "window layer, more tokens than the window holds"),
                            (1, 13, "CSA layer"), (2, 17, "HCA layer")):
        ids = rng.integers(0, SMALL.vocab_size, T)
        yield title, (Backend(), _streams(rng, T), ids, weights.layers[layer], SMALL, layer)


def _layer_cases(rng):
    theirs = rng.standard_normal((5, 3, 2)).astype(np.float32)
    late, tiny = theirs.copy(), theirs + np.float32(1e-6)
    late[2:, 1, 0] -= 1
    broken = theirs.copy()
    broken[1, 0, 0] = np.nan
    yield "wrong from layer 2 on", (late, theirs, 1e-4)
    yield "no layer is wrong", (tiny, theirs, 1e-4)
    yield "all are wrong", (-theirs, theirs, 1e-4)
    yield "a nan in layer 1", (broken, theirs, 1e-4)


def _head_in_formulas(ops, streams, head, config):
    flat = streams.reshape(len(streams), -1)
    mix = flat @ head.hc_head.fn.T / np.sqrt(np.mean(flat * flat, axis=1, keepdims=True) + config.norm_eps)
    pre = 1 / (1 + np.exp(-(mix * head.hc_head.scale + head.hc_head.base))) + config.hc_eps
    h = np.einsum("tm,tmd->td", pre, streams)
    h = h / np.sqrt(np.mean(h * h, axis=1, keepdims=True) + config.norm_eps) * head.norm
    return h @ head.weight.dense().T


def _head_of_means(ops, streams, head, config):
    return ops.linear(ops.rms_norm(streams.mean(axis=1), head.norm, config.norm_eps), head.weight)


def _head_without_norm(ops, streams, head, config):
    return ops.linear(ops.hc_head(streams, head.hc_head, config.hc_eps, config.norm_eps), head.weight)


def _half(ops, streams, hc, norm, sublayer, config):
    u, post, comb = ops.hc_pre(streams, hc, config.hc_sinkhorn_iters, config.hc_eps, config.norm_eps)
    return sublayer(ops.rms_norm(u, norm, config.norm_eps)), post, comb


def _block_of(ops, streams, ids, w, config, layer, write, hc_ffn):
    alone, quiet = Sequences.alone(config, len(ids)), Note(None, "")
    streams = write(streams, *_half(ops, streams, w.hc_attn, w.attn_norm,
                                    lambda x: attention(ops, x, w.attn, config, layer, alone, quiet), config))
    return write(streams, *_half(ops, streams, hc_ffn, w.ffn_norm, lambda x: moe(ops, x, ids, w.ffn, config, quiet), config))


def _block_in_sums(ops, streams, ids, w, config, layer):
    def write(streams, y, post, comb):
        return np.einsum("tk,td->tkd", post, y) + np.einsum("tjk,tjd->tkd", comb, streams)
    return _block_of(ops, streams, ids, w, config, layer, write, w.hc_ffn)


def _block_untransposed(ops, streams, ids, w, config, layer):
    def write(streams, y, post, comb):
        return np.einsum("tk,td->tkd", post, y) + np.einsum("tkj,tjd->tkd", comb, streams)
    return _block_of(ops, streams, ids, w, config, layer, write, w.hc_ffn)


def _block_with_one_mixer(ops, streams, ids, w, config, layer):
    def write(streams, y, post, comb):
        return ops.hc_post(y, streams, post, comb)
    return _block_of(ops, streams, ids, w, config, layer, write, w.hc_attn)


def _layer_by_table(mine, theirs, bound):
    agrees = (np.abs(mine - theirs) <= bound).reshape(len(mine), -1).all(axis=1)
    return -1 if agrees.all() else int(np.argmin(agrees))


def _layer_forgets_sign(mine, theirs, bound):
    wrong = [layer for layer in range(len(mine)) if (mine[layer] - theirs[layer]).max() > bound]
    return wrong[0] if wrong else -1


def _layer_trusts_nan(mine, theirs, bound):
    wrong = [layer for layer in range(len(mine)) if np.abs(mine[layer] - theirs[layer]).max() > bound]
    return wrong[0] if wrong else -1


EXERCISES = [
    Exercise("whole_model.last_step", _head_cases, ours=last_step, differently=_head_in_formulas,
             wrong=(_head_of_means, _head_without_norm),
             hints=("Three operations: many streams become one, a norm, a matrix.",
                    "ops.hc_head(streams, head.hc_head, config.hc_eps, config.norm_eps) weighs the streams into one row a token.",
                    "Then ops.rms_norm with head.norm, and ops.linear with head.weight.")),
    Exercise("whole_model.one_block", _block_cases, ours=one_block, differently=_block_in_sums,
             wrong=(_block_untransposed, _block_with_one_mixer),
             hints=("Twice the same: read (hc_pre), norm, sub-layer, write (hc_post). First attention, then the experts.",
                    "hc_pre gives u, post and comb. u goes through the norm and the sub-layer; post and comb wait for hc_post.",
                    "The second half has its own mixer and norm: w.hc_ffn and w.ffn_norm. It reads the streams that the first "
                    "half wrote, not the old ones.")),
    Exercise("whole_model.first_wrong_layer", _layer_cases, ours=first_wrong_layer, differently=_layer_by_table, tolerance=0,
             wrong=(_layer_forgets_sign, _layer_trusts_nan),
             hints=("np.abs(mine[layer] - theirs[layer]) is how far apart a layer is; its largest number decides.",
                    "nan > bound is False, and so is nan <= bound. Which of the two do you ask for?",
                    "A layer is right if np.all(difference <= bound). Return the first that is not; after the loop, -1.")),
]
