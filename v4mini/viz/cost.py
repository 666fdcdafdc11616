"""Money: what a bill is made of, price ratios by date, and where a machine of one's own begins to pay.

Not here: prices and costs themselves (planning/prices.py, planning/cost.py).
"""

import numpy as np

from v4mini.viz.style import COLORS, DASHES, INK, MARKS, QUIET, RED

HATCHES = ("", "///", "...")
NEAR = 0.12                     # of a natural logarithm: a number so near to a line is written beside it, not on it


def draw_bills(ax, bills, unit="USD"):                  # {name: {part: amount}}, cheapest first
    """A bar a provider, split into what it is made of; the sum stands at its end."""
    floor, names = np.zeros(len(bills)), list(bills)
    for part, color, hatch in zip(next(iter(bills.values())), COLORS, HATCHES):
        values = np.array([bill[part] for bill in bills.values()])
        ax.barh(range(len(names)), values, left=floor, height=0.62, color=color, hatch=hatch, edgecolor="white", lw=0, label=part)
        floor = floor + values
    for place, total in enumerate(floor):
        ax.text(total + 0.01 * floor.max(), place, f"{total:,.0f}", va="center", fontsize=9, color=INK)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel=unit, xlim=(0, 1.12 * floor.max()))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def draw_ratios(ax, days, series, claim, until):        # [n] dates as text, {name: [n]}, one number, a date as text
    """How many times as much one list costs as another: a step on each day on which a price changed."""
    dates = np.array([*days, until], dtype="datetime64[D]")
    for (name, values), mark, dash, color in zip(series.items(), MARKS, DASHES, COLORS):
        ax.step(dates, [*values, values[-1]], where="post", color=color, ls=dash, marker="", label=name)
        ax.plot(dates[:-1], values, color=color, marker=mark, ls="")
        is_near = abs(np.log(values[-1] / claim)) < NEAR        # the claim's own line would run through it
        ax.text(dates[-1] + np.timedelta64(3, "D"), values[-1] * (np.exp(-NEAR) if is_near else 1), f"{values[-1]:.1f}",
                va="center", fontsize=9)
    ax.axhline(claim, color=QUIET, ls=":", marker="", label=f"{claim:g} times, as was said")
    ax.set(yscale="log", ylabel="times as much")
    ax.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    labels = _days(dates)
    ax.set_xticks(np.array(list(labels)), list(labels.values()))
    ax.minorticks_off()
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _days(dates):                                       # -> {date: label}: days too close to each other share one
    labels, near = {}, (dates[-1] - dates[0]) / 6
    for day in dates[:-1]:
        if labels and day - (last := max(labels)) < near:
            labels[last] += f"\n{day}"
        else:
            labels[day] = str(day)
    return labels


def draw_break_even(ax, documents, apis, own):          # [n] a month, {name: USD each}, {name: (fixed, USD each, most)}
    """A month's bill against its work: an API starts at nothing, a machine at its fixed cost and ends at what it can do."""
    for (name, each), dash, color in zip(apis.items(), DASHES, COLORS):
        ax.plot(documents, documents * each, color=color, ls=dash, marker="", label=name)
    for (name, (fixed, each, most)), mark in zip(own.items(), MARKS[3:]):
        within = documents[documents <= most]
        ax.plot(within, fixed + within * each, color=INK, marker="", ls="-", lw=1.2)
        ax.plot([most], [fixed + most * each], color=INK, marker=mark, ls="", ms=8, label=f"{name}: all it can do")
        for price in apis.values():
            crossing = fixed / (price - each) if price > each else np.inf
            if crossing <= most:
                ax.plot([crossing], [crossing * price], marker="o", color=RED, ls="", ms=9, mfc="none", mew=2)
    ax.set(xscale="log", yscale="log", xlabel="documents a month", ylabel="USD a month", xlim=(documents[0], documents[-1]))
    ax.legend(loc="upper left", fontsize=9)
