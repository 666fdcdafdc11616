"""Kernels through Triton-Ascend and BiShengIR with no NPU and no CANN: numbers of the lowered code, and room on the chip.

    Triton -> Linalg (Triton-Ascend's front end) -> this CPU (upstream MLIR passes, LLVM)    the numbers
                                                 -> HIVM (BiShengIR)                         units, on-chip memory, pipes
Not shown by it: hivmc's code (part of CANN), synchronisation, the chip's own rounding, speed. Nothing here ran on an NPU.
Not here: torch, which this environment does without.
"""

import re
import subprocess
import tempfile
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path

import ml_dtypes
import numpy as np

from accel.checks import cases
from accel.checks.finding import Finding, kernel_function, too_large
from accel.checks.nvidia import signature
from v4mini.shapes import Refused
from v4mini.writing import write_whole

CHIPS = {"ascend910b": ("Ascend910B3", "bishengir-compile"), "ascend910c": ("Ascend910_9392", "bishengir-compile"),
         "ascend950": ("Ascend950PR_9589", "bishengir-compile-a5")}
RUNS = (("tiny", np.float32), ("tiny", ml_dtypes.bfloat16), ("flash", ml_dtypes.bfloat16))


def prepare():
    """Versions of what compiles."""
    try:
        import ascendnpuir  # noqa: F401
        import triton.backends.ascend  # noqa: F401
    except ImportError as error:
        raise Refused(f"ascend: {error}. Try an environment of its own, never beside triton: python -m pip install "
                      f'triton-ascend==3.2.0 ascendnpu-ir==1.2.0 pybind11 "llvmlite>=0.45,<0.48" numpy ml_dtypes click') from None
    return {name: version(name) for name in ("triton-ascend", "ascendnpu-ir", "llvmlite", "numpy")}


def tool(name):                                         # -> path of a program of ascendnpu-ir
    """bishengir-opt, bishengir-compile and so on."""
    import ascendnpuir

    return Path(ascendnpuir.__file__).parent / "bin" / name


def to_linalg(fn, case):                                # -> MLIR text
    """Triton-Ascend's front end. Raises what it raises."""
    from triton._C.libtriton import ir
    from triton.backends.ascend.compiler import AscendBackend, make_ttir, ttir_to_linalg
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    backend = AscendBackend(GPUTarget("npu", "Ascend910B3", 0))
    options = backend.parse_options({})
    metadata = {"target": backend.target, **options.__dict__}
    context = ir.context()
    ir.load_dialects(context)
    types = signature(case)
    source = ASTSource(fn=fn, signature={name: types[name] for name in fn.arg_names if name in types}, constants=case.constants)
    module = source.make_ir(options, backend.get_codegen_implementation(), backend.get_module_map(), context)
    return ttir_to_linalg(make_ttir(module, metadata, options), metadata, options, named_ops=True)


@cache
def to_hivm(linalg, target):                            # -> (HIVM text, "") or (None, the compiler's reason)
    """BiShengIR for one chip, up to where it would call hivmc."""
    arch, compiler = CHIPS[target]
    flags = ["--enable-hfusion-compile=true", "--enable-triton-kernel-compile=true", "--enable-auto-multi-buffer=true"]
    if target != "ascend950":
        flags.append("--enable-hivm-compile=true")
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "kernel.mlir"), Path(folder, "module.hivm.opt.mlir")
        write_whole(source, linalg)
        command = [tool(compiler), source, f"--target={arch}", *flags, f"--save-temps={folder}", "-o", f"{folder}/kernel.o"]
        run = subprocess.run(command, capture_output=True, text=True)
        if result.exists():
            return result.read_text(), ""
    errors = [line for line in (run.stderr + run.stdout).splitlines() if "error:" in line and "hivmc" not in line]
    errors.sort(key=lambda line: "overflow" not in line)                # "pipeline failed" comes before the reason
    return None, re.sub(r"^.*?error: ", "", errors[0]) if errors else f"{compiler} gave no HIVM (exit status {run.returncode})"


def run_lowered(linalg, fn, case):                      # -> its error
    """Run a case's lowered code on this CPU; arrays are changed in place."""
    from accel.checks.lowered import on_cpu

    arguments = {**case.arrays, **case.scalars}
    on_cpu(linalg, fn.__name__)(case.grid, *(arguments[name] for name in fn.arg_names if name in arguments))
    return cases.largest_error(case.arrays, case)


_seen = {}                                              # (lowered code, grid, case) -> what _ran gave


def _ran(linalg, fn, case, which):                      # -> {"error", "seconds"}
    """Chips whose tiles are the same get the same code and the same inputs: those are run once."""
    key = linalg, case.grid, which
    if key not in _seen:
        start = time.perf_counter()
        error = run_lowered(linalg, fn, case)
        _seen[key] = {"error": error, "seconds": round(time.perf_counter() - start, 2)}
    return _seen[key]


def check(name, target, function=kernel_function, runs=RUNS):           # -> Finding
    """Numbers of a case's lowered code on this CPU, and its compilation for a chip at Flash's sizes in bfloat16."""
    numbers, problem, linalg = {}, "", None
    for size, dtype in runs:
        case = cases.case_for(name, size, target, dtype)
        fn = function(case.kernel)
        linalg = to_linalg(fn, case)
        numbers[f"{size} {dtype.__name__}"] = ran = _ran(linalg, fn, case, (name, size, dtype))
        problem = problem or too_large(size, dtype, ran["error"])
    start = time.perf_counter()
    text, reason = to_hivm(linalg, target)
    numbers["hivm"] = {"accepted": text is not None, "seconds": round(time.perf_counter() - start, 1)}
    problem = problem or reason
    return Finding(name, case.kernel, target, "unrun" if problem else "ran elsewhere", problem, numbers)


def spoilt(name, target, function):                     # -> what was noticed of a planted mistake, or ""
    """Numbers alone decide: most mistakes leave a kernel that compiles."""
    case = cases.case_for(name, "tiny", target)
    return too_large("tiny", np.float32, run_lowered(to_linalg(function(case.kernel), case), function(case.kernel), case))
