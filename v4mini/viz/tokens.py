"""Text as tokens: boxes around pieces, how a vocabulary shortens text, how long a chat's prompt is.

Not here: cutting text (text/).
"""

from v4mini.viz.style import BLUE, DASHES, INK, MARKS, ORANGE, PAPER, QUIET, RED, SKY

LETTER, LINE, GAP = 0.105, 0.42, 0.05                   # inches: a letter's width, a line's height, between boxes
KINDS = {                                               # colour, hatch
    "text": ("#D6E6F2", ""), "other": (PAPER, ""), "number": ("#FBE3B5", ""), "part": (SKY, "///"), "special": (RED, ""),
}


def kind_of(piece, special=False):                      # -> a name out of KINDS
    """Which box a piece gets: a special token, digits, part of a character, a word, or other marks."""
    if special:
        return "special"
    if piece.startswith("⟨"):
        return "part"
    bare = piece.strip("␣⏎⇥␍")
    return "number" if bare.isdigit() else "text" if any(letter.isalnum() for letter in bare) else "other"


def draw_pieces(ax, rows, labels, width=9.0):           # [[(piece, kind)]], [str]; width in inches
    """Each row of pieces as boxes, wrapped like a paragraph, its label above it. Sets the figure's height."""
    y = 0.0
    for label, pieces in zip(labels, rows):
        ax.text(0, y, label, va="center", color=QUIET, fontsize=9)
        y, x = y + 0.75 * LINE, 0.0
        for piece, kind in pieces:
            size = LETTER * _columns(piece) + 0.1
            if x + size > width and x:
                x, y = 0.0, y + LINE
            _box(ax, x, y, size, piece, kind)
            x += size + GAP
        y += 1.1 * LINE
    ax.set(xlim=(0, width), ylim=(y - 0.6 * LINE, -0.6 * LINE))
    ax.axis("off")
    ax.figure.set_size_inches(width, y)


def draw_shortening(ax, merges, curves):                # [n] int, {name: [n] bytes per token}
    """Bytes per token as more of the learned pairs are used."""
    for (name, values), mark, dash in zip(curves.items(), MARKS, DASHES):
        ax.plot(merges, values, label=name, marker=mark, ls=dash)
    ax.set(xlabel="learned pairs in use", ylabel="bytes per token", ylim=(0, None))
    ax.legend()


def draw_prompts(ax, turns, kept, read, with_thoughts):         # [n] int each, tokens
    """The prompt of each turn: what the cache holds already and what must be read; and its length if thoughts stayed."""
    ax.bar(turns, kept, color=SKY, ec=QUIET, label="in the cache already")
    ax.bar(turns, read, bottom=kept, color=ORANGE, ec=QUIET, hatch="//", label="read in this turn")
    ax.plot(turns, with_thoughts, color=BLUE, marker="s", ls="--", label="length if all thoughts stayed")
    ax.set(xlabel="turn", ylabel="tokens of the prompt", xticks=turns)
    ax.legend()


def _columns(text):                                     # wide letters take two
    return sum(2 if _is_wide(letter) else 1 for letter in text)


def _is_wide(letter):
    return 0x2E80 <= ord(letter) <= 0xFFEF or ord(letter) >= 0x1F000


def _box(ax, x, y, size, piece, kind):
    from matplotlib.patches import Rectangle

    color, hatch = KINDS[kind]
    piece = "".join("|" if letter == "｜" else "·" if _is_wide(letter) else letter for letter in piece)     # the font lacks them
    ax.add_patch(Rectangle((x, y - 0.36 * LINE), size, 0.72 * LINE, fc=color, ec=QUIET, lw=0.8, hatch=hatch))
    bold = kind == "special"
    ax.text(x + size / 2, y, piece, ha="center", va="center", family="monospace", fontsize=8.5,
            color=PAPER if bold else INK, weight="bold" if bold else "normal")
