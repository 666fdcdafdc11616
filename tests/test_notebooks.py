"""Every notebook of the course is tidy: run in order, nothing volatile, nothing redefined, the same form as the others.

What the outputs say is compared by `pytest --nbval`. Not here: exercises (tests/lessons/).
"""

import ast
import json
import re
from pathlib import Path

import pytest

from v4mini.lessons.notebooks import KERNEL
from v4mini.lessons.registry import all_exercises

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_CELL, WIDEST_LINE = 20, 110             # lines; letters, what JupyterLab shows without scrolling
OUTPUT_LETTERS, OUTPUT_LINES, PICTURE_BYTES, NOTEBOOK_BYTES = 8000, 90, 200_000, 1_200_000
COURSE_BYTES = 12_000_000
MACHINE_PATH = re.compile(r"(/home/|/root/|/Users/|/work/|/tmp/|/mnt/|[A-Z]:\\\\)")
PATH_TRICK = re.compile(r"sys\.path|os\.chdir|%cd|\.\./|__file__|%load_ext|%run")
NETWORK = re.compile(r"\b(requests|urllib|httpx|aiohttp|socket|wget|curl|huggingface_hub|snapshot_download)\b|^\s*[!%]\s*pip",
                     re.M)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
BRACKETS = re.compile(r"\[[^\[\]]*\]|\([^()]*\)")      # rows of a mask, arguments: no claims
SAYS_FALSE = re.compile(r"(?<![=\w])(?<!= )(?<!return )(?<!yours )\bFalse\b")
CHECK_SAYS = re.compile(r"^\s*(yours|expected)\s")        # a row of a reader's answer, and of the right one
SMALL = 0.01                                    # a bound below it is a bound on differences

# What a number in a bound is measured in: relative(...) gives a share; otherwise a comment says so, or why not.
BOUND_EXPLAINED = re.compile(r"\brelative\(|\bshares?\b|# absolute: ")
BOUND_NAMES = {"atol", "bound", "tolerance"}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):                           # -> [(number, source, cell)]
    cells = [cell for cell in load(path)["cells"] if cell["cell_type"] == "code"]
    return [(number, "".join(cell["source"]), cell) for number, cell in enumerate(cells, 1)]


def python(source):                             # -> tree, without the lines that only Jupyter understands
    return ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in source.splitlines()))


def texts(cell):                                # every text that a cell's outputs show
    for output in cell["outputs"]:
        yield "".join(output.get("text", ""))
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/") or kind == "image/svg+xml":
                yield "".join(data)


def pictures(cell):
    shown = [item for output in cell["outputs"] for item in output.get("data", {}).items()]
    return [data for kind, data in shown if kind in ("image/png", "image/jpeg")]


@each_notebook
def test_the_name_says_number_and_subject(path):
    assert re.fullmatch(r"[0-2][0-9]_[a-z0-9_]+", path.stem)


@each_notebook
def test_it_was_run_from_top_to_bottom(path):
    assert [cell["execution_count"] for _, _, cell in code_cells(path)] == list(range(1, len(code_cells(path)) + 1))


@each_notebook
def test_no_errors_and_no_warnings_are_stored(path):
    for number, _, cell in code_cells(path):
        for output in cell["outputs"]:
            expected = "raises-exception" in cell["metadata"].get("tags", ())
            assert output["output_type"] != "error" or expected, f"cell {number} raised {output.get('ename')}"
            assert output.get("name") != "stderr", f"cell {number} wrote to stderr: {''.join(output['text'])[:200]}"


def untrue(line):                               # does a stored line state something and print False?
    while BRACKETS.search(line):
        line = BRACKETS.sub("", line)
    return bool(SAYS_FALSE.search(line)) and not CHECK_SAYS.match(line)


@each_notebook
def test_no_stored_line_prints_false(path):
    for number, _, cell in code_cells(path):
        for line in (line for text in texts(cell) for line in text.splitlines()):
            assert not untrue(line), f"cell {number} stores {line!r}: say what is true, with its number"


