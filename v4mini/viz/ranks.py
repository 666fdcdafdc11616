"""Rows that travel between processes, and what the wire carries. Not here: who sends what (lessons/processes.py)."""

import numpy as np

from v4mini.viz.style import BLUE, INK, PAPER, RED

_AROUND = 0.46 * np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]])


def draw_exchange(ax, rows, title=""):                  # [ranks, ranks]: rows from each rank to each
    """A square for each pair; those on the diagonal stay at home and are framed."""
    rows = np.asarray(rows)
    ax.imshow(rows, cmap="cividis", vmin=0)
    for i, j in np.ndindex(*rows.shape):
        ax.text(j, i, f"{rows[i, j]}", ha="center", va="center", color=INK if rows[i, j] > rows.max() * 0.6 else PAPER)
        if i == j:
            ax.plot(j + _AROUND[0], i + _AROUND[1], color=RED, lw=2, ls="-", marker="")
    ax.set(xticks=range(len(rows)), yticks=range(len(rows)), xlabel="to the rank with the expert",
           ylabel="from the rank with the token", title=title)
    ax.grid(False)


def draw_wire(ax, ranks, pencil, counted):              # [n], [n] bytes a token, {ranks: bytes a token}
    """Bytes that a token sends and gets back: a line by pencil, points as counted."""
    ax.plot(ranks, np.asarray(pencil) / 1000, color=BLUE, marker="", label="pencil, even choice")
    ax.plot(list(counted), [value / 1000 for value in counted.values()], color=RED, marker="s", ls="", label="counted, this text")
    ax.set(xlabel="processes", ylabel="kB for each token", ylim=(0, None), xticks=ranks)
    ax.legend(loc="lower right")
