"""One look for all figures: readable in print, on a dark page, and by the colour-blind.

Lines differ in colour, mark and dash; the ground is always white, so that a dark page cannot swallow the axes.
Not here: what is drawn (the other files of viz/).
"""

import io
import os

from v4mini.shapes import Refused
from v4mini.writing import write_whole

# Okabe and Ito's colours, told apart with any kind of colour vision; in this order also by their grey in print
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
INK, QUIET, PAPER = "#1A1A1A", "#6B6B6B", "#FFFFFF"
COLORS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)
SIGNED = "RdBu_r"               # numbers of either sign: 0 is white, blue below, red above; the colour-blind see it too
MARKS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 2)))


def use():
    """Set matplotlib's defaults for a notebook: call once, in its first cell."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update({
        "figure.figsize": (8, 3.6), "figure.dpi": 96, "figure.facecolor": PAPER, "figure.constrained_layout.use": True,
        "savefig.facecolor": PAPER, "axes.facecolor": PAPER, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": QUIET,
        "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": "#DDDDDD", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "font.size": 10.5, "axes.titlesize": 11, "axes.titlelocation": "left", "legend.frameon": False,
        "lines.linewidth": 1.8, "lines.markersize": 5, "image.cmap": "cividis",
        "axes.prop_cycle": cycler(color=COLORS) + cycler(marker=MARKS) + cycler(linestyle=DASHES)})


def kind_of_picture(path):              # -> "png", "svg", ...
    """What the name of a file ends in. Refused if matplotlib draws no such kind."""
    from matplotlib.backend_bases import FigureCanvasBase

    kind = os.path.splitext(path)[1][1:].lower()
    if kind not in FigureCanvasBase.get_supported_filetypes():
        raise Refused(f"{path}: expected a name that ends in .png, .svg or .pdf, got .{kind}. Choose among them.")
    return kind


def save_figure(figure, path, dpi):
    """A figure into a file of the kind that its name ends in: .png, .svg, .pdf ... Refused if matplotlib knows no such kind."""
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi, format=kind_of_picture(path))
    write_whole(path, file.getvalue())
