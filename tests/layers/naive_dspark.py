"""One round of DSpark in float64, one query at a time, from the published facts; the oracle of the golden vectors.

It keeps nothing between rounds: every round begins with the whole text. `wrong` plants one mistake that a port could make, and
each must be visible in the golden numbers. A sum of streams in place of their mean is no such mistake: main_norm divides the
factor out again, and nothing but its eps could tell. Shares nothing with v4mini but the names of a config's fields.
"""

import math

import numpy as np
from layers import naive
from ops import naive as op

WRONG = ("first stream", "last stream", "taps of the layer before", "main rows not normed", "causal block", "no ring",
         "ring one row short", "block rows kept", "markov on the anchor", "markov on the draft itself", "no markov",
         "noise is the anchor", "block one position early", "all rows at one position", "confidence after the norm",
         "first block only")


def round_of(config, tensors, ids, anchor, wrong=None, stale=None):     # [n] ints read by the model, the token after them
    """-> main_x [n, D], base [G, V], logits [G, V], drafts [G], confidence [G] (as logits), block_rows [stages][G, hd].

    stale: block rows of the round before that a wrong port would still hold, with their positions.
    """
    c, n, last = config, len(ids), f"mtp.{config.n_dspark_layers - 1}."
    main_x = context(c, tensors, ids, wrong)
    inputs = [anchor] + [anchor if wrong == "noise is the anchor" else c.dspark_noise_token_id] * (c.dspark_block_size - 1)
    x = np.array([[np.float64(tensors["embed.weight"][i])] * c.hc_mult for i in inputs])
    at = [n + i - (wrong == "block one position early") for i in range(len(inputs))]
    kept = []
    for stage in range(1 if wrong == "first block only" else c.n_dspark_layers):
        w = naive.under(tensors, f"mtp.{stage}.")
        x, rows = block(c, w, x, inputs, at, main_x, wrong, stale and stale[stage])
        kept.append(rows)
    h = [op.hc_head(s, *(tensors[f"{last}hc_head_{part}"] for part in ("fn", "base", "scale")), c.hc_eps, c.norm_eps) for s in x]
    normed = [naive.norm(c, row, tensors[f"{last}norm.weight"]) for row in h]
    base = np.array([op.linear(row, tensors["head.weight"]) for row in normed])
    return {"main_x": main_x, "base": base, "block_rows": kept,
            **chain(tensors, last, base, normed if wrong == "confidence after the norm" else h, anchor, wrong)}


def context(c, tensors, ids, wrong=None):               # -> [n, D]: what the drafter sees of the text
    after, found = naive.main_streams(c, tensors, ids)[1], []
    for t in range(len(ids)):
        tap = []
        for layer in c.dspark_target_layer_ids:
            streams = after[layer - (wrong == "taps of the layer before")][t]
            mean = sum(streams[1:], streams[0]) / len(streams)
            other = {"first stream": streams[0], "last stream": streams[-1], "sum of streams": mean * len(streams)}
            tap += list(other.get(wrong, mean))
        x = op.linear(np.array(tap), tensors["mtp.0.main_proj.weight"])
        found.append(x if wrong == "main rows not normed" else naive.norm(c, x, tensors["mtp.0.main_norm.weight"]))
    return np.array(found)


def chain(tensors, last, base, h, anchor, wrong):       # the sequential stage, greedy
    w1, w2 = (np.float64(tensors[f"{last}markov_head.markov_{part}.weight"]) for part in ("w1", "w2"))
    confidence_w = tensors[f"{last}confidence_head.proj.weight"][0]
    logits, drafts, confidence, previous = [], [], [], anchor
    for k, row in enumerate(base):
        seen = {"markov on the anchor": anchor, "markov on the draft itself": int(np.argmax(row))}.get(wrong, previous)
        m = w1[seen]
        logits.append(row + (0 if wrong == "no markov" else w2 @ m))
        confidence.append(math.fsum([*np.float64(confidence_w) * [*h[k], *m]]))
        previous = int(np.argmax(logits[-1]))
        drafts.append(previous)
    return {"logits": np.array(logits), "drafts": np.array(drafts), "confidence": np.array(confidence)}


def block(c, w, x, inputs, at, main_x, wrong, stale):   # [G, M, D] -> the same after it, its rows [G, hd]
    mixed, rows = [], None
    u, post, comb = zip(*(mix(c, w, "attn", s) for s in x))
    y, rows = attention(c, naive.under(w, "attn."), np.array([naive.norm(c, a, w["attn_norm.weight"]) for a in u]), at, main_x,
                        wrong, stale)
    x = [op.hc_post(y[i], x[i], post[i], comb[i]) for i in range(len(x))]
    for i, s in enumerate(x):
        u, post, comb = mix(c, w, "ffn", s)
        y = naive.moe(c, naive.under(w, "ffn."), naive.norm(c, u, w["ffn_norm.weight"]), inputs[i], c.n_layers)
        mixed.append(op.hc_post(y, s, post, comb))
    return np.array(mixed), rows


def mix(c, w, part, streams):
    return op.hc_pre(streams, *(w[f"hc_{part}_{name}"] for name in ("fn", "base", "scale")), c.hc_sinkhorn_iters, c.hc_eps,
                     c.norm_eps)


def attention(c, w, x, at, main_x, wrong, stale):       # [G, D] -> [G, D], rows of the block [G, hd]
    freqs, n = naive.frequencies(c, 0), len(main_x)
    window = c.window_size - (wrong == "ring one row short")

    def row_of(u, position):
        return op.rope(naive.norm(c, op.linear(u, w["wkv.weight"]), w["kv_norm.weight"]),
                       at[0] if wrong == "all rows at one position" else position, freqs)
    ring = [] if wrong == "no ring" else [row_of(main_x[t], t) for t in range(max(0, n - window), n)]
    if wrong == "block rows kept" and stale is not None:
        ring += [row for row, position in stale if position >= n]
    own = [row_of(u, position) for u, position in zip(x, at)]
    out = []
    for i, u in enumerate(x):
        qr = naive.norm(c, op.linear(u, w["wq_a.weight"]), w["q_norm.weight"])
        q = op.linear(qr, w["wq_b.weight"]).reshape(c.n_heads, c.head_dim)
        seen, o = ring + (own[: i + 1] if wrong == "causal block" else own), []
        turn = at[0] if wrong == "all rows at one position" else at[i]
        for h in range(c.n_heads):
            asked = op.rope(op.rms_unit(q[h], c.norm_eps), turn, freqs)
            value, _ = op.attend_one(asked, seen, w["attn_sink"][h], c.head_dim**-0.5)
            o.append(op.rope(value, turn, freqs, inverse=True))
        groups, slices = np.concatenate(o).reshape(c.o_groups, -1), w["wo_a.weight"].reshape(c.o_groups, c.o_lora_rank, -1)
        out.append(op.linear(np.concatenate([op.linear(g, s) for g, s in zip(groups, slices)]), w["wo_b.weight"]))
    return np.array(out), own
