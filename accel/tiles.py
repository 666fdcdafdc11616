"""The tile of a kernel on a chip, out of tiles.toml, and which fused ops a chip's vendor has instead.

Not here: how tiles were found (the remarks in that file), calls of fused ops (fused.py).
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from v4mini.shapes import Refused

TARGETS = ("interpreter", "sm_90a", "sm_100a", "ascend910b", "ascend910c", "ascend950")


class FusedOp(NamedTuple):
    """An op of torch_npu, the function of accel/fused.py that calls it, chips that torch_npu's documentation names for it."""

    op: str
    function: str
    targets: tuple


FUSED = {                                               # by operation of the contract; off unless asked for
    "rms_norm": FusedOp("npu_rms_norm", "fused.rms_norm", ("ascend910b", "ascend910c", "ascend950")),
    "rope": FusedOp("npu_rotary_mul", "fused.rope", ("ascend910b", "ascend910c")),
    "expert": FusedOp("npu_clipped_swiglu", "fused.swiglu", ("ascend910b", "ascend910c")),  # shared ones; routed have a kernel
    "attend": FusedOp("npu_sparse_flash_attention", "fused.attend", ("ascend910b", "ascend910c")),
}


@cache
def _table():
    with open(Path(__file__).with_name("tiles.toml"), "rb") as file:
        return tomllib.load(file)


def tile_of(kernel, target):                            # "index.select_topk", "sm_90a" -> {"BS": 1024, "num_warps": 4, ...}
    """Block sizes of one kernel on one target; on NVIDIA also warps and stages. Refused for a target without a table."""
    if target not in TARGETS:
        raise Refused(f"target: expected one of {', '.join(TARGETS)}, got {target!r}.")
    return dict(_table()[target][kernel.split(".")[1]])


def power_of_two(n, least=16):                          # the smallest power of two >= n; a product on tensor cores wants 16
    """What a size is filled up to."""
    return max(least, 1 << (n - 1).bit_length())


def divisor(n, most):                                   # the largest power of two <= most that divides n
    """A block that leaves no rest."""
    return min(n & -n, most)


def target_of(kind, name, capability=None):             # "cuda", "NVIDIA H200", (9, 0) -> "sm_90a"
    """Which tile table a device takes. Refused for one that has none."""
    if kind == "cuda" and capability in ((9, 0), (10, 0)):
        return {9: "sm_90a", 10: "sm_100a"}[capability[0]]
    if kind == "npu":
        for begin, target in (("Ascend910B", "ascend910b"), ("Ascend910_93", "ascend910c"), ("Ascend950", "ascend950")):
            if name.startswith(begin):
                return target
    raise Refused(f"{name}: expected a device with a tile table (compute capability 9.0 or 10.0, Ascend 910B, 910C, 950), got "
                  f"another{f', of capability {capability}' if capability else ''}. Try adding a table to accel/tiles.toml.")
