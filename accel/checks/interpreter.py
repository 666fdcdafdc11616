"""Numbers of every kernel in Triton's interpreter, in float32: the logic of the source, on any machine.

It multiplies bit patterns of bfloat16, and rounds to bfloat16 and FP8 by other rules than the chips, so neither is judged here.
Not here: compilers.
"""

import os
import time
from importlib import import_module

import numpy as np

from accel.checks import cases
from accel.checks.finding import Finding, kernel_function, too_large
from v4mini.shapes import Refused

TARGET = "interpreter"


def prepare():
    """Must come before the first import of triton in this process."""
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        triton, torch = import_module("triton"), import_module("torch")     # where it is missing, nobody waits for torch
    except ImportError as error:
        raise Refused(f"interpreter: {error}. Try python -m pip install torch==2.13.0, then --no-deps triton==3.7.1.") from None
    if not triton.knobs.runtime.interpret:
        raise Refused("interpreter: triton was imported before TRITON_INTERPRET=1 was set. Start a new process.")
    torch.set_num_threads(1)
    np.seterr(over="ignore", invalid="ignore")          # what the chips do in silence, NumPy warns of
    return {"triton": triton.__version__, "torch": torch.__version__, "numpy": np.__version__}


def launch(fn, case):                                   # -> {argument: array after the launch}
    """Run one case; arrays are changed in place."""
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in case.arrays.items()}
    fn[case.grid](**tensors, **case.scalars, **case.constants)
    return case.arrays


def check(name, target=TARGET, sizes=cases.SIZES, function=kernel_function):    # -> Finding
    """The numbers of a case at each size; function(kernel) -> what to launch, so that a planted mistake can be tried."""
    numbers, problem = {}, ""
    for size in sizes:
        case = cases.case_for(name, size, TARGET, upcast=True)
        start = time.perf_counter()
        error = cases.largest_error(launch(function(case.kernel), case), case)
        numbers[size] = {"error": error, "seconds": round(time.perf_counter() - start, 2)}
        problem = problem or too_large(size, np.float32, error)
    return Finding(name, case.kernel, TARGET, "unrun" if problem else "measured", problem, numbers)


def spoilt(name, target, function):                     # -> what was noticed of a planted mistake, or ""
    """The tiny size is enough: a mistake that shows only at large sizes is planted for the others."""
    return check(name, sizes=("tiny",), function=function).problem
