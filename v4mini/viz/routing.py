"""Experts and routing, drawn and told: who is chosen, how much each counts, how the work spreads.

In every picture of a routing an expert is a row, so that pictures side by side can be read across.
Not here: computing a routing (ops/route.py), running a model for one (widgets/what_if.py).
"""

from collections import Counter
from math import ceil, sqrt

import numpy as np

from v4mini.viz.style import BLUE, GREEN, INK, ORANGE, PAPER, QUIET, RED

PALE = "#D3DCE6"            # experts that are not asked
TOKENS_SHOWN = 32           # columns of the map; a longer text is shown around the selected token
EXPERTS_SHOWN = 24          # rows of a table
PIECES_SHOWN = 8            # different tokens named for one expert
DOT = 170                   # area of a mark, in points, for a weight of 1


# ---- numbers ----

def load(chosen, n_experts):                            # [T, K] int -> [E] int
    """How many tokens each expert works on."""
    return np.bincount(np.asarray(chosen).ravel(), minlength=n_experts)


def answered(chosen, pieces, n_experts):                # [T, K] int, [T] texts -> {expert: Counter of pieces}
    """What each expert answers for: which tokens chose it, and how often."""
    found = {expert: Counter() for expert in range(n_experts)}
    for picks, piece in zip(np.asarray(chosen).tolist(), pieces):
        for expert in picks:
            found[expert][piece] += 1
    return found


def changed(before, after):                             # [T, K], [T, K'] -> [T] bool
    """Which tokens have other experts than before, in whatever order."""
    return np.array([set(a) != set(b) for a, b in zip(np.asarray(before).tolist(), np.asarray(after).tolist())], bool)


# ---- tables: (header, rows) for viz.tables.text_table or a page ----

def choice_rows(scores, affinities, chosen, weights, bias=None):        # [E], [E], [K], [K], [E] -> header, rows
    """One token in one layer: every expert, the best choice first (of many experts the best only). scores: None if unknown."""
    biased = affinities if bias is None else affinities + bias
    weight_of = dict(zip(np.asarray(chosen).tolist(), np.asarray(weights).tolist()))
    order = np.argsort(-biased, kind="stable").tolist()
    order = [e for rank, e in enumerate(order) if rank < EXPERTS_SHOWN or e in weight_of]
    rows = [[e, "" if scores is None else f"{scores[e]:+.2f}", f"{affinities[e]:.2f}", "" if bias is None else f"{bias[e]:+.2f}",
             "" if bias is None else f"{biased[e]:.2f}", "yes" if e in weight_of else "",
             f"{weight_of[e]:.2f}" if e in weight_of else ""] for e in order]
    return ["expert", "score", "affinity", "bias", "affinity + bias", "chosen", "weight"], rows


def answer_rows(chosen, pieces, n_experts):             # [T, K], [T] texts -> header, rows
    """All tokens in one layer: what each expert answers for, the busiest first if there are many."""
    counts, share = load(chosen, n_experts), 100 / max(1, np.asarray(chosen).size)
    order = range(n_experts) if n_experts <= EXPERTS_SHOWN else np.argsort(-counts, kind="stable")[:EXPERTS_SHOWN].tolist()
    answers = answered(chosen, pieces, n_experts)
    return (["expert", "tokens", "share", "answers for"],
            [[e, int(counts[e]), f"{counts[e] * share:.0f}%", told(answers[e])] for e in order])


def told(counter):                                      # -> "␣self ×2 · (self · ..."
    """The most frequent pieces first, equal ones in the order of the text."""
    parts = [piece if count == 1 else f"{piece} ×{count}" for piece, count in counter.most_common(PIECES_SHOWN)]
    rest = len(counter) - PIECES_SHOWN
    return " · ".join(parts) + (f" and {rest} more" if rest > 0 else "")


# ---- pictures of a routing ----

