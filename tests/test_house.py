"""The house rules, held by reading the source: imports run down only, rooms say what they hold, nothing prints but the front."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (                                              # ground first; a room may import its own floor and those below
    {"printable", "shapes", "untrusted", "numerics", "config", "writing"},
    {"ops", "weights"},
    {"backend", "planning"},
    {"layers", "kernels", "accel", "engines"},
    {"model"},
    {"training", "inference"},
)
GARDEN = {"text", "trace", "viz", "widgets", "lessons", "proof", "inspection", "machine", "tour", "bench", "cli", "__main__"}
PLAIN = {"trace", "viz", "text", "machine"}             # of the garden: plain data in and out; every floor may use them
MAY_PRINT = {"cli", "lessons"}
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path for top in ("v4mini", "accel") for path in (ROOT / top).rglob("*.py"))


def room_of(path):                                      # v4mini/ops/rope.py -> ops
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "accel":                             # its command line belongs to the front, as v4mini's does
        return "cli" if {"cli", "__main__"} & set(parts) else "inference" if parts[1] in ("place", "ranks") else "accel"
    return parts[1]


def imported_rooms(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "v4mini" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "v4mini" and len(parts) > 1:
                yield parts[1]
            elif parts[0] == "accel":
                yield "accel"


@pytest.fixture(params=MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def module(request):
    return request.param, ast.parse(request.param.read_text(encoding="utf-8"))


def test_every_module_has_a_room(module):
    path, _ = module
    assert room_of(path) in {*FLOOR_OF, *GARDEN, "__init__"}, f"{path}: which room is this? See the table of floors in this test."


def test_imports_run_down_only(module):
    path, tree = module
    room = room_of(path)
    if room not in FLOOR_OF:
        return
    for other in imported_rooms(tree):
        if other in PLAIN or other not in {*FLOOR_OF, *GARDEN}:
            continue
        assert other in FLOOR_OF, f"{path}: floor {FLOOR_OF[room]} imports {other}, which is in the garden"
        assert FLOOR_OF[other] <= FLOOR_OF[room], f"{path}: {room} is on floor {FLOOR_OF[room]}, {other} on {FLOOR_OF[other]}"


def test_plain_rooms_import_only_the_ground(module):
    path, tree = module
    if room_of(path) in PLAIN:
        assert set(imported_rooms(tree)) <= {*FLOORS[0], *PLAIN} - {"config", "numerics"}, f"{path}: plain data in and out"


def test_a_module_says_what_it_holds_and_what_it_does_not(module):
    path, tree = module
    docstring = ast.get_docstring(tree) or ""
    assert docstring, f"{path}: no docstring"
    if path.parent.name == "exercises":                 # one file a lesson, all alike: their package says it once
        return
    if path.name != "__init__.py" or path.parent.name not in ("v4mini", "accel"):
        assert "Not here" in docstring, f"{path}: the docstring does not say what is not here"


def test_public_functions_say_what_they_do(module):
    path, tree = module
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        assert ast.get_docstring(node) or len(node.body) <= 6, f"{path}:{node.lineno}: {node.name} has no docstring"


def test_files_are_short(module):
    path, tree = module
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{path}: {lines} lines"


def test_only_the_front_prints(module):
    path, tree = module
    if room_of(path) in MAY_PRINT:
        return
    prints = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"]
    assert not prints, f"{path}: print in lines {prints}"


def test_commands_print_through_say(module):
    """say, say_json and note take the control characters out of what strangers named; progress on a terminal stays as it is."""
    path, tree = module
    raw = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
           and node.func.attr in ("echo", "secho") and node.args and "nl" not in {keyword.arg for keyword in node.keywords}]
    assert not raw or path == ROOT / "v4mini/cli/main.py", f"{path}: click.echo in lines {raw}; use say, say_json or note"


CHANGES_FILES = {"write_text", "write_bytes", "savefig", "tofile", "to_file", "save_file", "touch", "unlink", "rmtree",
                 "mkdir", "makedirs", "rename", "renames", "replace_file", "copyfile", "copy2", "copytree", "move", "symlink_to",
                 "hardlink_to", "mkdtemp", "mkstemp", "NamedTemporaryFile"}
OWN_FOLDER = {"folders.py", "compiled.py"}                 # compiled kernels: files of nobody else, and places are tried out
INTO_MEMORY = {"savefig", "savez_compressed", "savez"}      # into a file that is BytesIO: seen by its name `file`


def test_only_writing_py_writes(module):
    """Open-for-write, renaming, removing: elsewhere a device, a link or a stranger's file would not be looked at."""
    path, tree = module
    if room_of(path) == "writing" or path.parent.name == "kernels" and path.name in OWN_FOLDER:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert not _changes_files(node), f"{path}:{node.lineno}: {ast.unparse(node)[:80]}: use v4mini.writing"


