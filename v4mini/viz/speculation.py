"""Speculation as pictures: two distributions and their overlap, tokens and gain per pass, how far drafts are right along a text.

Not here: the rule (inference/speculate.py), what it costs (planning/speculation.py).
"""

import numpy as np

from v4mini.viz.style import BLUE, COLORS, DASHES, INK, MARKS, ORANGE, PAPER, QUIET, RED


def draw_rule(ax, tokens, p, q):                        # [V] names, [V], [V]
    """p and q side by side: below both is what is kept, what q has too much is refused, what p has too much is drawn instead."""
    kept, at = np.minimum(p, q), np.arange(len(tokens))
    parts = ((at - 0.2, kept, 0 * kept, BLUE, "", "kept: min(p, q)"), (at + 0.2, kept, 0 * kept, BLUE, "", None),
             (at - 0.2, q - kept, kept, PAPER, "xxx", "refused: q above p"),
             (at + 0.2, p - kept, kept, ORANGE, "///", "drawn instead: p above q"))
    for x, height, bottom, color, hatch, name in parts:
        ax.bar(x, height, 0.36, bottom=bottom, fc=color, ec=INK, hatch=hatch, lw=0.8, label=name)
    for x, high, letter in [*zip(at - 0.2, q, "q" * len(at)), *zip(at + 0.2, p, "p" * len(at))]:
        ax.text(x, high + 0.01, letter, ha="center", color=QUIET)
    ax.set_xticks(at, tokens)
    ax.set(xlabel="token", ylabel="probability", ylim=(0, 1.12 * max(np.max(p), np.max(q))))
    ax.grid(axis="x", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def draw_shares(ax, tokens, wanted, found):             # [V] names, [V], {name: [V]}
    """How often each token came, way by way; a black line across shows how often it should."""
    width = 0.8 / len(found)
    hatches = ("", "///", "xxx", "...")
    for number, (name, shares) in enumerate(found.items()):
        x = np.arange(len(tokens)) - 0.4 + width * (number + 0.5)
        ax.bar(x, shares, 0.92 * width, fc=COLORS[number], ec=PAPER, hatch=hatches[number % len(hatches)], label=name)
    for place, share in enumerate(wanted):
        ax.hlines(share, place - 0.44, place + 0.44, color=INK, lw=2.2, label=None if place else "wanted: p")
    ax.set_xticks(range(len(tokens)), tokens)
    ax.set(xlabel="token", ylabel="share of all draws")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def draw_against_drafts(ax, drafts, curves, ylabel, points=None):      # [n], {name: [n]}, the same measured or None
    """A line per acceptance over the number of drafts; hollow marks where it was also counted. The best of each is ringed."""
    for number, (name, values) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        ax.plot(drafts, values, color=color, ls=DASHES[number % len(DASHES)], marker="" if points else MARKS[number], label=name)
        if points:
            ax.plot(drafts, points[name], ls="", marker=MARKS[number], mfc=PAPER, mec=color, ms=7)
        else:
            best = int(np.argmax(values))
            ax.plot(drafts[best], values[best], marker="o", ms=13, mfc="none", mec=INK, ls="")
    ax.set(xlabel="drafts a pass", ylabel=ylabel)
    ax.set_xticks(drafts)
    ax.legend(title="acceptance")


def draw_overlap(ax, overlap, levels):                  # [T] of 0..1, {name: 0..1}
    """A dot for each place of a text: the chance that a draft there is accepted; dashed lines at some levels."""
    ax.plot(np.arange(len(overlap)), 100 * np.asarray(overlap), ls="", marker=".", ms=4, color=BLUE, label="one place")
    for (name, level), color, dash in zip(levels.items(), (INK, RED, ORANGE), ("-", "--", "-.")):
        ax.axhline(100 * level, color=color, ls=dash, lw=1.6, label=f"{name}: {100 * level:.0f}%")
    ax.set(xlabel="place in the text (token)", ylabel="acceptance (%)", ylim=(-3, 103))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def draw_round(ax, read, window, block):                # ints -> rows that each token of the block reads
    """Who reads what in a DSpark round: a line for each token of the block, a column for each row it could read."""
    ring = range(max(0, read - window), read)
    for y in range(block):
        for x in range(read + block):
            kind = "ring" if x in ring else "own" if x >= read else "gone"
            color = {"ring": BLUE, "own": ORANGE, "gone": PAPER}[kind]
            ax.add_patch(_square(x, y, fc=color, hatch="///" if kind == "own" else "", ec=INK if kind != "gone" else "#CCCCCC"))
    for place, name in ((read - window / 2 - 0.5, "main rows in the ring"), (read + block / 2 - 0.5, "this block"),
                        ((read - window) / 2 - 0.5, "left the ring")):
        ax.text(place, -0.75, name, ha="center", color=INK)
    ax.set_yticks(range(block), ["anchor", *["noise"] * (block - 1)])
    ax.set_xticks(range(read + block), [f"{x}" for x in range(read)] + [f"+{i + 1}" for i in range(block)])
    ax.set(xlabel="row: a token of the text, or one of the block", ylabel="reads", xlim=(-0.6, read + block - 0.4),
           ylim=(block - 0.4, -1.3))
    ax.grid(visible=False)
    return len(ring) + block


def _square(x, y, **look):
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.44, y - 0.42), 0.88, 0.84, lw=0.7, **look)


def draw_mistakes(ax, far, allowed):                    # {name: number}, number
    """How far off each mistake makes the numbers, on a logarithmic axis, beside what rounding is allowed."""
    names = sorted(far, key=far.get)
    ax.barh(names, [far[name] for name in names], color=BLUE, height=0.66)
    ax.axvline(allowed, color=RED, ls="--", label=f"allowed: {allowed:g}")
    ax.set(xscale="log", xlabel="largest difference of a score or confidence", xlim=(allowed / 2, 2 * max(far.values())))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0))