def draw_choice(ax, affinities, chosen, weights, bias=None, by_table=False):        # [E], [K], [K], [E]
    """One token in one layer: a bar per expert, what the bias makes of it, and what the chosen weigh."""
    E, chosen, color = len(affinities), np.asarray(chosen), ORANGE if by_table else BLUE
    picked = np.isin(np.arange(E), chosen)
    ax.barh(np.arange(E), affinities, height=0.66, color=np.where(picked, color, PALE))
    biased, right = affinities, float(max(np.max(affinities), 1e-9))
    if bias is not None:
        biased = affinities + bias
        ax.hlines(np.arange(E), affinities, biased, color=RED, lw=1.6)
        ax.plot(biased, np.arange(E), ls="", marker="|", ms=11 if E <= 32 else 4, mew=2.2, color=RED, label="with bias")
        ranked = np.sort(biased)[::-1]
        if len(chosen) < E:
            line = (ranked[len(chosen) - 1] + ranked[len(chosen)]) / 2
            ax.axvline(line, color=INK, ls=":", lw=1.4, label=f"the best {len(chosen)} lie right of it")
    right = max(right, float(np.max(biased)))
    for expert, weight in zip(chosen.tolist(), np.asarray(weights).tolist()):
        ax.text(1.07 * right, expert, f"{weight:.2f}", va="center", color=INK, weight="bold", fontsize=9.5)
    ax.text(1.07 * right, 1.01, "weight", color=INK, fontsize=9, va="bottom", transform=ax.get_xaxis_transform())
    ax.set(xlim=(min(0, float(np.min(biased)) * 1.05), 1.24 * right), xlabel="affinity", ylabel="expert")
    if bias is not None:
        _legend_below(ax)
    _rows_are_experts(ax, E)
    ax.grid(axis="y", visible=False)


def draw_journey(ax, affinities, chosen, weights, kinds, layer=None):   # L times: [E], [K], [K]; kinds: "table" or "gate"
    """One token through all layers: shade for affinity, a mark for each chosen expert, its size for the weight.

    The line follows the expert that counts most. Numbers name experts within their layer: 3 here and 3 there are strangers.
    """
    E = len(affinities[0])
    _shade(ax, np.array(affinities).T)
    loudest = [int(picks[np.argmax(w)]) for picks, w in zip(chosen, weights)]
    ax.plot(range(len(kinds)), loudest, color=QUIET, lw=1.3, marker="", ls="-", zorder=2)
    for kind, mark, color in (("table", "s", ORANGE), ("gate", "o", BLUE)):
        dots = [(place, e, w) for place, own in enumerate(kinds) if own == kind for e, w in zip(chosen[place], weights[place])]
        if dots:
            x, y, w = map(np.array, zip(*dots))
            ax.scatter(x, y, s=DOT * w + 12, marker=mark, c=color, ec=PAPER, lw=1, zorder=3, label=f"by {kind}")
    if layer is not None:
        _frame(ax, layer, E)
    ax.set_xticks(range(len(kinds)), [f"{i}\n{kind}" for i, kind in enumerate(kinds)] if len(kinds) <= 12 else
                  [str(i) if i % 5 == 0 else "" for i in range(len(kinds))])
    ax.set(xlabel="layer", ylabel="expert")
    _rows_are_experts(ax, E)


