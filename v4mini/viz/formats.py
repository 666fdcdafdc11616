"""Small number formats: their values, their errors, their bytes. Not here: the formats (numerics/)."""

import numpy as np

from v4mini.viz.style import BLUE, COLORS, DASHES, INK, MARKS, ORANGE, PAPER, QUIET

HATCHES = ("", "///", "...", "xxx")


def draw_number_lines(ax, lines):                       # {name: values}
    """A line for each format, a stroke for each value it has."""
    for place, values in enumerate(lines.values()):
        ax.hlines(-place, min(values), max(values), color=QUIET, lw=0.8)
        ax.vlines(values, -place - 0.28, -place + 0.28, color=COLORS[place % len(COLORS)], lw=1.4)
    ax.set_yticks(-np.arange(len(lines)), list(lines))
    ax.set(xlabel="value", ylim=(-len(lines) + 0.4, 0.6))
    ax.grid(axis="y", visible=False)


def draw_relative(ax, x, curves):                       # [n], {name: [n] in percent}
    """The largest error near a number, as a share of the number itself; both axes logarithmic."""
    for (name, errors), mark, dash in zip(curves.items(), MARKS, DASHES):
        ax.plot(x, errors, ls=dash, marker=mark, ms=3.5, label=name)
    ax.set_xscale("log", base=2)
    ax.set(xlabel="number", ylabel="largest error near it (%)")
    _percent_axis(ax)
    ax.legend(loc="lower left")


def draw_block_sizes(ax, sizes, curves):                # [n], {name: [n] in percent}
    """Error against how many neighbours share a scale."""
    for (name, errors), mark, dash in zip(curves.items(), MARKS, DASHES):
        ax.plot(sizes, errors, marker=mark, ls=dash, label=name)
    ax.set_xscale("log", base=2)
    ax.set(xlabel="numbers that share a scale", ylabel="error (% of the weights' size)")
    _percent_axis(ax)
    ax.legend()


def draw_bits(ax, kinds):                               # {kind of weights: {format: (bits a weight, error in percent)}}
    """Error against bits; a mark for each kind of weights, the formats' names right and left of the first kind in turn."""
    for number, (kind, points) in enumerate(kinds.items()):
        bits, errors = zip(*points.values())
        ax.plot(bits, errors, ls="", marker=MARKS[number], ms=6 + 4 * number, mfc=COLORS[0] if number == 0 else "none",
                mec=COLORS[number], mew=1.6, label=kind)             # open and larger, where two lie on each other
        if number == 0:
            for place, (name, (x, y)) in enumerate(points.items()):
                side = ((9, "left"), (-9, "right"))[place % 2]
                ax.annotate(name, (x, y), xytext=(side[0], -4), ha=side[1], textcoords="offset points", fontsize=9)
    ax.set(xscale="log", xlabel="bits a weight, scales included", ylabel="error (% of the weights' size)")
    _percent_axis(ax)
    ax.set_xticks([4, 8, 16], ["4", "8", "16"])
    ax.set_xlim(3.2, 24)
    ax.minorticks_off()
    ax.legend()


def draw_rounded(ax, x, rounded, block, title=""):      # [n], [n]
    """Numbers as open circles, what rounding makes of them as filled ones; dotted lines where another scale begins."""
    for edge in range(0, len(x) + 1, block):
        ax.axvline(edge - 0.5, color=QUIET, lw=0.8, ls=":")
    ax.vlines(np.arange(len(x)), x, rounded, color=QUIET, lw=0.9)
    ax.plot(x, ls="", marker="o", ms=4.5, mfc=PAPER, mec=INK, mew=0.8, label="number")
    ax.plot(rounded, ls="", marker="o", ms=3, color=ORANGE, mec=ORANGE, label="rounded")
    ax.set(xlabel="place in the row", ylabel="value", title=title)


def draw_bytes(ax, layouts):                            # {name: [(part, bytes)]}
    """A bar for each layout, true to scale, its parts named with their bytes."""
    longest = max(sum(size for _, size in parts) for parts in layouts.values())
    for line, parts in enumerate(layouts.values()):
        start = 0
        for number, (part, size) in enumerate(parts):
            ax.barh(-line, size, left=start, height=0.5, color=(BLUE, ORANGE, *COLORS[2:])[number % 4],
                    hatch=HATCHES[number % 4], edgecolor=PAPER)
            wide = size > longest / 8
            ax.text(start + size / 2 if wide else start + size + longest / 100, -line + (0.36 if wide else -0.16 * (number % 2)),
                    f"{part}: {size}", ha="center" if wide else "left", va="bottom" if wide else "center", fontsize=9.5)
            start += size
    ax.set_yticks(-np.arange(len(layouts)), list(layouts))
    ax.set(xlabel="bytes", xlim=(0, 1.28 * longest), ylim=(-len(layouts) + 0.55, 0.75))
    ax.grid(axis="y", visible=False)


def draw_drift(ax, curves):                             # {name: [layers] in percent}
    """How far rounded runs have drifted from the plain one after each layer; nothing is drawn where they have not."""
    for (name, values), mark, dash in zip(curves.items(), MARKS, DASHES):
        ax.plot(range(len(values)), [value or np.nan for value in values], marker=mark, ls=dash, label=name)
    ax.set(xlabel="after layer", ylabel="difference to float32 (%)")
    _percent_axis(ax)
    ax.set_xticks(range(len(next(iter(curves.values())))))
    ax.legend()


def draw_agreement(ax, edges, shares, counts):          # [n + 1], [n] in percent, [n]
    """How often two runs choose the same, by how clear the choice was; each bar says of how many."""
    names = [f"{low:g} to {high:g}" for low, high in zip(edges, edges[1:-1])] + [f"over {edges[-2]:g}"]
    ax.bar(range(len(shares)), shares, color=BLUE, width=0.7)
    for place, (share, count) in enumerate(zip(shares, counts)):
        ax.text(place, share + 1.5, f"of {count}", ha="center", fontsize=9)
    ax.set_xticks(range(len(shares)), names)
    ax.set(xlabel="lead of the best logit over the second", ylabel="same best token (%)", ylim=(0, 105))
    ax.grid(axis="x", visible=False)


def _percent_axis(ax):                                  # a logarithmic y axis with plain numbers
    from matplotlib.ticker import FixedLocator, NullFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_minor_locator(FixedLocator([]))