@pytest.mark.parametrize("line, expected", [
    ("V4 stays within 0.002:                 False", True), ("streams right False  their mean True", True), ("False", True),
    ("{'one': True, 'two': False}", True), ("agrees: False (of 3)", True), ("agrees: True", False),
    ("def rope(x, positions, freqs, inverse=False):           # [T, ..., hd]", False), ("[[ True False]", False),
    (" [ True False  True]", False), ("        return False", False), ("special=False [47, 366]", False),
    ("  yours         False     False", False), ("first difference at [0]: yours False, expected True", False),
])
def test_what_counts_as_an_untrue_line(line, expected):
    assert untrue(line) == expected


def bounds(tree):                               # yields the node of every small number that something is held against
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            numbers = [node.left, *node.comparators]
        elif isinstance(node, ast.Call):
            numbers = [given.value for given in node.keywords if given.arg in BOUND_NAMES]
        elif isinstance(node, ast.FunctionDef):
            named = node.args.args[len(node.args.args) - len(node.args.defaults):]
            numbers = [value for name, value in zip(named, node.args.defaults) if name.arg in BOUND_NAMES]
        else:
            continue
        yield from (number for number in numbers if isinstance(number, ast.Constant)
                    and isinstance(number.value, float) and 0 < number.value <= SMALL)


def unexplained(source):                        # -> the lines with a bound of which nobody knows what it is measured in
    lines = source.splitlines()
    return [lines[number.lineno - 1] for number in bounds(python(source))
            if not BOUND_EXPLAINED.search(lines[number.lineno - 1])]


@each_notebook
def test_bounds_are_relative_or_say_why_not(path):
    for number, source, _ in code_cells(path):
        for line in unexplained(source):
            raise AssertionError(f"cell {number}: {line.strip()!r}. Use relative(ours, theirs), or say '# absolute: reason'")


@pytest.mark.parametrize("line", ["np.abs(a - b).max() < 1e-5", "np.allclose(a, b, rtol=1e-4, atol=1e-3)",
                                  "def near(a, b, bound=1e-4): pass"])
def test_a_bound_without_a_unit_is_found(line):
    assert unexplained(line) == [line]
    assert not unexplained(f"{line}    # absolute: both are probabilities") and not unexplained("relative(a, b) < 1e-5")


@each_notebook
def test_no_path_tricks_and_no_network(path):
    for number, source, _ in code_cells(path):
        assert not PATH_TRICK.search(source), f"cell {number}: find data with lessons.data_folder()"
        assert not NETWORK.search(source), f"cell {number}: lessons work without a net"


