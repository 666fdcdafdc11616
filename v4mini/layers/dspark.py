"""DSpark: the drafter of the release of 31 July 2026, three blocks under mtp.* that guess several tokens in one round.

    tokens of the text        0 .. p                  p + 1        p + 2 ..
    the main model            has read them           has drawn it
    the drafter's ring        main rows, the last W
    its block, G tokens                               the anchor   G - 1 noise tokens
    which predict                                     p + 2        p + 3 ..

A main row is made of the model's own hidden states: the mean of the streams after each of dspark_target_layer_ids, joined,
projected and normed once for all blocks; each block makes rows of them with its own wkv. Rows of the drafter's own block serve
one round and are not kept. All G queries of a block read the same rows, those behind them too: no causal mask. The block gives
G base scores at once; then, from left to right, each gets what the Markov head adds for the token drawn before it.

Sources: arXiv:2607.05147 (the round, the Markov and confidence heads); tensors, config fields and the mean over streams as the
release's inference code has them, read in two ports of it (SGLang's and an MLX one).
Inferred, and marked so: the taps are the streams after a layer's feed-forward part (the ports agree, the paper does not say);
base 10000 without YaRN for all rotations (the blocks' compress_ratios are 0, as those of other window layers); rows are rounded
as other window rows are; the confidence head reads the streams' weighted sum before the norm (both ports); its bias is absent
(the release has no such tensor). Mean or sum of streams makes no difference here: main_norm divides a constant factor out again.
Not known: the temperatures that calibrate the confidences, the speed curves of DeepSeek's scheduler, the drafter's training data.
Not here: what is kept between rounds and how drafts are judged (inference/), which prefix is worth verifying (planning/).
"""

import numpy as np

from v4mini.layers.attention import key_rows, layer_frequencies, project_out, queries
from v4mini.layers.block import feed_forward, read_streams
from v4mini.trace import Note

SILENT = Note(None, "dspark")


def tap(streams):                                       # [T, M, D] -> [T, D]
    """The mean of a token's streams: what the drafter is shown of one layer."""
    total = streams[:, 0]
    for number in range(1, streams.shape[1]):
        total = total + streams[:, number]
    return total * (1 / streams.shape[1])


def beside(ops, parts):                                 # [[n, a], [n, b], ...] -> [n, a + b + ...]
    """Rows of several arrays, one after the other in one row."""
    widths = [part.shape[1] for part in parts]
    ends, rows = len(parts[0]) * np.cumsum([0, *widths]), np.arange(len(parts[0]))[:, None]
    places = [end + rows * width + np.arange(width) for end, width in zip(ends, widths)]
    return ops.take(ops.concat([part.reshape(-1) for part in parts]), np.hstack(places).ravel()).reshape(len(rows), sum(widths))


def context(ops, taps, w, config):                      # [T, n D], taps of n layers beside one another -> [T, D]
    """One row a token, the same for all blocks."""
    return ops.rms_norm(ops.linear(taps, w.main_proj), w.main_norm, config.norm_eps)


def everything_but_itself(rows, tokens):                # ints -> [tokens, rows + tokens - 1] int64
    """Which rows a token of a block reads beside its own: all main rows, and those of the block's other tokens."""
    others = np.arange(rows + tokens)[None, :].repeat(tokens, axis=0)
    return others[others != rows + np.arange(tokens)[:, None]].reshape(tokens, rows + tokens - 1)


def block_attention(ops, x, w, config, layer, positions, main_rows, picks):     # [A, D] -> [A, D]
    """Tokens of a block look at main rows [R, hd] and at one another.

    picks [A, K]: which of [main_rows, the block's rows] each token reads beside its own (-1: none). That own row is the window,
    of one token: so attention is the operation it always is, and no mask exists.
    """
    c, freqs = config, ops.constant(layer_frequencies(config, layer))
    _, q = queries(ops, x, w, c, positions, freqs)
    own = key_rows(ops, x, w, c, positions, freqs)
    entries = ops.concat([main_rows, own])
    out = ops.attend(q, own, np.arange(len(x)), w.attn_sink, 1, c.head_dim**-0.5, entries=entries, picks=picks)
    return project_out(ops, out, w, c, positions, freqs)


def dspark_block(ops, streams, ids, w, config, layer, positions, main_rows, picks, note):       # [A, M, D] -> [A, M, D]
    """As any block of V4, with block_attention in the place of attention."""
    c, ops = config, ops.at(layer)
    x, post, comb = read_streams(ops, streams, w.hc_attn, w.attn_norm, c)
    y = block_attention(ops, x, w.attn, c, layer, positions, main_rows, picks)
    streams = ops.hc_post(y, streams, post, comb)
    return feed_forward(ops, streams, ids, w, c, note)


def parallel_stage(ops, taps, main_positions, ids, positions, picks, weights, config, keep, note=SILENT):
    """taps [T, n D] of T tokens at main_positions [T]; ids, positions [A] and picks [A, K] of the blocks' tokens.

    keep(layer, rows [T, hd]) -> [R, hd]: the main rows that picks count from, such as a ring's. -> h [A, D], base [A, V]: one
    hidden row a token, and through the model's own output head its base scores.
    """
    c, w = config, weights.dspark
    x = context(ops, taps, w, c)
    streams = ops.hc_expand(ops.embed(ids, weights.embed), c.hc_mult)
    for layer, block in enumerate(w.blocks, c.n_layers):
        main_rows = keep(layer, key_rows(ops, x, block.attn, c, main_positions, ops.constant(layer_frequencies(c, layer))))
        streams = dspark_block(ops, streams, ids, block, c, layer, positions, main_rows, picks, note)
    h = ops.hc_head(streams, w.head.hc_head, c.hc_eps, c.norm_eps)
    return h, ops.linear(ops.rms_norm(h, w.head.norm, c.norm_eps), w.head.weight)


def markov(ops, previous, w):                           # [n] int -> rows [n, r], [n, V] to be added to the base scores
    """What the token before says of the next one: a table of V x V in rank r."""
    rows = ops.embed(previous, w.markov_w1)
    return rows, ops.linear(rows, w.markov_w2)


def confidence(ops, h, markov_rows, w):                 # [n, D], [n, r] -> [n, 1]
    """How likely the next draft is to be accepted if those before it were: a logit, sigmoid of it is the chance."""
    return ops.linear(beside(ops, [h, markov_rows]), w.confidence)
