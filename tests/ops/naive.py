"""Each op once more, as plainly as it can be said: float64, one token at a time, straight from the equations.

Written from the reference (inference/model.py) and the V4 report, not from v4mini/ops; shares no code with it. Slow on purpose.
"""

import math

import numpy as np


def linear(x, weight):                                  # [in], [out, in] -> [out]
    return np.asarray(weight, np.float64) @ np.asarray(x, np.float64)


def rms_unit(row, eps):                                 # [D] -> [D]
    mean_square = sum(float(a) ** 2 for a in row) / len(row)
    return np.array([float(a) / math.sqrt(mean_square + eps) for a in row])


def frequency(i, rd, base, original=0, factor=1, fast=32, slow=1):      # -> radians per token of pair i
    """theta^(-2i/rd), slowed by YaRN where `original` is not 0."""
    f = base ** (-2 * i / rd)
    if not original:
        return f
    lo = math.floor(rd * math.log(original / (2 * math.pi * fast)) / (2 * math.log(base)))
    hi = math.ceil(rd * math.log(original / (2 * math.pi * slow)) / (2 * math.log(base)))
    lo, hi = max(lo, 0), min(hi, rd - 1)
    along = (i - lo) / ((hi - lo) or 0.001)
    g = 1 - min(max(along, 0), 1)
    return f / factor * (1 - g) + f * g


def rope(row, position, freqs, inverse=False):          # [hd] -> [hd]
    """Neighbours as complex numbers, each times e^(i p f); only the last 2 len(freqs) numbers."""
    out, first = np.array(row, np.float64), len(row) - 2 * len(freqs)
    for i, f in enumerate(freqs):
        a, b = first + 2 * i, first + 2 * i + 1
        angle = float(position) * float(f) * (-1 if inverse else 1)
        z = complex(row[a], row[b]) * complex(math.cos(angle), math.sin(angle))
        out[a], out[b] = z.real, z.imag
    return out


def softmax(logits, sink=None):                         # -> probabilities; with a sink, its own comes last
    most = max(logits)
    powers = [math.exp(z - most) for z in logits]
    if sink is not None:
        # never inf: beyond e^700 everything but the sink is nothing
        powers.append(math.exp(min(float(sink) - most, 700)))
    return np.array(powers) / sum(powers)


def attend_one(q, keys, sink, scale):                   # [hd], [[hd], ...], number -> [hd], weights + sink's
    """One head of one token over the rows it may read; keys are values. The sink takes weight and gives nothing."""
    weights = softmax([scale * float(np.dot(np.float64(q), np.float64(k))) for k in keys], sink)
    return sum(w * np.float64(k) for w, k in zip(weights, keys)), weights


def attend(q, rows, sink, window, scale, entries=None, allowed=None):   # [T, H, hd], [P + T, hd] -> [T, H, hd]
    """`allowed[t]` lists the entries that token t may read."""
    T, H, hd = q.shape
    past, out = len(rows) - T, np.zeros((T, H, hd))
    for t in range(T):
        here = past + t
        keys = [rows[s] for s in range(max(0, here - window + 1), here + 1)]
        keys += [entries[e] for e in allowed[t]] if entries is not None else []
        for h in range(H):
            out[t, h], _ = attend_one(q[t, h], keys, sink[h], scale)
    return out


def visible(position, ratio):                           # -> how many entries, by counting blocks that have ended
    return sum(1 for block in range(position + 1) if (block + 1) * ratio - 1 <= position)


def pool(slots):                                        # [(kv [D], score [D]), ...] -> [D], each channel its own softmax
    kv, score = (np.array([slot[i] for slot in slots], np.float64) for i in (0, 1))
    return np.array([float(np.dot(softmax(list(score[:, d])), kv[:, d])) for d in range(kv.shape[1])])


