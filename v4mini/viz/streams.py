"""Hyper-connections drawn: a unit's reading, writing and mixing, Sinkhorn's film, gain over depth, the numbers of all units.

Not here: computing any of it (ops/mix.py).
"""

import numpy as np

from v4mini.viz.style import BLUE, GREEN, INK, PAPER, QUIET, RED

WIDEST = 9.0                # points: a line of weight 1
AREA = 105.0                 # square points: a square of value 1


def draw_read_write(ax, pre, post, name="sub-layer"):
    """Streams to the box, the box to the streams: a line is as wide as its number. pre, post: [M]."""
    M = len(pre)
    for j in range(M):
        y = M - 1 - j
        _line(ax, (0.1, y), (0.48, (M - 1) / 2), pre[j], BLUE)
        _line(ax, (0.52, (M - 1) / 2), (0.9, y), post[j], RED)
        _number(ax, 0.17, y + ((M - 1) / 2 - y) * 0.25, pre[j], BLUE)
        _number(ax, 0.83, y + ((M - 1) / 2 - y) * 0.25, post[j], RED)
    ax.text(0.5, (M - 1) / 2, name, ha="center", va="center", color=PAPER, zorder=4,
            bbox={"boxstyle": "round,pad=0.7", "fc": INK, "ec": INK})
    ax.text(0.22, M - 0.6, "pre: how much is read", ha="center", color=BLUE)
    ax.text(0.78, M - 0.6, "post: how much is written", ha="center", color=RED)
    _streams(ax, M)


def draw_mix(ax, comb, labels=True):
    """Stream j on the left to stream k on the right: a line is as wide as comb[j, k]. comb: [M, M]."""
    M = len(comb)
    for j, k in np.ndindex(M, M):
        if comb[j, k] > 0.005:
            start, end = np.array((0.1, M - 1.0 - j)), np.array((0.9, M - 1.0 - k))
            _line(ax, start, end, comb[j, k], GREEN)
            if labels:
                _number(ax, *(start + 0.22 * (end - start)), comb[j, k], GREEN)
    ax.text(0.5, M - 0.6, "comb: stream j mixes into stream k", ha="center", color=GREEN)
    _streams(ax, M)


def draw_film(axes, matrices, titles):
    """One small matrix per picture, its numbers in the cells, its sums beside and below, bold where they are not 1."""
    for ax, matrix, title in zip(axes, matrices, titles, strict=True):
        M = len(matrix)
        top = max(1.0, float(matrix.max()))
        ax.imshow(matrix, vmin=0, vmax=top, cmap="Blues", aspect="equal")
        for j, k in np.ndindex(M, M):
            ax.text(k, j, f"{matrix[j, k]:.2f}", ha="center", va="center", fontsize=8,
                    color=PAPER if matrix[j, k] > 0.6 * top else INK)
        for at, (row, column) in enumerate(zip(matrix.sum(axis=1), matrix.sum(axis=0))):
            _sum(ax, M - 0.35, at, row, "left")
            _sum(ax, at, M - 0.1, column, "center")
        ax.set(xticks=[], yticks=[], xlim=(-0.5, M + 0.45), ylim=(M + 0.2, -0.5))
        ax.set_title(title, fontsize=9.5, loc="center")
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)


def draw_errors(ax, series, floor=None):
    """series: {name: [n, rounds]}, the error of n matrices after each round: median as a line, a band from 5% to 95%."""
    for name, errors in series.items():
        rounds = np.arange(1, errors.shape[1] + 1)
        (line,) = ax.plot(rounds, np.median(errors, axis=0), label=name, markevery=2)
        low, high = np.quantile(errors, (0.05, 0.95), axis=0)
        ax.fill_between(rounds, low, high, color=line.get_color(), alpha=0.15, lw=0)
    if floor is not None:
        ax.axhline(floor, color=QUIET, ls=":", lw=1.2)
        ax.text(1, floor * 1.25, "eps: no row can come nearer", color=QUIET, fontsize=9, va="bottom")
    ax.set(yscale="log", xlabel="rounds (a row step and a column step each)", ylabel="how far a row sum is from 1",
           xticks=range(0, errors.shape[1] + 1, 5), xlim=(0.5, errors.shape[1] + 0.5))
    ax.legend(title="logits of size", loc="lower left", bbox_to_anchor=(0, 0.12))