def _changes_files(call):
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    on = function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
    words = [argument.value for argument in [*call.args, *(keyword.value for keyword in call.keywords)]
             if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]
    if name == "open":
        flags = ast.unparse(call)
        return any(set(word) & set("wax+") and set(word) <= set("rwaxbtU+") for word in words) or "O_WRONLY" in flags \
            or "O_RDWR" in flags or "O_CREAT" in flags
    if name == "memmap":
        return "r" not in words
    if name in ("save", "savez", "savez_compressed", "savetxt", "savefig", "dump"):
        target = call.args[1] if name == "dump" and len(call.args) > 1 else call.args[0] if call.args else None
        return (on in ("np", "numpy", "json", "pickle") or name in INTO_MEMORY) and getattr(target, "id", "") != "file"
    return name in CHANGES_FILES or (on == "os" and name in ("replace", "remove", "link", "symlink", "mknod", "mkfifo")) \
        or (on == "nbformat" and name == "write") or (on == "shutil" and name != "disk_usage")


OF_THE_HOST = {                                         # what NumPy is asked for there, and of what
    "v4mini/model.py": {"asarray", "concatenate", "cumsum", "int64"},                   # token ids that a caller gave
    "v4mini/layers/sequences.py": {"arange", "concatenate", "ndarray"},                 # positions
    "v4mini/layers/dspark.py": {"arange", "cumsum", "hstack"},                          # which rows a token reads
    "v4mini/layers/finite.py": {"argwhere", "errstate", "isfinite", "unique"},          # of what Backend.host gave
}


def test_layers_and_model_call_numpy_for_integers_of_the_host_alone(module):
    """An engine's arrays may be no NumPy arrays. What such a call would do to them tests/layers/test_closed.py finds out."""
    path, tree = module
    if room_of(path) in ("layers", "model"):
        allowed = OF_THE_HOST.get(path.relative_to(ROOT).as_posix(), set())
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "np"}
        assert used == allowed, f"{path}: expected numpy's {sorted(allowed)}, got {sorted(used)}"
        for node in ast.walk(tree):
            others = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numpy") \
                or isinstance(node, ast.Import) and any(n.name.startswith("numpy") and n.asname != "np" for n in node.names)
            assert not others, f"{path}:{node.lineno}: NumPy by another name than np"


def test_private_names_stay_in_their_module(module):
    path, tree = module
    private = [f"{node.lineno}: {alias.name}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
               for alias in node.names if alias.name.startswith("_") and not alias.name.startswith("__")]
    assert not private, f"{path}: imports {private} of another module; give it a public name, or move it"


PACKED_STILL = {"accel", "kernels", "layers", "model", "lessons", "viz", "widgets"}       # rooms that this rule has not reached


def test_one_line_gives_values_to_one_kind_of_thing(module):
    """`text, passes = [], 0` hides two assignments in one. What belongs together may stand together: values of the same form
    (`low, high = 0, 1`, `gate, up = first(x), first(y)`), and those that read what they replace (`a, b = b, a + b`).
    """
    path, tree = module
    if room_of(path) not in PACKED_STILL and "accel" not in path.parts:
        packed = [f"{node.lineno}: {ast.unparse(node)[:80]}" for node in ast.walk(tree)
                  if isinstance(node, ast.Assign) for target in node.targets if _are_unrelated(target, node.value)]
        assert not packed, f"{path}: one assignment a line: {packed}"


def _are_unrelated(target, value):
    if not (isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List)):
        return False
    replaced = {ast.unparse(one) for one in target.elts}
    read = {ast.unparse(one) for one in ast.walk(value) if isinstance(one, ast.Name | ast.Attribute | ast.Subscript)}
    return not replaced & read and len({_form(one) for one in value.elts}) > 1


def _form(node):                                        # an expression without its names and numbers
    if isinstance(node, ast.Name | ast.Constant | ast.Attribute):
        return "a value"
    parts = [_form(part) for part in ast.iter_child_nodes(node) if not isinstance(part, ast.Load)]
    return f"{type(node).__name__}({', '.join(parts)})"


@pytest.mark.parametrize("line, is_packed", [
    ("a, b = [], 0", True), ("self.x, self.y = f(z), z", True), ("[a, b] = x + 1, y", True), ("c, q = self.config, len(x)", True),
    ("a, b = b, a + b", False), ("low, high = 0, n", False), ("gate, up = f(x.a), f(x.b)", False), ("a, b = pair()", False)])
def test_what_counts_as_packed(line, is_packed):
    assignment = ast.parse(line).body[0]
    assert _are_unrelated(assignment.targets[0], assignment.value) == is_packed


def test_no_star_imports_and_no_path_tricks(module):
    path, tree = module
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)), f"{path}:{node.lineno}"
        is_sys_path = isinstance(node, ast.Attribute) and node.attr == "path" and getattr(node.value, "id", "") == "sys"
        assert not is_sys_path, f"{path}:{node.lineno}"


def test_the_model_never_reads_the_data_folder():
    for path in MODULES:
        if room_of(path) in FLOOR_OF:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            assert not [text for text in texts if text.startswith("data/")], f"{path}: hand data in instead"


def test_no_room_is_called_after_nothing():
    assert not [path for path in MODULES if path.stem in {"utils", "util", "common", "helpers", "core", "misc"}]
