"""What a token leaves behind under different kinds of attention. Not here: the attention (lessons/latent.py), bytes of a V4."""

import numpy as np

from v4mini.viz.style import BLUE, DASHES, GREEN, INK, MARKS, ORANGE, PAPER, PURPLE, QUIET, SKY

# what a number is used for: colour and hatching, so that neither alone has to carry it
USES = {"key": (BLUE, ""), "value": (ORANGE, "///"), "key and value": (GREEN, ""), "key, turned": (PURPLE, "..."),
        "key and value, turned": (PURPLE, ""), "index key": (SKY, "xxx")}
SQUARE = 64                     # numbers in a square


def draw_sharing(ax, heads, groups, kept, pair=True, own_matrix=False):     # kept: the label of what lies below
    """Heads above, what they read below, a line for each.

    pair: a key (plain) and a value (striped) per group, else one row for both. own_matrix: each head looks through its own.
    """
    from matplotlib.patches import Rectangle

    width = heads / groups
    for h in range(heads):
        x, box = h + 0.5, (h // width + 0.5) * width
        ax.plot([x, box], [1.0, 0.42], color=QUIET, lw=1.0, ls="-", marker="")
        if own_matrix:
            ax.plot(x + 0.35 * (box - x), 0.797, color=PURPLE, mec=INK, mew=0.6, marker="D", ms=7, ls="")
        ax.plot(x, 1.05, color=INK, marker="o", ms=9, ls="")
    half = 0.36 if groups > 1 else 0.9
    parts = (("key", -half, half), ("value", 0, half)) if pair else (("key and value", -half, 2 * half),)
    for g in range(groups):
        for use, start, wide in parts:
            color, hatch = USES[use]
            ax.add_patch(Rectangle(((g + 0.5) * width + start, 0.22), wide, 0.2, fc=color, ec=PAPER, hatch=hatch, lw=0.8))
    ax.text(heads / 2, 0.08, kept, ha="center", va="top", color=INK, fontsize=9.5)
    ax.set(xlim=(-0.2, heads + 0.2), ylim=(-0.15, 1.2))
    ax.axis("off")


def draw_kept(ax, kinds, high=1):                       # {name: {use: numbers per token}}, uses as in USES
    """A strip for each kind, true to scale: squares of 64 numbers, `high` on top of each other. Fractions are cut squares."""
    longest = max(sum(parts.values()) for parts in kinds.values()) / SQUARE / high
    for line, (name, parts) in enumerate(kinds.items()):
        base, total = -line * 1.5 * high, sum(parts.values())
        for use, start, stop in _spans(parts):
            _squares(ax, base, start / SQUARE, stop / SQUARE, high, *USES[use])
        end = np.ceil(total / SQUARE / high)
        ax.text(end + longest / 60, base + high / 2, f"{total:,.0f}", va="center", fontsize=10)
        ax.text(-longest / 60, base + high / 2, name, va="center", ha="right", fontsize=10)
    ax.set(xlim=(0, 1.1 * longest), ylim=(-(len(kinds) - 1) * 1.5 * high - 0.2, high + 0.2), aspect="equal")
    ax.axis("off")


def uses_legend(figure, kinds):
    """The meaning of draw_kept's colours, below the whole figure."""
    from matplotlib.patches import Patch

    used = [use for use in USES if any(use in parts for parts in kinds.values())]
    swatches = [Patch(fc=USES[use][0], hatch=USES[use][1], ec=PAPER, label=use) for use in used]
    figure.legend(handles=swatches, loc="outside lower center", ncols=len(used), fontsize=9.5)


def _spans(parts):                                      # yields use, first number, last number
    start = 0
    for use, count in parts.items():
        yield use, start, start + count
        start += count


def _squares(ax, base, start, stop, high, color, hatch):       # squares start..stop, column by column, upwards
    from matplotlib.patches import Rectangle

    first = int(start)
    while first < stop:
        left, right = max(start, first) - first, min(stop, first + 1) - first
        column, row = divmod(first, high)
        ax.add_patch(Rectangle((column + left, base + row), right - left, 1, fc=color, ec=PAPER, lw=0.4, hatch=hatch))
        first += 1


def draw_costs(ax, queries, curves, crossing):          # [n], {name: [n] multiplications}, queries
    """Work per row and head, by how many queries read the row; the dashed line is where the two forms cost the same."""
    for (name, values), mark, dash in zip(curves.items(), MARKS, DASHES):
        ax.plot(queries, values, label=name, marker=mark, ls=dash, markevery=2)
    ax.axvline(crossing, color=INK, lw=1, ls="--")
    ax.text(crossing * 1.12, min(map(min, curves.values())), f"{crossing}", va="bottom", color=INK)
    ax.set(xscale="log", yscale="log", xlabel="queries that read the same row", ylabel="multiplications per row and head")
    ax.legend()


def draw_ladder(ax, names, counts, unit, marked=()):    # [str], [number]; marked: names to draw in another colour and hatching
    """Bars on a logarithmic axis, the first on top, each with its number."""
    places = np.arange(len(names))
    bars = ax.barh(places, counts, color=[GREEN if name in marked else SKY for name in names], height=0.62)
    for bar, name, count in zip(bars, names, counts):
        bar.set_hatch("///" if name in marked else "")
        bar.set_edgecolor(PAPER)
        ax.text(count * 1.12, bar.get_y() + bar.get_height() / 2, f"{count:,.0f}", va="center", fontsize=9.5)
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel=unit, xlim=(min(counts) / 2, max(counts) * 4))
    ax.grid(axis="y", visible=False)


def draw_who_reads(ax, may_read, title=""):             # bool [T, T]
    """Filled: the token of this line reads the row of that column."""
    ax.imshow(np.where(may_read, 1.0, 0.0), cmap="Blues", vmin=0, vmax=1.3, interpolation="nearest")
    ax.set(xlabel="row that is read", ylabel="token that reads", title=title)
    ax.grid(False)
