"""Run a lesson from top to bottom and write it back with fresh outputs and nothing that changes by itself.

Not here: comparing outputs with the stored ones (pytest --nbval), reading exercises (cells.py).
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from v4mini.writing import expect_writable, write_whole

LONGEST_CELL = 60           # seconds, on two cores
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}
LIVE_ONLY = "application/vnd.jupyter.widget-view+json"      # stored, it would hide the table that stands beside it
KEPT_TAGS = {"raises-exception", "nbval-ignore-output", "hide-input"}


@dataclass(frozen=True)
class Run:
    """How long a lesson took, and its slowest cell."""

    lesson: str
    cells: int
    seconds: float
    slowest: int            # execution count
    slowest_seconds: float
    slowest_line: str
    fault: str              # "" or the first line of what went wrong


def run_notebook(path, write=True):         # -> Run
    """Execute every cell in a fresh kernel started in the notebook's folder. Written back only if all went well."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    path, fault = Path(path), ""
    if write:
        expect_writable(path)
    notebook = nbformat.read(path, as_version=4)
    clean(notebook)
    client = NotebookClient(notebook, timeout=LONGEST_CELL, kernel_name="python3", record_timing=True,
                            extra_arguments=["--log-level=40"],         # errors; not that it talks to itself over TCP
                            resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute(env=os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    except CellTimeoutError:
        fault = f"a cell took more than {LONGEST_CELL} seconds"
    except CellExecutionError as error:
        fault = f"{error.ename}: {error.evalue}".splitlines()[0]
    report = _report(path, notebook, fault)
    tidy(notebook)
    if write and not fault:
        save(notebook, path)
    return report


def clean(notebook):
    """Remove outputs and counts."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def tidy(notebook):
    """Keep only the metadata that means something: the kernel's name, and tags that a lesson may have."""
    notebook.metadata.clear()
    notebook.metadata.update(KERNEL)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        tags = [tag for tag in cell.metadata.get("tags", []) if tag in KEPT_TAGS]
        cell.metadata.clear()
        if tags:
            cell.metadata["tags"] = tags
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata.clear()
            output.get("data", {}).pop(LIVE_ONLY, None)
        cell.pop("attachments", None)


def save(notebook, path):
    import nbformat

    write_whole(path, nbformat.writes(notebook) + "\n")


def _report(path, notebook, fault):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    times = [_seconds(cell) for cell in code]
    slowest = max(range(len(code)), key=times.__getitem__, default=None)
    line = "" if slowest is None else next((line for line in code[slowest].source.splitlines() if line.strip()), "")
    return Run(path.stem, len(code), sum(times), 0 if slowest is None else slowest + 1, max(times, default=0.0), line, fault)


def _seconds(cell):                         # what nbclient noted: 0 for a cell that did not finish
    times = cell.metadata.get("execution", {})
    moments = [times.get(name) for name in ("iopub.execute_input", "shell.execute_reply")]
    if None in moments:
        return 0.0
    start, end = map(datetime.fromisoformat, moments)
    return (end - start).total_seconds()
