"""Kernels compiled ahead of time for NVIDIA chips, with no GPU: what the machine code needs, held to a budget.

Numbers come from the interpreter, on the same source (interpreter.py); the machine code has not run.
Not here: speed.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np

from accel.checks import cases
from accel.checks.finding import Finding, kernel_function
from v4mini.shapes import Refused
from v4mini.writing import write_whole

ARCH = {"sm_90a": 90, "sm_100a": 100}
SHARED = 227 * 1024                                     # bytes one block may have; both chips
MMA = {"sm_90a": r"wgmma\.mma_async", "sm_100a": r"tcgen05\.mma\S*kind::f16"}   # tensor cores on 16 bits; on sm_100a factors
                                                        # that were widened from bfloat16 meet as tf32, which is slower
HAS_PRODUCT = {"sparse_attention", "index_scores", "grouped_matmul", "grouped_swiglu"}
TYPES = {"float32": "*fp32", "bfloat16": "*bf16", "int32": "*i32", "int8": "*i8"}


def prepare():
    """Versions of what compiles."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise Refused("sm_90a: TRITON_INTERPRET=1 is set, and nothing compiles then. Unset it.")
    try:
        import triton
    except ImportError as error:
        raise Refused(f"sm_90a: {error}. Try python -m pip install --no-deps triton==3.7.1, beside torch==2.13.0.") from None
    if not (Path(triton.__file__).parent / "backends/nvidia/bin").is_dir():
        raise Refused("sm_90a: this triton has no CUDA tools (is it Triton-Ascend?). Try an environment with triton==3.7.1.")
    return {"triton": triton.__version__, "numpy": np.__version__}


def signature(case):                                    # -> {argument: Triton's name of its type}, pointers and scalars
    """Types of a launch's arguments, constexprs left out."""
    kinds = {int: "i32", float: "fp32"}
    return {**{name: TYPES[array.dtype.name] for name, array in case.arrays.items()},
            **{name: kinds[type(value)] for name, value in case.scalars.items()}}


def compiled(fn, case, target, tile):
    """Machine code as a launch with torch's tensors would make it: pointers and sizes divisible by 16 are known to be."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as compile_

    types, place = signature(case), fn.arg_names.index
    even = [*case.arrays, *(name for name, value in case.scalars.items() if isinstance(value, int) and value % 16 == 0)]
    source = ASTSource(fn=fn, signature={name: types.get(name, "constexpr") for name in fn.arg_names},
                       constexprs={(place(name),): value for name, value in case.constants.items()},
                       attrs={(place(name),): [["tt.divisibility", 16]] for name in even})
    options = {name: value for name, value in tile.items() if name in ("num_warps", "num_stages")}
    return compile_(source, target=GPUTarget("cuda", ARCH[target], 32), options=options)


def needs(code, target):                                # -> {"shared_bytes", "registers", "stack_bytes", "tensor_core"}
    """What cuobjdump and the PTX say of the machine code. A stack means that registers were spilled."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "kernel.cubin")
        write_whole(binary, code.asm["cubin"])
        text = subprocess.run([tool, "--dump-resource-usage", binary], capture_output=True, text=True, check=True).stdout
    found = {name: int(number) for name, number in re.findall(r"\b(REG|STACK):(\d+)", text)}
    return {"shared_bytes": code.metadata.shared, "registers": found["REG"], "stack_bytes": found["STACK"],
            "tensor_core": len(re.findall(MMA[target], code.asm["ptx"]))}


def over_budget(needed, kernel, target):                # -> the sentence, or ""
    """Says what the code takes beyond what the chip has, or does without what it is for."""
    if needed["shared_bytes"] > SHARED:
        return f"expected at most {SHARED:,} bytes of shared memory, got {needed['shared_bytes']:,}. Try a smaller tile."
    if needed["stack_bytes"]:
        return f"expected no stack, got {needed['stack_bytes']} bytes: registers are spilled. Try a smaller tile or more warps."
    if kernel.split(".")[1] in HAS_PRODUCT and not needed["tensor_core"]:
        return f"expected tensor-core instructions ({MMA[target]}), got none. Try a tile with 64 rows on the left."
    return ""


def check(name, target, function=kernel_function):      # -> Finding
    """Compile a case at Flash's sizes in bfloat16 and hold it to the budget. `compiled` wants numbers too: with_numbers."""
    case = cases.case_for(name, "flash", target, ml_dtypes.bfloat16)
    numbers = needs(compiled(function(case.kernel), case, target, cases.tile_of(case.kernel, target)), target)
    problem = over_budget(numbers, case.kernel, target)
    return Finding(name, case.kernel, target, "unrun" if problem else "compiled", problem, numbers)


def with_numbers(finding, seen):                        # two Findings, `seen` of the interpreter -> Finding
    """Machine code alone proves no number: the same source must have given the right ones in the interpreter."""
    problem, error = finding.problem or seen.problem, max(size["error"] for size in seen.numbers.values())
    return finding._replace(level="unrun" if problem else finding.level, problem=problem,
                            numbers={**finding.numbers, "interpreter_error": error})


def spoilt(name, target, function):                     # -> what was noticed of a planted mistake, or ""
    """What the machine code needs, of mistakes that leave the numbers right."""
    return check(name, target, function).problem
