"""What the past weighs and costs. Not here: counting it (planning/), measuring it (bench/)."""

import numpy as np

from v4mini.viz.compression import human_tokens
from v4mini.viz.style import BLUE, COLORS, DASHES, INK, MARKS, ORANGE, PAPER

NAMES = {"window": "window", "unfinished": "unfinished blocks", "csa": "CSA entries", "index_keys": "index keys",
         "hca": "HCA entries", "dense": "weights"}
HATCHES = ("", "..", "//", "\\\\", "xx")


def draw_meter(ax, tokens, kinds, measured_at, measured):       # [n], {kind: bytes [n]}, [m], bytes [m]
    """Total bytes against tokens, the kinds' shares as lines, and what a live cache said as rings."""
    ax.plot(tokens, np.sum(list(kinds.values()), axis=0), color=INK, lw=2.2, marker="", label="predicted, all")
    for (kind, values), color, dash in zip(kinds.items(), COLORS, DASHES):
        values = np.asarray(values, float)
        ax.plot(tokens, np.where(values > 0, values, np.nan), color=color, ls=dash, lw=1.4, marker="", label=NAMES[kind])
    ax.plot(measured_at, measured, ls="", marker="o", ms=8, mfc="none", mec=BLUE, mew=1.8, label="held by the cache")
    _tokens_axis(ax, tokens)
    ax.set(yscale="log", ylabel="bytes", ylim=(1e3, None))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw_cost(ax, tokens, parts, title):                # [n], {part: FLOPs [n]}
    """FLOPs of one token, part upon part, against its context."""
    bottoms = np.zeros(len(tokens))
    for (name, values), color, hatch in zip(parts.items(), COLORS, HATCHES):
        top = bottoms + np.asarray(values, float) / 1e9
        ax.fill_between(tokens, bottoms, top, facecolor=color, edgecolor=PAPER, hatch=hatch, lw=0.3, label=_part(name))
        bottoms = top
    _tokens_axis(ax, tokens)
    ax.set(ylabel="GFLOPs of one token", title=title, ylim=(0, None))
    ax.legend(loc="upper left")


def draw_million(ax, steps):                            # [{"from", "to", "tokens_per_second", "predicted_tokens_per_second"}]
    """Tokens a second in each doubling of the text, measured and predicted."""
    from matplotlib.ticker import LogLocator, NullLocator

    ends = [step["to"] for step in steps]
    ax.plot(ends, [step["predicted_tokens_per_second"] for step in steps], color=ORANGE, ls=DASHES[1], marker=MARKS[1],
            mfc=PAPER, label="predicted from the FLOPs")
    ax.plot(ends, [step["tokens_per_second"] for step in steps], color=BLUE, ls=DASHES[0], marker=MARKS[0], label="measured")
    _tokens_axis(ax, ends)
    ax.set(yscale="log", ylabel="tokens per second", xlabel="text read so far (tokens)")
    ax.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:,.0f}", minor_locator=NullLocator())
    ax.legend(loc="lower left")


def draw_found(ax, lengths, shares):                    # [n], 0 to 1 [n, depths]
    """Share of facts fetched, by the length of the haystack and by where in it they lay."""
    shares = np.atleast_2d(np.asarray(shares, float))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    for (row, column), share in np.ndenumerate(shares):
        ax.text(column, row, f"{share:.0%}", ha="center", va="center", color=INK, fontsize=9)
    depths = shares.shape[1]
    ax.set_xticks(np.arange(depths + 1) - 0.5, [f"{k / depths:.0%}" for k in range(depths + 1)])
    ax.set_yticks(range(len(lengths)), [f"{n:,}" for n in lengths])
    ax.set(xlabel="where the fact lay (0%: at the very beginning)", ylabel="text read (tokens)")
    ax.grid(False)


def _part(name):
    return {"dense": "weights", "index": "index scores", "csa": "CSA picks", "hca": "HCA entries", "window": "window"}[name]


def _tokens_axis(ax, tokens):
    ticks = [1 << k for k in range(0, 31, 2) if min(tokens) <= 1 << k <= max(tokens)]
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [human_tokens(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("context (tokens)")