def compress(kv, score, ratio, overlap, previous=None):     # [n * ratio, C] twice -> [n, D]
    """Block i of CSA: the first half of the columns of block i - 1, the second half of those of block i."""
    out, D = [], kv.shape[1] // (2 if overlap else 1)
    for i in range(len(kv) // ratio):
        own = range(i * ratio, (i + 1) * ratio)
        if not overlap:
            out.append(pool([(kv[t], score[t]) for t in own]))
            continue
        if i > 0:
            before = [(kv[t - ratio, :D], score[t - ratio, :D]) for t in own]
        elif previous is not None:
            before = [(previous[0][t, :D], previous[1][t, :D]) for t in range(ratio)]
        else:
            before = []                                 # block -1 is absent
        out.append(pool(before + [(kv[t, D:], score[t, D:]) for t in own]))
    return np.array(out).reshape(-1, D)


def index_score(q, key, weights):                       # [Hi, di], [di], [Hi] -> number
    return sum(float(w) * max(float(np.dot(np.float64(h), np.float64(key))), 0.0) for w, h in zip(weights, q))


def best_entries(scores, visible, k):                   # -> the k best of the first `visible`, ties to the earlier
    return sorted(sorted(range(visible), key=lambda e: (-scores[e], e))[:k])


def affinity(z):
    return math.sqrt(z + math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z)))


def route(scores, bias, k, route_scale, table=None):    # [E] -> [(expert, weight)], best first
    a = [affinity(float(z)) for z in scores]
    chosen = list(table) if table is not None else sorted(range(len(a)), key=lambda e: (-(a[e] + float(bias[e])), e))[:k]
    total = sum(a[e] for e in chosen)
    return [(int(e), a[e] / total * route_scale) for e in chosen]


def silu(g):
    return g / (1 + math.exp(-g)) if g > -700 else 0.0


def swiglu(gate, up, limit):
    """gate = min(gate, limit), one-sided; up = clip(up, -limit, limit), two-sided; limit 0: neither."""
    if limit:
        gate, up = min(gate, limit), min(max(up, -limit), limit)
    return silu(gate) * up


def expert(x, w1, w2, w3, limit, weight=1.0):           # [D] -> [D]
    hidden = [swiglu(float(g), float(u), limit) * weight for g, u in zip(linear(x, w1), linear(x, w3))]
    return linear(hidden, w2)


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def sinkhorn(logits, iters, eps):                       # [M, M] -> [M, M]
    C = np.array([softmax([float(z) for z in row]) for row in logits]) + eps
    for n in range(iters):
        if n > 0:                                       # the softmax was the first step over rows
            C = np.array([row / (sum(row) + eps) for row in C])
        C = np.array([column / (sum(column) + eps) for column in C.T]).T
    return C


def mix(streams, fn, norm_eps):                         # [M, D], [n, M D] -> [n]
    v = [float(a) for stream in streams for a in stream]
    rho = 1 / math.sqrt(sum(a * a for a in v) / len(v) + norm_eps)
    return linear(v, fn) * rho


def hc_pre(streams, fn, base, scale, iters, eps, norm_eps):     # [M, D] -> u [D], post [M], comb [M, M]
    M, m = len(streams), mix(streams, fn, norm_eps)
    pre = [sigmoid(scale[0] * m[j] + base[j]) + eps for j in range(M)]
    post = [2 * sigmoid(scale[1] * m[M + j] + base[M + j]) for j in range(M)]
    A = [[scale[2] * m[2 * M + M * j + k] + base[2 * M + M * j + k] for k in range(M)] for j in range(M)]
    return sum(p * np.float64(x) for p, x in zip(pre, streams)), np.array(post), sinkhorn(A, iters, eps)


def hc_post(y, streams, post, comb):                    # [D], [M, D], [M], [M, M] -> [M, D]
    M = len(streams)
    return np.array([post[k] * y + sum(comb[j, k] * np.float64(streams[j]) for j in range(M)) for k in range(M)])


def hc_head(streams, fn, base, scale, eps, norm_eps):   # [M, D] -> [D]
    m = mix(streams, fn, norm_eps)
    return sum((sigmoid(m[j] * scale[0] + base[j]) + eps) * np.float64(x) for j, x in enumerate(streams))
