"""A checkpoint's files, drawn: what lies where, scales, codes, bytes kept and read. Not here: reading them (weights/)."""

import numpy as np

from v4mini.viz.style import BLUE, GREEN, INK, ORANGE, PAPER, PURPLE, RED, SKY

LOOKS = {"I8": (BLUE, ""), "F8_E4M3": (ORANGE, "///"), "F8_E8M0": (RED, "xxx"), "BF16": (GREEN, "..."), "F32": (PURPLE, "\\\\\\"),
         "I64": (SKY, "|||")}               # the files' word for a format -> colour and hatching
NAMES = {"I8": "I8: FP4 codes, two a byte", "F8_E4M3": "F8_E4M3: FP8 codes", "F8_E8M0": "F8_E8M0: scales"}


def runs(spans):                            # [(format, start, stop)] -> the same in order, neighbours of one format made one
    """What a file looks like from afar."""
    found = []
    for kind, start, stop in sorted(spans, key=lambda span: span[1:]):
        if found and found[-1][0] == kind and found[-1][2] == start:
            found[-1] = (kind, found[-1][1], stop)
        elif stop > start:
            found.append((kind, start, stop))
    return found


def draw_file(ax, header, spans, rows=6):   # bytes of the header, [(format, start, stop)]
    """A file as a strip, cut into rows of equal length, to scale: the header in black, then tensors by format."""
    pieces = [("header", 0, header), *runs(spans)]
    width = -(-max(stop for *_, stop in pieces) // rows)
    labelled = set()
    for kind, start, stop in pieces:
        color, hatch = LOOKS.get(kind, (INK, ""))
        for row in range(start // width, (stop - 1) // width + 1):
            left, right = max(start, row * width), min(stop, (row + 1) * width)
            label = NAMES.get(kind, kind) if kind not in labelled else None
            labelled.add(kind)
            ax.barh(row, (right - left) / 1e6, left=(left - row * width) / 1e6, height=0.74, color=color, hatch=hatch, ec=PAPER,
                    lw=0, label=label)
    ax.set_yticks(range(rows), [f"{row * width / 1e6:.1f} MB" for row in range(rows)])
    ax.set(xlabel="megabytes from the row's beginning", ylabel="row begins at", xlim=(0, width / 1e6))
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2), handlelength=2.4)


def draw_exponents(ax, exponents):          # [rows, columns] int
    """A number for each tile: the power of two that its codes are multiplied by. Written into the tiles if they are few."""
    image = ax.imshow(exponents, aspect="auto", vmin=np.min(exponents) - 1, vmax=np.max(exponents) + 1)
    if exponents.size <= 160:
        middle = (np.min(exponents) + np.max(exponents)) / 2
        for (row, column), value in np.ndenumerate(exponents):
            ax.text(column, row, f"{value}", ha="center", va="center", color=INK if value > middle else PAPER, fontsize=9)
    ax.set_xticks(range(exponents.shape[1]) if exponents.shape[1] <= 16 else range(0, exponents.shape[1], 4))
    ax.set_yticks(range(exponents.shape[0]) if exponents.shape[0] <= 16 else range(0, exponents.shape[0], 4))
    ax.set(xlabel="tile (128 columns each)", ylabel="tile (128 rows each)")
    ax.grid(visible=False)
    ax.figure.colorbar(image, ax=ax, label="n, of a scale of 2^n")


def draw_codes(ax, values, counts):         # [16] numbers, [16] int
    """How often each FP4 code stands in a tensor, at the value it has; the two zeros beside each other."""
    order = np.lexsort((np.signbit(values) == 0, values))           # -0 before 0
    share = 100 * counts[order] / np.sum(counts)
    names = [f"{'-' if np.signbit(value) else ''}{abs(value):g}" for value in values[order]]
    ax.bar(range(16), share, color=np.where(values[order] == 0, ORANGE, BLUE), width=0.8)
    ax.set_xticks(range(16), [f"{name}\n{code:04b}" for name, code in zip(names, order)], fontsize=8.5)
    ax.set(xlabel="value of the code, and its four bits", ylabel="share of all weights (%)")
    ax.grid(axis="x", visible=False)


def draw_read(ax, groups):                  # [(name, bytes kept, bytes that one token reads)]
    """Kept and read, group by group, on a logarithmic scale."""
    names, kept, read = zip(*groups)
    place = np.arange(len(names))
    ax.barh(place - 0.2, kept, height=0.38, color=SKY, label="kept")
    ax.barh(place + 0.2, np.maximum(read, 1), height=0.38, color=BLUE, hatch="///", ec=PAPER, lw=0, label="read for one token")
    ax.set_yticks(place, names)
    ax.set_xscale("log")
    ax.set_xticks([1e3, 1e6, 1e9, 1e11], ["1 kB", "1 MB", "1 GB", "100 GB"])
    ax.minorticks_off()
    ax.set(xlabel="bytes", xlim=(100, None))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right")
