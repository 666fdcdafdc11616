"""Can it run: what fits where, what a token costs as the text grows, which of two times is the longer.

Not here: where the numbers come from (planning/), growth on two logarithmic axes (compression.draw_growth).
"""

import numpy as np

from v4mini.viz.compression import human_tokens
from v4mini.viz.style import BLUE, COLORS, DASHES, INK, MARKS, ORANGE, QUIET, RED

HATCHES = ("", "///", "...", "\\\\\\", "xx", "++")


def draw_fit(ax, machines, needs):                      # {name: GB usable}, {name: GB needed}
    """A bar a machine, as long as what it can hold; a line down the picture for each thing that wants to fit."""
    names = list(machines)
    held = [sum(room >= wanted for wanted in needs.values()) for room in machines.values()]
    colors = [QUIET if not count else BLUE for count in held]
    ax.barh(range(len(names)), list(machines.values()), height=0.6, color=colors)
    for place, (room, count) in enumerate(zip(machines.values(), held)):
        ax.text(room * 1.08, place, f"{room:,.0f} GB: {count} of {len(needs)} fit", va="center", fontsize=9, color=INK,
                bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 1.5})
    for (name, wanted), color, dash in zip(needs.items(), (RED, ORANGE, INK, *COLORS), DASHES[1:] + DASHES):
        ax.axvline(wanted, color=color, ls=dash, lw=1.6, label=f"{name}: {wanted:,.0f} GB")
    ax.set_yticks(range(len(names)), names)
    ax.set(xscale="log", xlabel="memory that a model may take (GB)", xlim=(8, 5 * max(machines.values())))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)


def draw_parts(ax, tokens, parts, ylabel):              # [n], {name: [n]}: stacked, names from the ground up
    """What something is made of, as the text grows; each layer has a colour, a hatching and its name."""
    floor = np.zeros(len(tokens))
    for (name, values), color, hatch in zip(parts.items(), COLORS, HATCHES):
        ax.fill_between(tokens, floor, floor + values, facecolor=color, hatch=hatch, edgecolor="white", lw=0, label=name)
        floor = floor + values
    ax.plot(tokens, floor, color=INK, ls="-", marker="", lw=1.2)
    ax.set(xscale="log", xlabel="tokens before it", ylabel=ylabel, xlim=(tokens[0], tokens[-1]), ylim=(0, None))
    ax.set_xticks(tokens[::2], [human_tokens(int(count)) for count in tokens[::2]])
    ax.minorticks_off()
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="upper left")


def draw_terms(ax, batches, compute, reading):          # [n] texts, [n] ms, [n] ms
    """The two times of a step against how many texts share it; the step takes the upper line."""
    ax.plot(batches, reading, label="reading memory", marker=MARKS[0])
    ax.plot(batches, compute, label="computing", marker=MARKS[1])
    ax.plot(batches, np.maximum(compute, reading), color=INK, lw=6, alpha=0.15, marker="", ls="-", label="the step, at least")
    meet = crossing(batches, compute, reading)
    if meet:
        ax.axvline(meet, color=QUIET, ls=":", marker="", label=f"both alike, at about {float(f'{meet:.2g}'):,.0f} texts")
    ax.set(xscale="log", yscale="log", xlabel="texts that get a new token together", ylabel="time of a step (ms)")
    ax.set_xticks(batches[::2], [f"{count:,}" for count in batches[::2]])
    ax.minorticks_off()
    ax.legend()


def crossing(batches, compute, reading):                # [n], [n], [n] -> float, or None where computing stays below
    """Where the two lines meet as they are drawn: straight between two batches on axes of powers."""
    above = np.log(np.asarray(compute, float) / reading)
    later = np.flatnonzero((above[1:] >= 0) & (above[:-1] < 0))
    if not len(later):
        return None
    n = later[0]
    share = above[n] / (above[n] - above[n + 1])
    return float(np.exp((1 - share) * np.log(batches[n]) + share * np.log(batches[n + 1])))


def draw_roofline(ax, machines, work):                  # {name: (FLOP/s, bytes/s)}, {name: ([FLOP/byte], [FLOP/s])}
    """Roofs of machines over the work below them: left of the edge reading binds, right of it computing does."""
    everywhere = np.concatenate([np.asarray(intensity) for intensity, _ in work.values()])
    low, high = everywhere.min() / 3, everywhere.max() * 3
    for (name, (rate, bandwidth)), dash in zip(machines.items(), DASHES):
        edge = rate / bandwidth
        ax.plot([low, edge, high], np.array([low * bandwidth, rate, rate]) / 1e12, color=INK, ls=dash, marker="", lw=1.6)
        ax.text(edge * 0.65, rate / 1e12, name, ha="right", va="center", fontsize=9.5)
    for (name, (intensity, reached)), color, mark in zip(work.items(), COLORS, MARKS):
        ax.plot(intensity, np.asarray(reached) / 1e12, color=color, marker=mark, ls="", ms=6, label=name)
    ax.set(xscale="log", yscale="log", xlabel="FLOPs for each byte read", ylabel="TFLOP/s at best", xlim=(low, high))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def draw_shares(ax, rows):                              # [(name, share of the bound, has drafts)], longest name first or last
    """What published runs reached of the bound, in percent; runs with drafts are hollow, they may pass it."""
    for place, (_, share, drafts) in enumerate(rows):
        face, hatch = ("white", "///") if drafts else (BLUE, "")
        ax.barh(place, 100 * share, height=0.6, facecolor=face, edgecolor=BLUE, hatch=hatch)
        ax.text(100 * share + 2, place, f"{100 * share:.0f}%", va="center", fontsize=9)
    ax.axvline(100, color=RED, ls="--", marker="", label="the bound")
    ax.bar([0], [0], color=BLUE, label="one token a step")
    ax.bar([0], [0], facecolor="white", edgecolor=BLUE, hatch="///", label="with drafts")
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=9)
    ax.set(xlabel="share of the bound that was reached (%)", xlim=(0, None))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
