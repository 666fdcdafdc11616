"""The map of the code, drawn: floors with their rooms, imports running down. Not here: what is in the rooms."""

from v4mini.viz.style import BLUE, INK, ORANGE, PAPER, QUIET

FLOORS = (                  # from the roof down: what the floor is for, its rooms
    ("learn, remember, speak", ("training", "inference")),
    ("ids to logits", ("model.py",)),
    ("which weight meets which operation", ("layers", "kernels", "engines.py", "accel")),
    ("the one list of operations", ("backend.py", "planning")),
    ("formulas, and where numbers come from", ("ops", "weights")),
    ("the ground", ("numerics", "config", "shapes.py", "printable.py", "untrusted.py", "writing.py")),
)
GARDEN = ("text", "trace.py", "viz", "lessons", "cli/")


def draw_house(ax, path=("config", "weights", "ops", "layers", "model.py", "inference")):
    """The floors as rows of boxes; the rooms that numbers walk through on their way to a word are filled."""
    for height, (purpose, rooms) in enumerate(reversed(FLOORS)):
        ax.text(-0.15, height + 0.4, purpose, ha="right", va="center", color=QUIET, fontsize=9.5)
        for place, room in enumerate(rooms):
            _box(ax, place * 1.5, height, room, room in path)
    for place, room in enumerate(GARDEN):
        _box(ax, -2.25 + place * 1.5, -1.4, room, False, dashed=True)
    ax.text(-2.4, -1.0, "garden", ha="right", va="center", color=QUIET, fontsize=9.5)
    ax.annotate("", (6.2, 1.1), (6.2, len(FLOORS) - 0.3), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "lw": 2})
    ax.text(6.35, len(FLOORS) / 2, "imports run\ndown only", va="center", color=INK)
    ax.set(xlim=(-4.1, 9.0), ylim=(-1.6, len(FLOORS) + 0.1))
    ax.axis("off")


def _box(ax, x, y, name, filled, dashed=False):
    from matplotlib.patches import FancyBboxPatch

    ax.add_patch(FancyBboxPatch((x, y), 1.3, 0.75, boxstyle="round,pad=0,rounding_size=0.08", lw=1.4, ec=BLUE,
                                fc=BLUE if filled else PAPER, ls="--" if dashed else "-"))
    ax.text(x + 0.65, y + 0.37, name, ha="center", va="center", color=PAPER if filled else INK, family="monospace",
            fontsize=9.5 if len(name) < 11 else 7.5)
