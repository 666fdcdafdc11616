"""Rotary positions: neighbours (2i, 2i+1) of the last `rd` numbers turn by position * frequency_i.

Pairs are neighbours, not halves as in Hugging Face's Llama: halves load fine and answer nonsense.
Not here: which layer uses which base (layers/attention.py).
"""

from functools import cache

import numpy as np


@cache                                                  # a few short arrays, asked for by every layer at every token
def frequencies(rd, theta, original_seq_len=0, factor=1.0, beta_fast=32.0, beta_slow=1.0):      # -> float32 [rd / 2]
    """Radians per token for each pair; with original_seq_len > 0 stretched by YaRN.

    YaRN leaves pairs that turn more than beta_fast times within original_seq_len alone, slows those that turn
    less than beta_slow times by `factor`, and blends between. V4 has no attention temperature.
    Source: arXiv:2309.00071; reference inference/model.py, precompute_freqs_cis.
    """
    steps = np.arange(0, rd, 2, dtype=np.float32) / np.float32(rd)
    f = np.float32(1.0) / np.power(np.float32(theta), steps)                            # [rd / 2]
    if original_seq_len == 0:
        return _shared(f)
    low, high = (rd * np.log(original_seq_len / (turns * 2 * np.pi)) / (2 * np.log(theta)) for turns in (beta_fast, beta_slow))
    low, high = max(np.floor(low), 0), min(np.ceil(high), rd - 1)
    span = max(high - low, 0.001)
    ramp = np.clip((np.arange(rd // 2, dtype=np.float32) - np.float32(low)) / np.float32(span), 0, 1)
    kept = np.float32(1.0) - ramp                                                       # 1: as it was, 0: slowed
    return _shared(f / np.float32(factor) * (np.float32(1.0) - kept) + f * kept)


def _shared(array):                                     # nobody may write into what others were given too
    array.flags.writeable = False
    return array


def rope(x, positions, freqs, inverse=False):           # [T, ..., hd], [T] int, [rd / 2] -> [T, ..., hd]
    """Turn the last 2 * len(freqs) numbers of each row by its position; `inverse` turns back.

    Angles are float32 products, as in the reference: at position 10^6 that alone is worth 0.03 radians of agreement.
    Source: arXiv:2104.09864; reference inference/model.py, apply_rotary_emb.
    """
    angles = np.asarray(positions, dtype=np.float32)[:, None] * freqs                   # [T, rd / 2]
    angles = angles.reshape(len(angles), *[1] * (x.ndim - 2), len(freqs))               # [T, ..., rd / 2]
    cos = np.cos(angles)
    sin = -np.sin(angles) if inverse else np.sin(angles)
    out = x.copy()
    pairs, turned = (a[..., -2 * len(freqs):] for a in (x, out))
    even, odd = pairs[..., 0::2], pairs[..., 1::2]
    turned[..., 0::2] = even * cos - odd * sin
    turned[..., 1::2] = even * sin + odd * cos
    return out
