"""What a program of a kernel reads, and how much arithmetic a chip has for it. Not here: kernels, chips (data/machines.json)."""

import numpy as np

from v4mini.viz.style import BLUE, COLORS, INK, MARKS, QUIET


def draw_gather(ax, blocks, rows, label="entries in memory"):           # [[row, ...] of each block], how many rows there are
    """Rows in memory as a column of lines, a program's blocks beside it; a line from each row to its place in a block."""
    place = 0
    for number, block in enumerate(blocks):
        color = COLORS[number % len(COLORS)]
        for row in block:
            ax.plot([0, 1], [row, place], color=color, lw=1, ls="-", marker="")
            ax.plot([-0.12, 0], [row, row], color=color, lw=2, ls="-", marker="")
            place += rows / sum(map(len, blocks))
        ax.text(1.04, place - len(block) / 2 * rows / sum(map(len, blocks)), f"block {number}: {len(block)} rows", va="center",
                color=INK)
    ax.plot([-0.12, -0.12, 0, 0, -0.12], [0, rows, rows, 0, 0], color=QUIET, lw=1, ls="-", marker="")
    ax.set(xlim=(-0.2, 1.5), ylim=(rows + 1, -1), xticks=[], ylabel=label)
    ax.spines["bottom"].set_visible(False)
    ax.grid(False)


def draw_budget(ax, used, room, unit):                  # {what: amount}, amount there is
    """One bar for each, and a line where the chip ends; a bar beyond the line is refused."""
    names, values = list(used), list(used.values())
    bars = ax.barh(names, values, color=[BLUE if value <= room else COLORS[1] for value in values], height=0.6)
    ax.bar_label(bars, [f"{value:,}" + ("" if value <= room else "  refused") for value in values], padding=4)
    ax.axvline(room, color=INK, ls="--", lw=1.4, marker="", label=f"the chip has {room:,} {unit}")
    ax.set(xlabel=unit, xlim=(0, 1.35 * max(*values, room)))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


def draw_roofs(ax, chips, work):                        # {chip: (FLOP/s, bytes/s)}, {kernel: FLOP a byte}
    """Rooflines on logarithmic axes; each kernel stands at its FLOP a byte, on every roof."""
    x = np.logspace(-0.3, 3.5, 200)
    for (name, (flops, bandwidth)), color in zip(chips.items(), COLORS):
        label = f"{name}: flat from {flops / bandwidth:.0f} on"
        ax.plot(x, np.minimum(flops, x * bandwidth) / 1e12, color=color, marker="", label=label)
        for mark, intensity in zip(MARKS, work.values()):
            ax.plot(intensity, min(flops, intensity * bandwidth) / 1e12, marker=mark, color=color, ls="")
    for name, intensity in work.items():
        ax.axvline(intensity, color=QUIET, lw=0.8, ls=":", marker="")
        ax.text(intensity, 0.025, f" {name}", rotation=90, va="bottom", ha="right", color=INK)
    ax.set(xscale="log", yscale="log", xlabel="FLOP for each byte read", ylabel="TFLOP/s at most", ylim=(0.02, 2000))
    ax.minorticks_off()
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
