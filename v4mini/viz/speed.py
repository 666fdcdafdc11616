"""Speed against length, engine by engine. Not here: measuring it (bench/)."""

from itertools import cycle

from v4mini.viz.style import save_figure


def draw_comparison(axes, results):                              # results: what, tokens, engine, seconds
    """Seconds against tokens on two logarithmic axes, a marker of its own for each engine."""
    marks = cycle("osD^v")
    for engine in dict.fromkeys(result.engine for result in results):
        own = [(result.tokens, result.seconds) for result in results if result.engine == engine and result.seconds]
        axes.plot(*zip(*own), marker=next(marks), label=engine)
    axes.set(xscale="log", yscale="log", xlabel="length (tokens)",
             ylabel="whole text (s)" if results[0].what == "prefill" else "one token (s)", title=results[0].what)
    axes.legend()
    return axes


def save_comparison(results, path):
    """The same picture as a file, without a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    draw_comparison(figure.subplots(), results)
    save_figure(figure, path, dpi=150)


def draw_kernels(axes, timings):                        # timings: name, share, bound
    """Share of its ceiling that each operation reaches; hatched where reading memory is the ceiling."""
    names = [timing.name for timing in timings]
    bars = axes.barh(names, [100 * timing.share for timing in timings], color="C0")
    for bar, timing in zip(bars, timings):
        if timing.bound == "read":
            bar.set(hatch="//", facecolor="C1")
    axes.bar_label(bars, fmt="%.0f", padding=2)
    axes.invert_yaxis()
    axes.set(xlim=(0, 110), xlabel="of its ceiling (%): plain, matrix products; hatched, reading memory")
    return axes


def save_kernels(timings, path):
    """The same picture as a file, without a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    draw_kernels(figure.subplots(), timings)
    save_figure(figure, path, dpi=150)
