"""Tables as plain text: what a figure shows, for readers without one. Not here: what goes into them."""

from v4mini.printable import printable


def text_table(header, rows):                           # [str], [[value, ...]] -> str
    """Columns wide enough for their contents; numbers to the right, words to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    is_number = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(header))]

    def line(row):
        parts = [text.rjust(width) if right else text.ljust(width) for text, width, right in zip(row, widths, is_number)]
        return "  ".join(parts).rstrip()
    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, cells)])


def _cell(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else printable(str(value))


def counted(number, noun):                              # -> "1 tensor", "2,000 tensors"
    return f"{number:,} {noun}{'s' * (number != 1)}"


def human_bytes(count):                                 # -> "159.61 GB"; powers of 1000
    """Bytes in the largest unit that keeps the number above 1, once it is rounded."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.999995 * size:                    # or the unit below would say 1000.00
            return f"{count / size:.2f} {unit}"
    return f"{count:,.0f} B"


def human_count(count):                                 # -> "284.332 B" (thousand million), "8.458 M"
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= size:
            return f"{count / size:,.3f} {unit}"
    return f"{count:,.0f}"