@each_notebook
def test_no_trace_of_a_machine(path):
    document = load(path)
    assert document["metadata"] == KERNEL, "run `python -m v4mini.lessons run`, which tidies metadata"
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    for cell in document["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        assert not MACHINE_PATH.search("".join(cell["source"]))
    for number, _, cell in code_cells(path):
        for text in texts(cell):
            assert not MACHINE_PATH.search(text), f"cell {number} shows a path of the machine that ran it"
            assert not ADDRESS.search(text), f"cell {number} shows a memory address; end figures with plt.show()"


@each_notebook
def test_the_first_cell_limits_digits(path):
    assert "np.set_printoptions(precision=3, suppress=True)" in code_cells(path)[0][1]


@each_notebook
def test_figures_end_in_show_and_print_their_key_number(path):
    for number, source, cell in code_cells(path):
        if pictures(cell):
            last = ast.unparse(python(source).body[-1])
            assert last == "plt.show()", f"cell {number} ends in {last!r}"
            assert any(output.get("name") == "stdout" for output in cell["outputs"]), f"cell {number} prints no number"


@each_notebook
def test_nothing_of_the_library_is_defined_again(path):
    for number, source, _ in code_cells(path):
        for node in python(source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert node.name not in PUBLIC, f"cell {number} defines {node.name}, as {PUBLIC[node.name]} does: rename it"


@each_notebook
def test_cells_are_short_enough_to_read(path):
    for number, source, _ in code_cells(path):
        assert len(source.splitlines()) <= LONGEST_CELL, f"cell {number} has {len(source.splitlines())} lines"
        widest = max(source.splitlines(), key=len, default="")
        assert len(widest) <= WIDEST_LINE, f"cell {number}: {len(widest)} letters in {widest[:60]!r}"


@each_notebook
def test_outputs_are_small(path):
    assert path.stat().st_size <= NOTEBOOK_BYTES
    for number, _, cell in code_cells(path):
        for text in texts(cell):
            assert len(text) <= OUTPUT_LETTERS and text.count("\n") <= OUTPUT_LINES, f"cell {number} shows {len(text)} letters"
        for picture in pictures(cell):
            assert len(picture) * 3 // 4 <= PICTURE_BYTES, f"cell {number}: a picture of {len(picture) * 3 // 4} bytes"


@each_notebook
def test_what_is_not_compared_says_why(path):
    for number, source, cell in code_cells(path):
        tags = cell["metadata"].get("tags", [])
        assert "NBVAL_SKIP" not in source and "nbval-skip" not in tags, f"cell {number} is skipped"
        lines = [line.strip() for line in source.splitlines()]
        if "# NBVAL_IGNORE_OUTPUT" in lines:
            reason = lines[lines.index("# NBVAL_IGNORE_OUTPUT") + 1]
            assert reason.startswith("# ("), f"cell {number}: give the reason in the next line, in brackets"


@each_notebook
def test_it_begins_with_a_question_and_ends_with_the_way_on(path):
    cells = load(path)["cells"]
    title, last = ("".join(cells[place]["source"]) for place in (0, -1))
    assert re.match(rf"# {path.stem[:2]} · .*\?\n", title), f"the title must be '# {path.stem[:2]} · a question?'"
    for word in ("**File**", "**Test**", "**Command**", "**Next**"):
        assert word in last, f"the last cell lacks {word}"
    for named in re.findall(r"`([\w/]+\.(?:py|ipynb))`", last):
        assert (ROOT / named).is_file(), f"the last cell names {named}, which is not there"
    assert f"notebooks/{path.name}" in last


@each_notebook
def test_links_between_lessons_lead_somewhere(path):
    written = {other.name[:2]: other.name for other in NOTEBOOKS}
    for cell in load(path)["cells"]:
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", "".join(cell["source"])):
                assert written.get(link[:2], link) == link, f"{link} is called {written[link[:2]]}"


@each_notebook
def test_checks_name_exercises_that_exist(path):
    for number, source, _ in code_cells(path):
        for name in re.findall(r"\b(?:check\(\w+, |hint\()[\"']([^\"']+)[\"']", source):
            assert name in all_exercises(), f"cell {number}: no exercise {name}"


def test_whoever_follows_next_reads_every_lesson_once():
    following = {}
    for path in NOTEBOOKS:
        links = re.findall(r"\*\*Next\*\* \[(\d\d): [^]]*\]\((\w+\.ipynb)\)", "".join(load(path)["cells"][-1]["source"]))
        for number, name in links:
            assert name.startswith(number), f"{path.name}: Next says {number} and leads to {name}"
        following[path.name] = [name for _, name in links]
    read, here = [], "00_start_here.ipynb"
    while here not in read:                     # the last leads back to the first
        read.append(here)
        here = following[here][0]
    assert here == read[0], f"Next leads back to {here}"
    assert sorted(read) == [path.name for path in NOTEBOOKS]


def test_the_course_stays_small():
    assert sum(path.stat().st_size for path in NOTEBOOKS) <= COURSE_BYTES


def test_nothing_but_notebooks_and_the_teachers_page_lies_there():
    kept = {path.name for path in (ROOT / "notebooks").iterdir() if not path.name.startswith((".", "__"))}
    assert kept == {path.name for path in NOTEBOOKS} | {"conftest.py", "sanitize.cfg", "TEACHING.md"}


def _public_names():                            # -> {function or class: file that defines it}
    found = {}
    for file in sorted((ROOT / "v4mini").rglob("*.py")):
        if "exercises" not in file.parts:
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    found.setdefault(node.name, file.relative_to(ROOT).as_posix())
    return found


PUBLIC = _public_names()
