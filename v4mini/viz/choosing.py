"""Choosing what to read: windows that overlap, scores and picks, and how much of attention the picks hold.

Not here: scoring (ops/index.py), how cost grows (compression.draw_growth).
"""

import numpy as np

from v4mini.viz.style import BLUE, DASHES, INK, MARKS, ORANGE, PAPER, QUIET


def draw_windows(ax, first, second):                    # [entries, tokens] of 0 and 1, twice
    """A row an entry: which tokens it pools by their first columns (striped) and which by their second (plain)."""
    from matplotlib.patches import Patch, Rectangle

    entries, count = np.shape(first)
    looks = ((first, ORANGE, "///", "first columns (block before)"), (second, BLUE, "", "second columns (own block)"))
    for part, color, hatch, _ in looks:
        for entry, token in zip(*np.nonzero(part)):
            ax.add_patch(Rectangle((token - 0.46, entry - 0.38), 0.92, 0.76, fc=color, ec=PAPER, hatch=hatch, lw=0))
    for token in range(count):
        ax.axvline(token - 0.5, color="#EEEEEE", lw=0.6)
    ax.set_xticks(range(count))
    ax.set_yticks(range(entries))
    ax.set(xlabel="token", ylabel="entry", xlim=(-0.5, count - 0.5), ylim=(entries - 0.4, -0.6))
    ax.grid(False)
    swatches = [Patch(fc=color, ec=PAPER, hatch=hatch, label=name) for _, color, hatch, name in looks]
    ax.legend(handles=swatches, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def draw_scores(ax, scores, picks, visible=None):       # [N], [k] (-1: none), int
    """A stem for each entry that may be read, filled where it is picked; from `visible` on the ground is grey."""
    visible = len(scores) if visible is None else visible
    places = np.arange(visible)
    picked = np.isin(places, picks)
    ax.axhline(0, color=QUIET, lw=0.8)
    for chosen, color, face, name in ((~picked, QUIET, PAPER, "passed over"), (picked, BLUE, BLUE, "picked")):
        own = np.asarray(scores)[:visible][chosen]
        ax.vlines(places[chosen], 0, own, color=color, lw=0.9)
        ax.plot(places[chosen], own, ls="", marker="o", ms=5, mfc=face, mec=color, label=name)
    if picked.any():
        ax.axhline(np.asarray(scores)[:visible][picked].min(), color=ORANGE, ls="--", lw=1.2, label="lowest score picked")
    if visible < len(scores):
        ax.axvspan(visible - 0.5, len(scores) - 0.5, color="#E5E5E5", zorder=0, label="not visible yet")
    ax.set(xlabel="entry", ylabel="index score", xlim=(-1, len(scores)))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)


def draw_recall(ax, ks, curves, chance):                # [n], {name: [n] of 0..1}, [n] of 0..1
    """How much of the attention on entries the k picked ones hold, beside what blind picking would."""
    for (name, values), mark, dash in zip(curves.items(), MARKS, DASHES):
        ax.plot(ks, 100 * np.asarray(values), marker=mark, ls=dash, label=name)
    ax.plot(ks, 100 * np.asarray(chance), color=INK, lw=1.2, ls=(0, (2, 2)), marker="", label="chance")
    ax.set_xscale("log", base=2)
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.minorticks_off()
    ax.set(xlabel="k, entries picked", ylabel="recall, share of attention (%)", ylim=(0, 104))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.09), ncols=2)
