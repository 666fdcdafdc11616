"""A training run as pictures: losses, the rate, router load, recall, answers. Plain log lines in, artists out.

Not here: the log (training/loop.py).
"""

from v4mini.viz.style import COLORS, DASHES, INK, MARKS, QUIET, save_figure

NAMES = {"next": "next token", "mtp": "token after next (MTP)", "index": "indexer", "balance": "balance"}


def draw_losses(ax, lines, names=("next", "mtp", "index")):            # [log line]
    """Losses in nats against tokens seen, and where stages begin."""
    for name, color, dash in zip(names, COLORS, DASHES):
        own = [(line["tokens"], line["losses"][name]) for line in lines if name in line["losses"]]
        if own:
            ax.plot(*zip(*own), color=color, ls=dash, marker="", label=NAMES.get(name, name))
    _stages(ax, lines)
    ax.set(xlabel="tokens", ylabel="loss (nats)")
    ax.legend(loc="upper right")


def draw_shares(ax, lines, name, label):                # name: "load" or "recall", {layer: number} in each line
    """One line per layer, its number at each logged step that has one."""
    layers = sorted({layer for line in lines for layer in line[name]}, key=int)
    for layer, color, mark, dash in zip(layers, COLORS, MARKS, DASHES):
        own = [(line["tokens"], line[name][layer]) for line in lines if layer in line[name]]
        ax.plot(*zip(*own), color=color, marker=mark, ms=3, ls=dash, label=f"layer {layer}")
    if name == "load":
        ax.axhline(1, color=INK, lw=0.8)
    _stages(ax, lines)
    ax.set(xlabel="tokens", ylabel=label)
    if layers:
        ax.legend(loc="best", ncols=2)


def draw_answers(ax, lines):
    """Share of fresh questions answered right, where it was measured."""
    own = [(line["tokens"], 100 * line["accuracy"]) for line in lines if "accuracy" in line]
    if own:
        ax.plot(*zip(*own), color=COLORS[0], marker="o", ms=3)
    _stages(ax, lines)
    ax.set(xlabel="tokens", ylabel="answer tokens right (%)", ylim=(0, 103))


def _stages(ax, lines):
    for before, line in zip(lines, lines[1:]):
        if before["stage"] != line["stage"]:
            ax.axvline(before["tokens"], color=QUIET, lw=0.7, ls=":")


def save_training(lines, path):                         # [log line], path of a .png, .svg or .pdf
    """Four pictures of one run into a file, without a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    (losses, answers), (load, recall) = figure.subplots(2, 2)
    draw_losses(losses, lines)
    draw_answers(answers, lines)
    draw_shares(load, lines, "load", "busiest expert (mean loads)")
    draw_shares(recall, lines, "recall", "indexer recall")
    save_figure(figure, path, dpi=120)
