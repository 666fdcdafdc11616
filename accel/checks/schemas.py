"""Calls of torch_npu's fused ops against the schemas and Meta functions of a real torch_npu, with no NPU and no CANN.

A wheel of torch_npu cannot be imported without CANN, and it need not be: its library names each op's schema in one line, and its
Meta functions, which say what shapes come out and refuse what does not fit, are Python. Both are taken from the file, registered
with this torch, and accel/fused.py is called on torch's device "meta": torch itself holds names, types and defaults of every
argument against the schema, and the shapes and dtypes that come out must be those of the reference.
Not shown by it: a number, or whether a chip takes the call. Not here: the calls (accel/fused.py).
"""

import ast
import re
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

from accel.checks import fused_cases, planted
from accel.checks.finding import Finding
from accel.checks.source import KERNELS
from accel.tiles import FUSED
from v4mini.shapes import Refused

LIBRARY, META = "torch_npu/lib/libtorch_npu.so", "torch_npu/op_plugin/meta/_meta_registrations.py"
OPS = (*(fused.op for fused in FUSED.values()), "npu_swiglu")       # the last where there is no limit
SIZES = ("tiny", "flash")


class Wheel(NamedTuple):
    """What a wheel says of the ops that are called here."""

    version: str
    schemas: dict                                       # op -> [schema, ...], one for each overload
    meta: str                                           # Python that registers their Meta functions


def read(path):                                         # torch_npu-VERSION-....whl -> Wheel
    """Refused if it is no wheel of torch_npu, or lacks an op that is called here."""
    try:
        with zipfile.ZipFile(path) as file:
            library, meta = file.read(LIBRARY), file.read(META).decode()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise Refused(f"{path}: expected a wheel of torch_npu, got another file ({error}). "
                      "Try python -m pip download --no-deps torch-npu==2.13.0.") from None
    schemas = {op: schemas_of(op, library) for op in OPS}
    absent = [op for op, lines in schemas.items() if not lines]
    if absent:
        raise Refused(f"{path}: expected a torch_npu with {', '.join(absent)}, got one without. Try torch-npu==2.13.0.")
    return Wheel(Path(path).name.split("-")[1], schemas, only_ours(meta))


def schemas_of(op, library):                            # bytes of a shared library -> [str, ...]
    """The lines with which it registers an op: a C string for each overload."""
    pattern = rb"\0(" + op.encode() + rb"(?:\.\w+)?\([^\0]*\) -> [^\0]+)\0"
    return sorted({line.decode() for line in re.findall(pattern, library)})


def only_ours(source):                                  # Python source -> Python source
    """Without the Meta functions of other ops, whose schemas nobody registers, and without its imports of torch_npu."""
    def is_ours(node):
        if isinstance(node, ast.Import | ast.ImportFrom):
            return not any("torch_npu" in name for name in (getattr(node, "module", "") or "", *(a.name for a in node.names)))
        if not isinstance(node, ast.FunctionDef):
            return isinstance(node, ast.Assign | ast.AnnAssign)
        names = [call.args[1].value for call in node.decorator_list if isinstance(call, ast.Call) and len(call.args) > 1
                 and isinstance(call.args[1], ast.Constant)]
        return not node.decorator_list or any(name.partition(".")[0] in OPS for name in names)
    tree = ast.parse(source)
    return ast.unparse(ast.Module([node for node in tree.body if is_ours(node)], []))


def register(wheel):                                    # -> what must be kept for as long as the ops are to be there
    """Define the ops as the wheel does, with its Meta functions."""
    from torch.library import Library

    kept = Library("npu", "DEF")
    for line in (line for lines in wheel.schemas.values() for line in lines):
        kept.define(line)
    codes = SimpleNamespace(VALUE="", NOT_SUPPORT="", PARAM="", TYPE="")
    names = {"__name__": "meta_of_torch_npu", "torch_npu": ModuleType("torch_npu"), "ops_error": str, "ErrCode": codes,
             "get_cann_version": lambda *_: "", "get_soc_version": lambda: 0}
    exec(compile(wheel.meta, META, "exec"), names)      # the wheel's own code; whoever named the file trusts it
    return kept, names


def problem(name, functions):                           # "rope", functions of accel/fused.py -> (what is wrong, or "", shapes)
    """Call a fused operation on "meta" at each size: NumPy's shapes must come out, in float32."""
    import torch

    shapes = {}
    for size in SIZES:
        case = fused_cases.case_for(name, size)
        tensors = {key: torch.from_numpy(array).to("meta") for key, array in case.arrays.items()}
        try:
            got = [(tuple(t.shape), str(t.dtype)) for t in case.call(functions, **tensors)]
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            return f"{size}: {type(error).__name__}: {str(error).strip().splitlines()[0][:160]}", shapes
        right = [(array.shape, "torch.float32") for array in case.right()]
        if got != right:
            return f"{size}: expected {right}, got {got}", shapes
        shapes[size] = {"shapes": [list(shape) for shape, _ in got]}
    return "", shapes


def spoilt(mistake):                                    # -> what was noticed of a planted call, or ""
    """Plant it in a copy of accel/fused.py."""
    wrong, _ = problem(mistake.case, planted.imported(planted.spoilt_copy(mistake, KERNELS.parent / "fused.py")))
    return wrong


def versions(wheel):                                    # -> {package: version}
    """What it was made with."""
    import torch

    return {"torch_npu": wheel.version, "torch": torch.__version__}


def check(name, target, functions=None):                # -> Finding
    """One fused operation; its ops must have been registered."""
    from accel import fused

    wrong, shapes = problem(name, functions or fused)
    return Finding(f"fused {name}", FUSED[name].function, target, "unrun" if wrong else "shape-checked", wrong, shapes)
