"""Speed against length, engine by engine. Not here: measuring it (bench/)."""

from itertools import cycle


def draw_race(axes, laps):                              # laps: what, tokens, engine, seconds
    """Seconds against tokens on two logarithmic axes, a marker of its own for each engine."""
    marks = cycle("osD^v")
    for engine in dict.fromkeys(lap.engine for lap in laps):
        own = [(lap.tokens, lap.seconds) for lap in laps if lap.engine == engine and lap.seconds]
        axes.plot(*zip(*own), marker=next(marks), label=engine)
    axes.set(xscale="log", yscale="log", xlabel="length (tokens)",
             ylabel="whole text (s)" if laps[0].what == "prefill" else "one token (s)", title=laps[0].what)
    axes.legend()
    return axes


def save_race(laps, path):
    """The same picture as a file, without a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    draw_race(figure.subplots(), laps)
    figure.savefig(path, dpi=150)