def draw_map(ax, affinities, chosen, weights, pieces, token=None):      # [T, E], [T, K], [T, K], [T] texts
    """All tokens in one layer: a column per token, marks for its experts. Shows at most TOKENS_SHOWN, around `token`."""
    T, E = affinities.shape
    first = max(0, min((token or 0) - TOKENS_SHOWN // 2, T - TOKENS_SHOWN))
    part = slice(first, first + TOKENS_SHOWN)
    _shade(ax, affinities[part].T)
    shown, scale = np.asarray(chosen)[part], np.asarray(weights)[part]
    x = np.repeat(np.arange(len(shown)), shown.shape[1])
    ax.scatter(x, shown.ravel(), s=0.45 * DOT * scale.ravel() + 6, c=INK, ec=PAPER, lw=0.6, zorder=3)
    if token is not None:
        _frame(ax, token - first, E)
    ax.set_xticks(range(len(shown)), [_short(piece) for piece in pieces[part]], rotation=60, ha="right", rotation_mode="anchor",
                  family="monospace", fontsize=8.5)
    ax.set(xlabel="token" if len(shown) == T else f"token ({first} to {first + len(shown) - 1} of {T})", ylabel="expert")
    _rows_are_experts(ax, E)


def draw_load(ax, counts, tokens_k):                    # [E] int, tokens * chosen ones
    """Tokens per expert, and the line at which all would have the same."""
    even = tokens_k / len(counts)
    ax.barh(np.arange(len(counts)), counts, height=0.66, color=GREEN)
    ax.axvline(even, color=INK, ls="--", lw=1.4, label=f"even: {even:.1f}")
    ax.set(xlabel="tokens", ylabel="expert", xlim=(0, max(1, even, float(np.max(counts))) * 1.08))
    _legend_below(ax)
    ax.xaxis.get_major_locator().set_params(integer=True)
    _rows_are_experts(ax, len(counts))
    ax.grid(axis="y", visible=False)


def draw_explorer(figure, layers, pieces, layer, token):
    """Four views on one routing: this token above, the whole text below; bars on the left, places on the right.

    layers: for each layer a dict of plain arrays: kind, affinities [T, E], bias [E] or None, chosen [T, K], weights [T, K].
    """
    here = layers[layer]
    axes = figure.subplots(2, 2, gridspec_kw={"width_ratios": (1, 2.1)})
    draw_choice(axes[0, 0], here["affinities"][token], here["chosen"][token], here["weights"][token], here["bias"],
                here["kind"] == "table")
    axes[0, 0].set_title(f"token {token}, layer {layer}: the {here['kind']} chooses", pad=16)
    one = [[own[name][token] for own in layers] for name in ("affinities", "chosen", "weights")]
    draw_journey(axes[0, 1], *one, [own["kind"] for own in layers], layer)
    axes[0, 1].set_title(f"token {token} {_short(pieces[token], 16)} through all layers", pad=16)
    draw_load(axes[1, 0], load(here["chosen"], here["affinities"].shape[1]), here["chosen"].size)
    axes[1, 0].set_title(f"load in layer {layer}")
    draw_map(axes[1, 1], here["affinities"], here["chosen"], here["weights"], pieces, token)
    axes[1, 1].set_title(f"all tokens in layer {layer}: shade for affinity, dots for weight")
    return axes


# ---- pictures of the lesson ----

def draw_designs(ax, designs):
    """Ways to spend parameters, areas to scale. designs: (title, area of one, how many, which are used, how many shared)."""
    left = 0.0
    for title, area, count, used, shared in designs:
        side, columns = sqrt(area), ceil(sqrt(count))
        for number in range(count):
            _square(ax, left + side * (number % columns), side * (number // columns), side, BLUE if number in used else PALE)
        width = side * columns
        for number in range(shared):
            _square(ax, left + width + 0.8, side * number, side, ORANGE)
        width += (0.8 + side) * bool(shared)
        ax.text(left, -1.0, title, va="bottom", fontsize=10)
        left += max(width, 11) + 3.2
    ax.set(xlim=(-0.5, left - 2.5), ylim=(16.2, -2.6), aspect="equal")
    ax.axis("off")


def draw_affinity(ax, scores, curves):                  # [N], {name: [N]}
    """Functions that turn a score into an affinity."""
    for name, values in curves.items():
        ax.plot(scores, values, label=name, marker="")
    ax.set(xlabel="score (logit of the gate)", ylabel="affinity")
    ax.legend()


def draw_balance(axes, loads, names):                   # two Axes, {name: [steps, E] share of the mean}
    """Left: the load of each expert at the end. Right: the busiest expert, step by step. 1 is an even share."""
    left, right = axes
    E = next(iter(loads.values())).shape[1]
    for place, ((name, values), color, hatch) in enumerate(zip(loads.items(), (RED, BLUE), ("//", ""))):
        left.bar(np.arange(E) + 0.4 * place - 0.2, values[-1], 0.38, label=name, color=color, hatch=hatch, ec=PAPER)
        right.plot(values.max(axis=1), marker="", label=name, color=color, ls="--" if hatch else "-")
    for ax in axes:
        ax.axhline(1, color=INK, ls=":", lw=1.3)
        ax.set_ylim(0, None)
    left.set_xticks(range(E), names)
    left.set(xlabel="expert", ylabel="load (1: an even share)")
    right.set(xlabel="step", ylabel="load of the busiest")
    left.legend()


def draw_clamp(ax, x, free, cut, limit, xlabel, ylabel):                # [N], [N], [N]
    """A function without its clamp and with it."""
    ax.plot(x, free, marker="", color=QUIET, ls="--", label="without the clamp")
    ax.plot(x, cut, marker="", color=BLUE, ls="-", lw=2.4, label=f"limit {limit:g}")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend()


def _legend_below(ax):                                  # so many letters below the axis, however tall it is
    ax.legend(fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.6, ncols=2, handlelength=1.3,
              columnspacing=1)


def _rows_are_experts(ax, E):                           # expert 0 on top
    every = max(1, ceil(E / 16))
    ax.set_yticks(range(0, E, every))
    ax.set_ylim(E - 0.5, -0.5)


def _shade(ax, values):                                 # [E, columns]: pale enough for marks on top
    ax.imshow(values, cmap="Blues", vmin=0, vmax=1.4 * max(float(np.max(values)), 1e-9), aspect="auto", interpolation="nearest")
    ax.grid(False)


def _frame(ax, column, E):
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((column - 0.5, -0.5), 1, E, fill=False, ec=RED, lw=2, zorder=4, clip_on=False))


def _square(ax, x, y, side, color):
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((x, y), 0.9 * side, 0.9 * side, fc=color, ec="none"))


def _short(piece, most=9):                              # a $ would begin a formula
    return (piece if len(piece) <= most else piece[: most - 1] + "…").replace("$", r"\$")
