"""Many tokens in one entry: who counts how much, who may read what, how it grows. Not here: pooling (ops/compress.py)."""

import numpy as np

from v4mini.viz.style import BLUE, DASHES, INK, MARKS, ORANGE, QUIET, RED


def draw_pooling(ax, weights, names):                   # [tokens, channels]
    """One strip of bars a channel, each as high as its own largest weight; beside it, how many equal tokens it amounts to."""
    count, channels = weights.shape
    for row, own in enumerate(weights.T):
        base = channels - 1 - row
        ax.axhline(base, color=QUIET, lw=0.8)
        ax.bar(np.arange(count), 0.8 * own / own.max(), bottom=base, width=0.9, color=(BLUE, ORANGE)[row % 2])
        note = f"largest {own.max():.3f}\nas if {amounts_to(own):.0f} of {count}"
        ax.text(1.02 * count, base + 0.35, note, fontsize=9, va="center")
    ax.set_yticks(np.arange(channels)[::-1] + 0.35, names)
    ax.set(xlabel="token of the block (0 is the first)", xlim=(-1, 1.2 * count), ylim=(-0.1, channels))
    ax.set_xticks(np.arange(0, count, max(1, count // 8)))
    ax.grid(False)


def amounts_to(weights):                                # [tokens, ...] -> [...]
    """How many tokens share a sum: n if n of them have 1 / n each, 1 if one has all."""
    return 1 / np.sum(np.square(weights), axis=0)


def draw_ones(ax, matrix, xlabel, ylabel, framed=()):   # [rows, columns] of 0 and 1
    """A matrix of 0 and 1 with its digits; `framed` names (row, column) places to draw a frame around."""
    rows, columns = np.shape(matrix)
    ax.imshow(np.asarray(matrix, float), cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
    for row in range(rows):
        for column in range(columns):
            ax.text(column, row, int(matrix[row][column]), ha="center", va="center", fontsize=9, color=INK)
    for row, column in framed:
        ax.plot(*_frame(row, column), color=ORANGE, lw=2.5, ls="-", marker="")
    ax.set_xticks(range(columns))
    ax.set_yticks(range(rows))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(False)


def draw_reach(ax, raw, pooled, ratio):                 # bool [T, T] twice
    """Which tokens each token gets to see: as a row (a dot), within an entry (a shade), both, or not at all (a cross).

    Handles for a legend are set; the caller places it.
    """
    count = len(raw)
    ax.imshow(np.where(pooled, 1.0, 0.0), cmap="Oranges", vmin=0, vmax=2.4, aspect="equal")
    at, of = np.nonzero(raw)
    ax.plot(of, at, color=BLUE, marker="o", ls="", ms=5, label="a row of its own (window)")
    missed = ~raw & ~pooled & np.tri(count, dtype=bool)
    if missed.any():
        at, of = np.nonzero(missed)
        ax.plot(of, at, color=INK, marker="x", ls="", ms=6, mew=1.8, label="not seen at all")
    ax.bar([0], [0], color="#FDA762", label="part of an entry")                 # a swatch for the legend
    for edge in range(0, count + 1, ratio):
        ax.axvline(edge - 0.5, color=QUIET, lw=0.8, ls=":")
    ax.set_xticks(range(0, count, ratio))
    ax.set_yticks(range(0, count, ratio))
    ax.set(xlabel="token looked at", ylabel="token that asks, t", xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    ax.grid(False)


def draw_one_softmax(ax, window, entries, sink, ratio):         # [W], [N], one number: together 1
    """What one head of one token reads, in percent: rows of the window by age, entries, the sink, all on one scale."""
    W, N, gap = len(window), len(entries), max(2, len(window) // 16)
    places = {"rows of the window": np.arange(W), "entries": W + gap + np.arange(N) * gap, "sink": np.array([W + (N + 2) * gap])}
    for (name, x), values, color, mark in zip(places.items(), (window, entries, [sink]), (BLUE, RED, INK), MARKS):
        ax.vlines(x, 0, 100 * np.asarray(values), color=color, lw=1.2)
        ax.plot(x, 100 * np.asarray(values), ls="", marker=mark, color=color, label=f"{name} ({100 * np.sum(values):.1f}%)")
    ax.set_xticks([0, W - 1, *places["entries"], *places["sink"]],
                  [f"{W - 1} tokens\nago", "itself", *(f"{ratio * i}" for i in range(N)), "sink"])
    ax.set(xlabel="what is read (an entry by the position of its first token)", ylabel="attention weight (%)")
    ax.set_ylim(0)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def draw_lengths(ax, counts, right, told, letters):     # [n], [n], {name: [n] means of letters, as numbers}
    """What a model answers on average to "how long?", beside the right answer, which is drawn as steps."""
    ax.step(counts, right, where="post", color=QUIET, lw=1.2, ls="-", marker="", label="right")
    for (name, means), color, mark, dash in zip(told.items(), (BLUE, RED, INK), MARKS, DASHES):
        ax.plot(counts, means, color=color, marker=mark, ls=dash, label=name)
    ax.set(xlabel="entries that the last token can see", ylabel="answer")
    ax.set_xticks(counts)
    ax.set_yticks(range(len(letters)), letters)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def draw_growth(ax, tokens, series, ylabel):            # [n], {name: [n]}
    """How something grows with the context, on two logarithmic axes; each line has its own mark and dash."""
    for (name, values), mark, dash in zip(series.items(), MARKS, DASHES):
        ax.plot(tokens, values, marker=mark, ls=dash, label=name)
    ax.set(xscale="log", yscale="log", xlabel="context (tokens)", ylabel=ylabel)
    ax.set_xticks(tokens[::2], [human_tokens(count) for count in tokens[::2]])
    ax.minorticks_off()
    ax.legend()


def human_tokens(count):                                # -> "512", "4K", "1M"; powers of 1024
    for size, unit in ((1 << 20, "M"), (1 << 10, "K")):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)


def _frame(row, column):                                # the corners of a cell, once round
    x, y = column - 0.5, row - 0.5
    return [x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y]
