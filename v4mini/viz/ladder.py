"""Steps of the same loop beside the roofs of a machine. Not here: measuring either (bench/)."""

import numpy as np

from v4mini.viz.style import BLUE, DASHES, INK, MARKS, ORANGE, RED


def draw_ladder(ax, rates, roofs):                      # {step: weights a second}, {roof: weights a second}
    """A bar a step on a logarithmic axis, and a line for each roof."""
    names = list(rates)
    bars = ax.barh(names, list(rates.values()), color=BLUE, height=0.6)
    ax.bar_label(bars, [_short(rate) for rate in rates.values()], padding=3)
    for (name, rate), color, dash in zip(roofs.items(), (RED, ORANGE), ("--", ":")):
        ax.axvline(rate, color=color, ls=dash, lw=1.6, marker="", label=f"{name}, {_short(rate)}")
    ax.set(xscale="log", xlabel="weights per second", xlim=(None, 8 * max(*rates.values(), *roofs.values())))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def draw_crossing(ax, tokens, seconds):                 # [n], {what: seconds a weight [n]}
    """Time that one weight takes against tokens that share it, on logarithmic axes."""
    for (name, values), mark, dash in zip(seconds.items(), MARKS, DASHES):
        ax.plot(tokens, 1e12 * np.asarray(values), marker=mark, ls=dash, label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(tokens, [f"{int(t):,}" for t in tokens])
    ax.minorticks_off()
    ax.set(xlabel="tokens that share a weight", ylabel="time per weight (ps)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, labelcolor=INK)


def _short(rate):
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= unit:
            return f"{rate / unit:.3g} {name}"
    return f"{rate:.3g}"
