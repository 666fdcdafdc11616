"""Lessons as plain text, for writing: `# %%` begins a code cell, `# %% [markdown]` a text cell of `# ` lines.

    python -m v4mini.lessons edit 02 --into DIR     notebooks/02_x.ipynb -> DIR/02_x.py
    python -m v4mini.lessons build DIR/02_x.py      -> notebooks/02_x.ipynb, not yet run

The .ipynb is what the project keeps; the .py is a tool of the author. Outputs are not in it.
Not here: running (notebooks.py).
"""

import re

from v4mini.lessons.notebooks import tidy

MARKER = re.compile(r"^# %%(.*)$", re.M)


def to_text(notebook):                      # -> text of a .py
    parts = []
    for cell in notebook.cells:
        tags = f" tags={','.join(cell.metadata['tags'])}" if cell.metadata.get("tags") else ""
        if cell.cell_type == "markdown":
            body = "\n".join(f"# {line}".rstrip() for line in cell.source.splitlines())
            parts.append(f"# %% [markdown]{tags}\n{body}")
        else:
            parts.append(f"# %%{tags}\n{cell.source}")
    return "\n\n".join(parts) + "\n"


def to_notebook(text, name="cell"):         # -> notebook without outputs; cell ids follow from their order
    import nbformat

    notebook = nbformat.v4.new_notebook()
    pieces = MARKER.split(text)[1:]
    for number, (head, body) in enumerate(zip(pieces[0::2], pieces[1::2]), 1):
        body = body.strip("\n")
        if "[markdown]" in head:
            lines = [re.sub(r"^# ?", "", line) for line in body.splitlines()]
            cell = nbformat.v4.new_markdown_cell("\n".join(lines))
        else:
            cell = nbformat.v4.new_code_cell(body)
        cell.id = f"{name}-{number:02d}"
        if "tags=" in head:
            cell.metadata["tags"] = head.split("tags=")[1].strip().split(",")
        notebook.cells.append(cell)
    tidy(notebook)
    return notebook
