"""Something measured after every layer: one line per series, layers along the axis. Not here: measuring it."""

KINDS = {"window": "win", "csa": "CSA", "hca": "HCA"}


def draw_by_layer(ax, series, kinds, ylabel, log=False):
    """series: {name: one value per layer}; kinds: "window", "csa" or "hca" per layer, written under its number."""
    for name, values in series.items():
        ax.plot(range(len(values)), values, label=name)
    ax.set_xticks(range(len(kinds)), [f"{i}\n{KINDS.get(kind, kind)}" for i, kind in enumerate(kinds)])
    ax.set(xlabel="after layer", ylabel=ylabel)
    if log:
        ax.set_yscale("log")
    if len(series) > 1:
        ax.legend()
