"""Rotary positions as pictures: hands of a clock, a row at every position, products, turns per pair.

Not here: turning anything (ops/rope.py).
"""

import numpy as np

from v4mini.viz.style import BLUE, INK, MARKS, ORANGE, QUIET, RED, SIGNED, SKY

STEP_TO_LABEL = 0.25            # radians between two hands below which only the first and the last are numbered


def draw_hands(ax, pairs, labels, color=BLUE, title=""):        # [n, 2], [n] -> n hands from one centre
    """Each pair of numbers as the hand of a clock, numbered at its tip; hands that fall together are numbered together."""
    ax.add_patch(_circle(1.0, ec=QUIET, ls=":"))
    angles = np.arctan2(pairs[:, 1], pairs[:, 0])
    for place, (x, y) in enumerate(pairs):
        fade = 0.35 + 0.65 * (place + 1) / len(pairs)
        ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.8, "alpha": fade,
                                                    "shrinkA": 0, "shrinkB": 0})
    for angle, text in _tips(angles, labels):
        ax.text(1.22 * np.cos(angle), 1.22 * np.sin(angle), text, ha="center", va="center", color=INK, fontsize=9.5)
    ax.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xticks=(-1, 0, 1), yticks=(-1, 0, 1), aspect="equal", title=title,
           xlabel="first number", ylabel="second number")


def _tips(angles, labels):                              # -> [(angle, text)]: neighbours too near to read share one text
    near = np.abs(np.angle(np.exp(1j * np.diff(angles)))) < STEP_TO_LABEL
    if len(angles) > 1 and near.all():
        spread = abs(np.angle(np.exp(1j * (angles[-1] - angles[0]))))
        if spread < STEP_TO_LABEL:
            return [(angles.mean(), f"{labels[0]} ... {labels[-1]}")]
        return [(angles[0], labels[0]), (angles[-1], labels[-1])]
    return list(zip(angles, labels))


def draw_rows(ax, rows, untouched):                     # [positions, hd], how many numbers stand still
    """A row at every position: a column of the picture is one number of it; pairs are fenced off."""
    top = np.abs(rows).max()
    image = ax.imshow(rows, cmap=SIGNED, aspect="auto", vmin=-top, vmax=top, interpolation="nearest")
    for edge in range(untouched, rows.shape[1], 2):
        ax.axvline(edge - 0.5, color=INK, lw=3 if edge == untouched else 0.8)
    ax.grid(False)
    ax.set(xlabel="number in the row", ylabel="position (tokens)", xticks=range(rows.shape[1]))
    ax.figure.colorbar(image, ax=ax, label="value", shrink=0.9)


def draw_products(ax, products):                        # [readers, rows]
    """The product of every query with every key, as a square: one colour along a diagonal is one distance."""
    top = np.abs(products).max()
    image = ax.imshow(products, cmap=SIGNED, vmin=-top, vmax=top, interpolation="nearest")
    ax.grid(False)
    ax.set(xlabel="position of the key (tokens)", ylabel="position of the query (tokens)")
    ax.figure.colorbar(image, ax=ax, label="product", shrink=0.9)


def draw_by_distance(ax, distances, curves, ylabel):    # [n], {name: [n]}
    """One line per name against the distance in tokens, told apart by colour, dash and a few marks."""
    for (name, values), mark in zip(curves.items(), MARKS):
        ax.plot(distances, values, label=name, marker=mark, markevery=max(1, len(distances) // 8))
    ax.set(xlabel="distance (tokens)", ylabel=ylabel)
    ax.legend(ncols=len(curves), loc="lower right", bbox_to_anchor=(1, 1))


def draw_turns(ax, turns, fast, slow, low, high):       # {name: [pairs]}; two bounds in turns; first and last blended pair
    """How often each pair turns within some length; the pairs that YaRN keeps, blends and slows are told apart below."""
    pairs = len(next(iter(turns.values())))
    for (name, values), mark in zip(turns.items(), MARKS):
        ax.plot(range(pairs), values, label=name, marker=mark, markersize=4)
    for bound, text in ((fast, f"{fast:g} turns"), (slow, f"{slow:g} turn")):
        ax.axhline(bound, color=INK, lw=1, ls=":", marker="")
        ax.text(-0.4, bound * 1.15, text, color=INK, fontsize=9)
    ax.axvspan(low, high, color=ORANGE, alpha=0.18, lw=0)
    bottom = min(values.min() for values in turns.values()) / 6
    for x, text in ((low / 2, "kept"), ((low + high) / 2, "blended"), ((high + pairs - 1) / 2, "slowed")):
        ax.text(x, bottom * 1.4, text, ha="center", color=INK)
    ax.set(xlabel="pair (0 is the fastest)", ylabel="full turns", yscale="log", ylim=(bottom, None), xlim=(-0.6, pairs - 0.4))
    ax.legend(loc="upper right")


def draw_moved(ax, shifts, curves, bound=None):         # [n], {name: [n]}
    """How much an output changes when the whole text is moved by so many tokens."""
    for (name, values), mark, color in zip(curves.items(), MARKS, (BLUE, RED, SKY)):
        ax.plot(shifts, values, marker=mark, color=color)
        ax.text(shifts[0], max(values[:2]) * 2, name, color=color)
    if bound:
        ax.axhline(bound, color=INK, lw=1, ls=":", marker="")
        ax.text(shifts[0], bound * 1.3, f"what we allow: {bound:g}", color=INK, fontsize=9)
    ax.set(xscale="log", yscale="log", xlabel="whole text moved by (tokens)", ylabel="largest change / largest number")
    ax.set_ylim(top=8 * max(map(max, curves.values())))


def _circle(radius, **looks):
    from matplotlib.patches import Circle

    return Circle((0, 0), radius, fill=False, **looks)
