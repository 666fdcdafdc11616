"""A whole V4 in float64, one token at a time: the equations of the reference over tensors under released names.

Shares nothing with v4mini but the names of a config's fields. It keeps no cache: every token looks at all streams before it.
"""

import numpy as np
from ops import naive as op


def logits(config, tensors, ids):                       # -> [T, V], {layer: [T, M, D]}
    streams, after = main_streams(config, tensors, ids)
    return np.array([head(config, tensors, "", x) for x in streams]), after


def mtp_logits(config, tensors, ids):                   # -> [T - 1, V]: row t sees h_t and token t + 1, predicts t + 2
    c, streams = config, main_streams(config, tensors, ids)[0]
    x = []
    for t in range(len(ids) - 1):
        e = norm(c, tensors["embed.weight"][ids[t + 1]], tensors["mtp.0.enorm.weight"])
        e = op.linear(e, tensors["mtp.0.e_proj.weight"])
        x.append([e + op.linear(norm(c, h, tensors["mtp.0.hnorm.weight"]), tensors["mtp.0.h_proj.weight"]) for h in streams[t]])
    x = block(c, under(tensors, "mtp.0."), ids[1:], np.array(x), ratio=0, layer=c.n_layers)
    return np.array([head(c, tensors, "mtp.0.", streams) for streams in x])


def main_streams(config, tensors, ids):                 # -> [T, M, D], {layer: the same after it}
    c, after = config, {}
    x = np.array([[np.float64(tensors["embed.weight"][i])] * c.hc_mult for i in ids])
    for layer in range(c.n_layers):
        x = after[layer] = block(c, under(tensors, f"layers.{layer}."), ids, x, c.compress_ratios[layer], layer)
    return x, after


def head(config, tensors, prefix, streams):
    c = config
    fn, base, scale = (tensors[f"{prefix}hc_head_{part}"] for part in ("fn", "base", "scale"))
    h = op.hc_head(streams, fn, base, scale, c.hc_eps, c.norm_eps)
    return op.linear(norm(c, h, tensors[f"{prefix}norm.weight"]), tensors["head.weight"])


def norm(config, x, weight):
    return op.rms_unit(x, config.norm_eps) * np.float64(weight)


def under(tensors, prefix):
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def block(c, w, ids, x, ratio, layer):                  # [T, M, D] -> [T, M, D]
    def around(x, part, sublayer):
        mixes = [op.hc_pre(s, *(w[f"hc_{part}_{name}"] for name in ("fn", "base", "scale")),
                           c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps) for s in x]
        y = sublayer(np.array([norm(c, u, w[f"{part}_norm.weight"]) for u, _, _ in mixes]))
        return np.array([op.hc_post(y[t], x[t], post, comb) for t, (_, post, comb) in enumerate(mixes)])

    x = around(x, "attn", lambda u: attention(c, under(w, "attn."), u, ratio))
    return around(x, "ffn", lambda u: np.array([moe(c, under(w, "ffn."), u[t], ids[t], layer) for t in range(len(ids))]))


def attention(c, w, x, ratio):                          # [T, D] -> [T, D]
    freqs = frequencies(c, ratio)
    kv = [op.rope(norm(c, op.linear(u, w["wkv.weight"]), w["kv_norm.weight"]), t, freqs) for t, u in enumerate(x)]
    entries = compressor(c, under(w, "compressor."), x, ratio, freqs) if ratio else []
    keys = compressor(c, under(w, "indexer.compressor."), x, ratio, freqs) if ratio == 4 else []
    out = []
    for t, u in enumerate(x):
        qr = norm(c, op.linear(u, w["wq_a.weight"]), w["q_norm.weight"])
        q = op.linear(qr, w["wq_b.weight"]).reshape(c.n_heads, c.head_dim)
        seen = op.visible(t, ratio) if ratio else 0
        picks = pick(c, under(w, "indexer."), u, qr, t, freqs, keys, seen) if ratio == 4 else range(seen)
        rows = kv[max(0, t - c.window_size + 1): t + 1] + [entries[e] for e in picks]
        o = []
        for h in range(c.n_heads):
            query = op.rope(op.rms_unit(q[h], c.norm_eps), t, freqs)
            value, _ = op.attend_one(query, rows, w["attn_sink"][h], c.head_dim**-0.5)
            o.append(op.rope(value, t, freqs, inverse=True))
        groups, slices = np.concatenate(o).reshape(c.o_groups, -1), w["wo_a.weight"].reshape(c.o_groups, c.o_lora_rank, -1)
        out.append(op.linear(np.concatenate([op.linear(g, s) for g, s in zip(groups, slices)]), w["wo_b.weight"]))
    return np.array(out)


def frequencies(c, ratio):
    i = range(c.rope_head_dim // 2)
    if ratio == 0:
        return [op.frequency(n, c.rope_head_dim, c.rope_theta) for n in i]
    return [op.frequency(n, c.rope_head_dim, c.compress_rope_theta, c.original_seq_len, c.rope_factor, c.beta_fast, c.beta_slow)
            for n in i]


def compressor(c, w, x, ratio, freqs):                  # -> [entries of all blocks that ended]
    whole = len(x) // ratio * ratio
    kv = np.array([op.linear(u, w["wkv.weight"]) for u in x[:whole]])
    score = np.array([op.linear(u, w["wgate.weight"]) + w["ape"][t % ratio] for t, u in enumerate(x[:whole])])
    if not whole:
        return []
    return [op.rope(norm(c, row, w["norm.weight"]), i * ratio, freqs)
            for i, row in enumerate(op.compress(kv, score, ratio, overlap=ratio == 4))]


def pick(c, w, u, qr, t, freqs, keys, seen):            # -> entries that token t reads
    q = op.linear(qr, w["wq_b.weight"]).reshape(c.index_n_heads, c.index_head_dim)
    q = [op.rope(head, t, freqs) for head in q]
    weights = op.linear(u, w["weights_proj.weight"]) * c.index_head_dim**-0.5 * c.index_n_heads**-0.5
    return op.best_entries([op.index_score(q, key, weights) for key in keys], seen, c.index_topk)


def moe(c, w, u, token, layer):                         # [D] -> [D]
    scores = op.linear(u, w["gate.weight"])
    if layer < c.n_hash_layers:
        chosen = op.route(scores, None, c.n_activated_experts, c.route_scale, table=w["gate.tid2eid"][token])
    else:
        chosen = op.route(scores, w["gate.bias"], c.n_activated_experts, c.route_scale)
    def run(name, weight):
        return op.expert(u, *(w[f"{name}.{part}.weight"] for part in ("w1", "w2", "w3")), c.swiglu_limit, weight)
    return sum(run(f"experts.{e}", weight) for e, weight in chosen) + run("shared_experts", 1.0)
