"""Inputs and NumPy answers of the operations that torch_npu's fused ops can run, at a tiny size and at Flash's.

Not here: the calls (accel/fused.py), whoever runs them (schemas.py on shapes alone, device.py on an NPU).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from accel.tiles import FUSED
from v4mini.config import Config
from v4mini.ops import attention, experts, norm
from v4mini.ops import rope as rotation


class FusedCase(NamedTuple):
    """Arrays by name; call(functions of accel/fused.py, the same as tensors) -> [tensor]; right() -> [array]."""

    arrays: dict
    call: Callable
    right: Callable


def _sizes(size):
    return {"tiny": Config.tiny(), "flash": Config.flash()}[size]


def _rms_norm(rng, size):
    c = _sizes(size)
    x, weight = rng.standard_normal((5, c.dim), np.float32), rng.standard_normal(c.dim, np.float32)
    return FusedCase({"x": x, "weight": weight}, lambda f, x, weight: [f.rms_norm(x, weight, c.norm_eps)],
                     lambda: [norm.rms_norm(x, weight, c.norm_eps)])


def _rope(rng, size):                                   # queries there and back; keys, which have no heads
    c, T = _sizes(size), 3
    x, key = rng.standard_normal((T, c.n_heads, c.head_dim), np.float32), rng.standard_normal((T, c.head_dim), np.float32)
    positions, freqs = np.arange(1000, 1000 + T), rotation.frequencies(c.rope_head_dim, c.rope_theta)
    angles = positions.astype(np.float32)[:, None] * freqs
    return FusedCase({"x": x, "key": key, "angles": angles},
                     lambda f, x, key, angles: [f.rope(x, angles, False), f.rope(x, angles, True), f.rope(key, angles, False)],
                     lambda: [rotation.rope(x, positions, freqs), rotation.rope(x, positions, freqs, inverse=True),
                              rotation.rope(key, positions, freqs)])


def _expert(rng, size):                                 # with a limit and without
    c = _sizes(size)
    gate, up = (3 * rng.standard_normal((4, c.moe_inter_dim), np.float32) for _ in range(2))
    return FusedCase({"gate": gate, "up": up}, lambda f, gate, up: [f.swiglu(gate, up, 2.0), f.swiglu(gate, up, 0.0)],
                     lambda: [experts.swiglu(gate, up, 2.0), experts.swiglu(gate, up, 0.0)])


def _attend(rng, size):                                 # window alone, picks, heavy entries
    c, T, P, N = {"tiny": (Config.tiny(), 5, 13, 70), "flash": (Config.flash(), 2, 127, 600)}[size]
    heads, D, W, scale, K = c.n_heads, c.head_dim, c.window_size, c.head_dim**-0.5, min(37, N)
    q, rows, entries, sink = (rng.standard_normal(shape, np.float32) for shape in ((T, heads, D), (P + T, D), (N, D), (heads,)))
    picks = np.sort(np.stack([rng.permutation(N)[:K] for _ in range(T)]), 1)
    picks[:, -9:], picks[0] = -1, -1
    visible, first = np.array([N, 0, 1, N // 2, 33][:T]), attention.window_starts(T, P + T, W)
    arrays = {"q": q, "rows": rows, "entries": entries, "sink": sink, "picks": picks, "visible": visible, "first": first}

    def call(f, q, rows, entries, sink, picks, visible, first):
        given = q, rows, first, sink, W, scale
        return [f.attend(*given), f.attend(*given, entries, picks=picks), f.attend(*given, entries, visible=visible)]

    def right():
        given = q, rows, first, sink, W, scale
        return [attention.attend(*given), attention.attend(*given, entries, picks=picks),
                attention.attend(*given, entries, visible=visible)]
    return FusedCase(arrays, call, right)


MAKERS = {"rms_norm": _rms_norm, "rope": _rope, "expert": _expert, "attend": _attend}
assert list(MAKERS) == list(FUSED)


def case_for(name, size, seed=0):                       # "rope", "flash" -> FusedCase
    """The same numbers each time."""
    return MAKERS[name](np.random.default_rng(seed), size)
