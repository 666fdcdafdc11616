"""Parameters: float32 tensors under their released names, as the tree of weights that a tape follows.

Not here: first values, files (checkpoints are written elsewhere).
"""

import ml_dtypes
import numpy as np

from v4mini.numerics.blocks import quantise as quantised
from v4mini.numerics.matrix import Matrix
from v4mini.shapes import Refused
from v4mini.training.value import Value
from v4mini.weights.spec import tensors
from v4mini.weights.tree import build, mapped


def check_parameters(config, params):
    """Refuse tensors that are missing, unknown, of another shape or not float32 (tid2eid: integers)."""
    wanted = {spec.name: spec for spec in tensors(config)}
    if wanted.keys() != params.keys():
        name = sorted(wanted.keys() ^ params.keys())[0]
        state = "missing" if name in wanted else "unknown"
        raise Refused(f"params: {name} is {state}. Expected the names of weights.spec.tensors.")
    for name, spec in wanted.items():
        array = params[name]
        kinds = "iu" if spec.format == "i64" else "f"
        if array.shape != spec.shape or array.dtype.kind not in kinds:
            raise Refused(f"params: expected {name} {list(spec.shape)} {'int' if kinds == 'iu' else 'float32'}, "
                          f"got {list(array.shape)} {array.dtype}.")


def as_released(spec, array):                           # -> {stored name: array}
    """One tensor as the released format stores it: rounded to FP8, FP4 or BF16, or as it is."""
    if spec.format in ("fp8", "fp4"):
        matrix = quantised(array, spec.format, spec.name)
        return {spec.name: matrix.codes, spec.scale_name: matrix.scale}
    return {spec.name: array.astype(ml_dtypes.bfloat16) if spec.format == "bf16" else array}


def leaves(config, params, tape, quantise=None):        # -> Weights of Values, {name: Value}
    """The tree of weights, a Value in the place of each float tensor.

    quantise="released": the forward sees each tensor as a checkpoint in the released format would hold it, and the gradient
    goes to the float32 number behind (straight through).
    """
    stored = {}
    for spec in tensors(config):
        stored |= as_released(spec, params[spec.name]) if quantise else {spec.name: params[spec.name]}
    held = []
    found = {}

    def tensor(name):                                   # vectors must be float32 already: the tree then holds these very arrays
        array = stored.get(name)
        if array is not None and array.ndim == 1 or name.endswith((".ape", "_fn")):
            array = np.ascontiguousarray(array, np.float32 if array.dtype != np.float64 else np.float64)
        held.append((name, array))
        return array
    tree = build(config, tensor)
    names = {id(array): name for name, array in held if array is not None}

    def leaf(name, data):
        return found.setdefault(name, Value(data, tape, name))

    def change(node):
        if isinstance(node, Matrix):
            return leaf(node.name + ".weight", node)
        return node if node.dtype.kind in "iu" else leaf(names[id(node)], node)
    return mapped(tree, change), found
