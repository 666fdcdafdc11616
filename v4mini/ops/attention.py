"""Attention over the last `window` rows, some compressed entries, and a sink: one softmax over all three.

Keys are values: one stored row serves as both, for all heads. Not here: projections, rotation (layers/attention.py).
"""

import numpy as np

TOKENS_AT_ONCE = 64             # bounds scratch memory, changes no number
WIDEST_PADDED = 512             # rows: a wider window is taken as wide as the rows there are, and costs nothing before they come


def window_starts(T, S, window):                        # -> [T] int
    """The row where each token's window begins, of S rows of which the last T are the tokens' own."""
    return np.maximum(np.arange(S - T + 1, S + 1) - window, 0)


def attention_weights(q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
    """How much each head of each token takes from where.

    q [T, H, hd]; rows [P + T, hd], the last T belong to the tokens themselves; first [T]: token t reads rows first[t] to P + t,
    of which there are `window` at most; sink [H]; entries [N, hd] with either picks [T, K] (-1: nothing) or visible [T] (the
    first so many). -> window [T, H, W], entries [T, H, K or N], sink [T, H]; together they sum to 1. Slot j of the window is
    the row of W - 1 - j tokens ago.
    Source: V4 report 2.3; reference inference/kernel.py, sparse_attn.
    """
    T, H, _ = q.shape
    near, is_row = _window_view(rows, first, window)
    logits = [np.where(is_row[:, None, :], np.matmul(q, near) * scale, -np.inf)]                   # [T, H, W]
    if entries is not None and picks is not None:
        there = np.matmul(q, _picked(entries, picks).swapaxes(1, 2)) * scale                       # [T, H, K]: a real gather
        logits.append(np.where((picks >= 0)[:, None, :], there, -np.inf))
    elif entries is not None:
        there = (q.reshape(T * H, -1) @ entries[:].T).reshape(T, H, -1) * scale                       # [T, H, N]
        logits.append(np.where((np.arange(len(entries)) < visible[:, None])[:, None, :], there, -np.inf))
    # the reference leaves the sink out of the maximum, which overflows where the sink is 90 above all logits
    highest = np.maximum(sink[:, None], np.max([part.max(axis=2, initial=-np.inf, keepdims=True) for part in logits], axis=0))
    parts = [np.exp(part - highest) for part in logits]
    nothing = np.exp(sink[None, :, None] - highest)                                                # [T, H, 1]
    total = nothing + sum(part.sum(axis=2, keepdims=True) for part in parts)
    parts = [part / total for part in parts]
    return parts[0], parts[1] if len(parts) > 1 else np.zeros((T, H, 0), q.dtype), (nothing / total)[..., 0]


def attend(q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):       # -> [T, H, hd]
    """The rows and entries, weighed as attention_weights says. The sink takes weight and gives nothing.

    What a token may not read does not reach it, NaN and infinities included: it is left out, as 0 times NaN would not be 0.
    """
    P = len(rows) - len(q)
    outs = []
    for start in range(0, len(q), TOKENS_AT_ONCE):
        stop = min(start + TOKENS_AT_ONCE, len(q))
        lowest = max(0, P + start - window + 1)
        near = rows[lowest: P + stop]
        begins = first[start:stop] - lowest
        chosen, seen = (None if a is None else a[start:stop] for a in (picks, visible))
        far = entries if seen is None or entries is None else entries[: seen.max()]
        width = min(window, max(len(near), WIDEST_PADDED))
        on_near, on_far, _ = attention_weights(q[start:stop], near, begins, sink, width, scale, far, chosen, seen)
        view, _ = _window_view(near, begins, width)
        out = np.matmul(on_near, view.swapaxes(1, 2))
        if chosen is not None:
            out += np.matmul(on_far, _picked(far, chosen))
        elif far is not None:
            _add_visible(out, on_far, far, seen)
        outs.append(out)
    return np.concatenate(outs) if outs else np.empty_like(q)


def _picked(entries, picks):                            # [N, hd], [T, K] -> [T, K, hd], zeros where nothing is picked
    rows = entries[picks]
    rows[picks < 0] = 0
    return rows


def _add_visible(out, weights, entries, visible):       # [T, H, hd] grows, [T, H, N], [N, hd], [T]
    for seen in np.unique(visible):                     # few: neighbours see as many
        tokens = visible == seen
        out[tokens] += np.matmul(weights[tokens][:, :, :seen], entries[:seen])


def _window_view(rows, first, window):                  # [P + T, hd], [T] -> view [T, hd, W], is_row [T, W]
    T = len(first)
    index = len(rows) - T + np.arange(T)[:, None] - window + 1 + np.arange(window)      # the last is a token's own row
    is_row = index >= np.maximum(first, 0)[:, None]
    missing = max(0, window - 1 - (len(rows) - T))                                      # before the first row
    if missing:
        rows = np.concatenate([np.zeros((missing, rows.shape[1]), rows.dtype), rows])
    rows = rows[len(rows) - T - window + 1:]
    view = np.lib.stride_tricks.sliding_window_view(rows, window, axis=0)
    if (~is_row & (index >= 0)).any():                                                  # rows before `first` lie in the view
        view = np.where(is_row[:, None, :], view, np.float32(0))
    return view, is_row
