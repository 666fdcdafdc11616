"""Window, sink and ring as pictures. Not here: who may read whom (ops/attention.py)."""

import numpy as np

from v4mini.viz.style import BLUE, INK, MARKS, ORANGE, PAPER, QUIET, RED, SKY

NOTHING, SUMMARY, WINDOW, UNSEEN = range(4)             # how a token sees another: draw_sight
SIGHTS = ((PAPER, "", "later: not to be seen"), (SKY, "", "inside a summary"), (BLUE, "", "its own row, in the window"),
          (ORANGE, "x", "crossed: no way to see it"))


def draw_mask(ax, mask):                                # bool [T, T]
    """Filled: the token of this line may read the token of this column. Each line says how many it may read."""
    T = len(mask)
    for t, s in np.ndindex(T, T):
        ax.add_patch(_square(s, t, BLUE if mask[t, s] else PAPER))
    for t in range(T):
        ax.text(T + 0.1, t + 0.5, f"{mask[t].sum()}", va="center", color=INK, fontsize=9)
    ax.text(T + 0.1, -0.35, "rows", color=QUIET, fontsize=9)
    _square_axes(ax, T, "token that is read", "token that reads")


def draw_sight(ax, sight):                              # int [T, T], of NOTHING, SUMMARY, WINDOW, UNSEEN
    """How each token sees each other one; the squares that no way leads to carry a cross, for readers without colours."""
    T = len(sight)
    for t, s in np.ndindex(T, T):
        color, mark, _ = SIGHTS[sight[t, s]]
        ax.add_patch(_square(s, t, color))
        if mark:
            ax.plot(s + 0.5, t + 0.5, marker=mark, color=INK, markersize=4, ls="")
    _square_axes(ax, T, "token that is read", "token that reads")


def sight_legend(figure):
    """The meaning of draw_sight's colours, below the whole figure."""
    from matplotlib.patches import Patch

    meanings = [Patch(fc=color, ec=QUIET, label=text) for color, _, text in SIGHTS]
    figure.legend(handles=meanings, loc="outside lower center", ncols=4)


def draw_weights(ax, weights):                          # [T, T], 0 where nothing may be read
    """How much each token takes of each other one; the colours are logarithmic, nothing is white."""
    from matplotlib.colors import LogNorm

    shown = np.ma.masked_equal(weights, 0)
    image = ax.imshow(shown, norm=LogNorm(vmin=max(shown.min(), 1e-4), vmax=1), interpolation="nearest")
    ax.grid(False)
    ax.set(xlabel="token that is read", ylabel="token that reads")
    ax.figure.colorbar(image, ax=ax, label="weight", shrink=0.9)


def draw_shares(ax, x, curves, xlabel, ylabel):         # [n], {name: [n] between 0 and 1}
    """Shares in percent, one line per name."""
    for (name, values), mark in zip(curves.items(), MARKS):
        ax.plot(x, 100 * np.asarray(values), label=name, marker=mark, markevery=0.12)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(-4, 104))
    ax.legend()


def draw_ring(ax, contents):                            # int [n, W]: after each of n tokens, the position in each slot
    """One line per token that came: what lies in each slot (-1: nothing). Filled: just written; dashed: the oldest."""
    n, W = contents.shape
    for line, slots in enumerate(contents):
        newest, full = int(np.argmax(slots)), slots.min() >= 0
        for slot, position in enumerate(slots):
            new, old = slot == newest, full and slot == int(np.argmin(slots))
            ax.add_patch(_square(slot, line, BLUE if new else PAPER, ec=RED if old else QUIET, ls="--" if old else "-",
                                 lw=1.8 if old else 0.8, inset=0.06))
            text = "" if position < 0 else str(position)
            ax.text(slot + 0.5, line + 0.5, text, ha="center", va="center", color=PAPER if new else INK, fontsize=9.5)
    ax.set(xlim=(0, W), ylim=(n, 0), xticks=np.arange(W) + 0.5, yticks=np.arange(n) + 0.5, xlabel="slot",
           ylabel="tokens so far")
    ax.set_xticklabels(range(W))
    ax.set_yticklabels(range(1, n + 1))
    ax.grid(False)


def _square(x, y, color, ec=QUIET, lw=0.5, ls="-", inset=0.0):
    from matplotlib.patches import Rectangle

    return Rectangle((x + inset, y + inset), 1 - 2 * inset, 1 - 2 * inset, fc=color, ec=ec, lw=lw, ls=ls)


def _square_axes(ax, T, xlabel, ylabel):
    step = 1 if T <= 16 else 4
    ax.set(xlim=(0, T), ylim=(T, 0), aspect="equal", xticks=np.arange(0, T, step) + 0.5, yticks=np.arange(0, T, step) + 0.5,
           xlabel=xlabel, ylabel=ylabel)
    ax.set_xticklabels(range(0, T, step))
    ax.set_yticklabels(range(0, T, step))
    ax.grid(False)