def draw_gain(ax, series):
    """series: {name: [L]}, the gain of the first 1, 2, ... L mixing matrices together; a logarithmic axis."""
    for place, (name, gains) in enumerate(series.items()):
        ax.plot(np.arange(1, len(gains) + 1), gains, label=name, markevery=(2 * place, max(1, len(gains) // 7)))
    ax.axhline(1, color=QUIET, lw=1, zorder=0)
    ax.set(yscale="log", xlabel="mixings passed", ylabel="gain: largest factor on a stream")
    ax.legend()


def draw_share(ax, share, label="stream {}"):
    """share: [L + 1, M], how much of one stream's first content each stream holds; the mean of all as a dashed line."""
    for k in range(share.shape[1]):
        ax.plot(share[:, k], label=label.format(k), markevery=(3 * k, max(1, len(share) // 5)))
    ax.plot(share.mean(axis=1), color=INK, ls="--", marker="", lw=1.4, label="mean of all")
    ax.set(xlabel="mixings passed", ylabel="share of stream 0's first content", ylim=(-0.03, 1.05))
    ax.legend()


def draw_units(ax, pre, post, comb, names):
    """All numbers of one token as squares, a column per unit: a square's area is its number. [U, M] twice, [U, M, M]."""
    U, M = pre.shape
    rows = np.concatenate([pre, post, comb.reshape(U, M * M)], axis=1).T
    heights = -np.arange(len(rows)) - np.repeat((0, 0.8, 1.6), (M, M, M * M))       # a gap between the three kinds
    colors = [BLUE] * M + [RED] * M + [GREEN] * M * M
    for values, height, color in zip(rows, heights, colors):
        ax.scatter(range(U), [height] * U, s=AREA * values, marker="s", color=color, lw=0)
    for size, value in enumerate((0.1, 0.5, 1, 2)):
        ax.scatter(U + 0.6, heights[2 * size], s=AREA * value, marker="s", color=INK, lw=0)
        ax.text(U + 1.1, heights[2 * size], f"{value:g}", va="center")
    labels = [f"pre {j}" for j in range(M)] + [f"post {k}" for k in range(M)] + [f"comb {j}{k}" for j, k in np.ndindex(M, M)]
    ax.set_xticks(range(U), names)
    ax.set_yticks(heights, labels, fontsize=8, family="monospace")
    ax.set(xlabel="unit: the layer, and a for attention or e for experts", ylabel="which number", xlim=(-0.7, U + 1.9),
           ylim=(heights[-1] - 0.8, 0.8))


def _streams(ax, M):
    for x, side in ((0.1, "before"), (0.9, "after")):
        for j in range(M):
            ax.plot(x, M - 1 - j, "o", color=PAPER, mec=INK, mew=1.6, ms=19, zorder=5)
            ax.text(x, M - 1 - j, str(j), ha="center", va="center", zorder=6)
        ax.text(x, -0.75, f"streams\n{side}", ha="center", va="center", color=QUIET)
    ax.set(xlim=(0, 1), ylim=(-1.1, M - 0.2))
    ax.axis("off")


def _line(ax, start, end, weight, color):
    ax.plot(*zip(start, end), color=color, lw=max(0.4, WIDEST * weight), ls="-", marker="", alpha=0.45, solid_capstyle="butt")


def _number(ax, x, y, value, color):
    ax.text(x, y, f"{value:.2g}", ha="center", va="center", fontsize=9, color=color, zorder=7,
            bbox={"boxstyle": "round,pad=0.15", "fc": PAPER, "ec": "none"})


def _sum(ax, x, y, value, align):
    is_one = abs(value - 1) < 0.005
    ax.text(x, y, f"{value:.2f}" if value < 10 else f"{value:.1f}", ha=align, va="center", fontsize=8,
            color=QUIET if is_one else RED, weight="normal" if is_one else "bold")
