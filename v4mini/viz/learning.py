"""How a model learns, drawn: nudges against gradients, singular values, losses of two optimisers, load and recall step by step.

Plain arrays in, artists out. Not here: pictures of a training run from its log (training.py).
"""

import numpy as np

from v4mini.viz.style import BLUE, COLORS, DASHES, GREEN, INK, MARKS, QUIET, RED

STEEP = 1e-30               # the smallest number that a logarithmic axis is given


def draw_nudges(ax, sizes, errors):                     # [n], {name: [n]}
    """How wrong a slope is that was measured by nudging, for nudges of different sizes."""
    for (name, values), color, mark, dash in zip(errors.items(), COLORS, MARKS, DASHES):
        ax.loglog(sizes, np.maximum(values, STEEP), color=color, marker=mark, ls=dash, label=name)
    ax.set(xlabel="size of the nudge", ylabel="relative error of the slope")
    ax.legend()


def draw_agreement(ax, predicted, measured, groups):    # [n], [n], {name: [numbers of points]}
    """Each point a tensor: the change that its gradient foretells, and the change that a nudge makes."""
    predicted, measured = np.abs(predicted), np.abs(measured)
    ends = np.array([predicted.min() / 2, predicted.max() * 2])
    ax.loglog(ends, ends, color=QUIET, ls="-", lw=1, marker="", zorder=0)
    for (name, points), color, mark in zip(groups.items(), COLORS, MARKS):
        ax.loglog(predicted[points], measured[points], color=color, marker=mark, ls="", label=name)
    ax.set(xlabel="slope by the gradient (nats per unit)", ylabel="slope by nudging")
    ax.legend()


def draw_towards_one(ax, before, after):                # [n], {name: [n]}
    """What rounds of Newton-Schulz make of a singular value, by where it began."""
    for (name, values), color, dash in zip(after.items(), COLORS, DASHES):
        ax.semilogx(before, values, color=color, ls=dash, marker="", label=name)
    ax.axhline(1, color=INK, lw=0.8, ls=":")
    ax.set(xlabel="singular value before (whole matrix: length 1)", ylabel="singular value after", ylim=(0, 1.4))
    ax.legend(loc="lower right")


def draw_singular_values(ax, values):                   # {name: [n] falling}
    """All singular values of one matrix, the largest first, at several stages."""
    for (name, own), color, mark, dash in zip(values.items(), COLORS, MARKS, DASHES):
        ax.semilogy(np.arange(1, len(own) + 1), np.maximum(own, STEEP), color=color, marker=mark, ms=3.5, ls=dash, label=name)
    ax.set(xlabel="singular value, largest first", ylabel="size (gradient: length 1)")
    ax.legend()


def draw_race(ax, losses, tokens, floor):               # {name: [steps]}, tokens a step, nats
    """Losses of runs that read the same tokens, and the least that any model could reach."""
    for (name, values), color, dash in zip(losses.items(), (BLUE, RED), DASHES):
        ax.plot(tokens * np.arange(1, len(values) + 1), values, color=color, ls=dash, marker="", label=name)
    ax.axhline(floor, color=INK, lw=1, ls=":")
    ax.text(0, floor, "no model can do better ", va="bottom", ha="left", color=INK)
    ax.set(xlabel="tokens read", ylabel="loss (nats a token)", ylim=(0, None))
    ax.legend(loc="upper right")


def draw_busiest(ax, busiest, chance):                  # {name: [steps]}, even shares
    """The busiest expert's load step by step, in even shares; `chance` is what blind but even dealing gives."""
    for (name, values), color, dash in zip(busiest.items(), (RED, BLUE, GREEN), ("--", "-", "-.")):
        ax.plot(np.arange(1, len(values) + 1), values, color=color, ls=dash, marker="", label=name)
    ax.axhline(chance, color=INK, lw=1, ls=":", label="dealt blindly")
    ax.set(xlabel="step", ylabel="busiest expert (even shares)", ylim=(0, None))
    ax.legend(loc="upper right")


def draw_stairs(axes, nudges, stairs, slope):           # two Axes, [n], [n], [n]
    """Two losses along one line through an indexer's weights: the model's own, and the indexer's."""
    for ax, values, color, title in zip(axes, (stairs, slope), (RED, BLUE), ("next-token loss", "divergence from attention")):
        ax.plot(nudges, values, color=color, ls="-", marker=".", ms=4, drawstyle="steps-mid" if ax is axes[0] else "default")
        ax.set(xlabel="distance along a line of indexer weights", ylabel="nats", title=title)
        ax.ticklabel_format(axis="y", useOffset=False)


def draw_recalls(ax, recalls, every, turn=None):        # {name: [n]}, steps between two measurements, step or None
    """Recall of several indexers while they learn; `turn`: where one of them goes from all entries to its picks."""
    for (name, values), color, mark, dash in zip(recalls.items(), COLORS, MARKS, DASHES):
        ax.plot(every * np.arange(len(values)), 100 * np.asarray(values), color=color, marker=mark, ms=4, ls=dash, label=name)
    if turn is not None:
        ax.axvline(turn, color=QUIET, lw=0.8, ls=":")
        ax.text(turn, 2, " the first: picks only", color=QUIET, ha="left", va="bottom")
    ax.set(xlabel="step", ylabel="attention's best that are picked (%)", ylim=(0, 103))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
