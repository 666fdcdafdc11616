"""What a check says of one case on one target. Not here: checks; the record that lasts (evidence.py)."""

from importlib import import_module
from typing import NamedTuple

LEVELS = ("measured", "ran elsewhere", "compiled", "shape-checked", "unrun")
MEANING = {
    "measured": "ran on that target, numbers right",
    "ran elsewhere": "its compiler accepts it, and the code it lowered gave the right numbers on a CPU",
    "compiled": "its compiler accepts it within the chip's limits; the same source gives the right numbers in the interpreter",
    "shape-checked": "only shapes and types were checked",
    "unrun": "nothing is known",
}
FLOAT32 = 2e-5          # largest difference over largest answer: sums of 4,096 products in another order; exp of two libraries
BFLOAT16 = 1e-2         # a bfloat16 keeps 8 bits, 4e-3; probabilities and results are rounded once each


class Finding(NamedTuple):
    """One case on one target: what level it reached, or why it failed."""

    case: str
    kernel: str
    target: str
    level: str
    problem: str                                        # "" where all holds
    numbers: dict                                       # what was measured


def kernel_function(kernel):                            # "mix.hc_pre" -> the Triton function
    """Imports triton, whichever this environment has."""
    module, name = kernel.split(".")
    return getattr(import_module(f"accel.kernels.{module}"), name)


def allowed(dtype):
    """How large an error may be, by the dtype of a case's inputs."""
    return BFLOAT16 if dtype.__name__ == "bfloat16" else FLOAT32


def too_large(size, dtype, error):                      # -> the sentence, or ""
    """Says whether an error is beyond what its dtype explains."""
    bound = allowed(dtype)
    return "" if error <= bound else f"{size} size, {dtype.__name__}: expected an error of at most {bound:.0e}, got {error:.1e}."
