"""A notebook as a list of cells: what the reader writes, and the solution folded below it.

An exercise is a code cell that defines `my_...` and calls check(my_..., "name"); its solution is the python block in a
<details> of a later markdown cell that defines the same function.
Not here: running a notebook (notebooks.py), judging what was found (verify.py).
"""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

FOLDED = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.S)


@dataclass(frozen=True)
class Task:
    """One exercise as it stands in a notebook."""

    notebook: str
    exercise: str           # "ops.rope.rope"
    function: str           # "my_rope"
    before: str             # imports and functions of the cells above
    unsolved: str           # the definition in the exercise's own cell
    solution: str           # the folded one, "" if there is none


def read_cells(path):       # -> [cell as a dict, "source" as one text]
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def tasks(path):            # -> [Task]
    """The exercises of one notebook, in order."""
    found, before = [], []
    cells = read_cells(path)
    for place, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse(_python(cell["source"]))
        for function, exercise in _checks(tree):
            own = _source(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
            folded = [block for later in cells[place + 1:] if later["cell_type"] == "markdown"
                      for block in FOLDED.findall(later["source"]) if re.search(rf"def {function}\b", block)]
            found.append(Task(Path(path).name, exercise, function, "\n".join(before), own, folded[0] if folded else ""))
        before.append(_source(node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)))
    return found


def exercises_in(cell):                     # -> [names that a cell checks]
    return [name for _, name in _checks(ast.parse(_python(cell["source"])))] if cell["cell_type"] == "code" else []


def function_of(task, code):            # -> the function `my_...` that this code defines, or None
    """Run imports and functions from above, then the code. Whatever else the notebook computed is not there."""
    space = {"__name__": task.notebook}
    exec(compile(task.before + "\n" + code, task.notebook, "exec"), space)      # our own notebooks, as a kernel runs them
    return space.get(task.function) if code else None


def _checks(tree):                      # yields (my_..., exercise name) of every check(my_..., "name") at top level
    for node in tree.body:
        call = node.value if isinstance(node, ast.Expr) else None
        if not isinstance(call, ast.Call) or len(call.args) != 2:
            continue
        called = getattr(call.func, "id", getattr(call.func, "attr", ""))
        mine, name = call.args
        if called == "check" and isinstance(mine, ast.Name) and isinstance(name, ast.Constant):
            yield mine.id, name.value


def _source(nodes):
    return "\n".join(map(ast.unparse, nodes))


def _python(source):                    # without the lines that only Jupyter understands
    return "\n".join("" if line.startswith(("%", "!")) else line for line in source.splitlines())
