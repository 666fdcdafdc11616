"""The shape comments of ops are true: each is read, and tried with random sizes."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import v4mini.ops
from v4mini.numerics.matrix import Matrix

# A def line with a comment:  def rms_norm(x, weight, eps=1e-6):      # [..., D], [D] -> [..., D]
_DEF = re.compile(r"^def ([a-z]\w*)\(.*\):\s+# (.*?) -> (.*)$", re.M)
_ARRAY = re.compile(r"(Matrix )?\[([^\]]*)\]( int)?( twice)?")

# What the comments leave out: arguments that are no arrays, as functions of the letters' sizes.
OTHERS = {"eps": lambda z: 1e-6, "norm_eps": lambda z: 1e-6, "iters": lambda z: 3, "limit": lambda z: 2.0, "k": lambda z: z["k"],
          "route_scale": lambda z: 1.5, "ratio": lambda z: z.get("ratio", 4), "groups": lambda z: z["G"], "M": lambda z: z["M"]}
# Their comments name fewer arrays than they take, or a function or pool that no letter stands for; tests beside cover them.
UNTRIED = {"expert", "experts", "hc_head", "index_topk", "route"}


def claims():                                           # -> {name: (function, inputs, outputs)}
    found = {}
    for path in sorted(Path(v4mini.ops.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"v4mini.ops.{path.stem}") if path.stem != "__init__" else v4mini.ops
        for name, inputs, outputs in _DEF.findall(path.read_text(encoding="utf-8")):
            found[name] = getattr(module, name), inputs, outputs
    return found


CLAIMS = claims()


def arrays(text):                                       # "[T, D] twice, [D] int" -> [(axes, is it int, is it a Matrix)]
    return [([axis.strip() for axis in axes.split(",")], bool(whole), bool(matrix))
            for matrix, axes, whole, twice in _ARRAY.findall(text) for _ in range(2 if twice else 1)]


def size(axis, sizes):                                  # "(2 + M) M" -> a number; a new letter gets its own
    axis = re.sub(r"\bin\b", "in_", re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", axis)).replace("/", "//")
    return eval(axis, {"__builtins__": {}}, sizes)      # noqa: S307 - our own comments


@pytest.mark.parametrize("name", sorted(set(CLAIMS) - UNTRIED))
@pytest.mark.parametrize("again", range(3))
def test_a_shape_comment_is_true(rng, name, again):
    function, inputs, outputs = CLAIMS[name]
    letters = set(re.findall(r"[A-Za-z]+", inputs + outputs)) - {"int", "twice", "Matrix"}
    sizes = {letter if letter != "in" else "in_": int(rng.integers(4, 9)) for letter in sorted(letters)}
    sizes |= {"rd": 2 * int(rng.integers(1, 3)), "K": 3, "k": 3}
    more = [int(n) for n in rng.integers(1, 4, rng.integers(0, 3))]     # what ... stands for

    def shape(axes):
        return tuple(n for axis in axes for n in (more if axis == "..." else [size(axis, sizes)]))

    given = []
    for axes, whole, matrix in arrays(inputs):
        array = rng.integers(0, 4, shape(axes)) if whole else rng.standard_normal(shape(axes), dtype=np.float32)
        given.append(Matrix(array) if matrix else array)
    left = [parameter for parameter in list(inspect.signature(function).parameters.values())[len(given):]
            if parameter.default is parameter.empty]
    result = function(*given, **{parameter.name: OTHERS[parameter.name](sizes) for parameter in left})
    results = result if isinstance(result, tuple) else (result,)
    assert len(arrays(outputs)) == len(results)
    for (axes, _, _), array in zip(arrays(outputs), results):
        free = [axis for axis in axes if axis in letters and axis not in re.findall(r"[A-Za-z]+", inputs) + ["k"]]
        for axis in free:                               # a letter that only the answer has: any size will do
            sizes[axis] = array.shape[axes.index(axis) - len(axes)]
        assert array.shape == shape(axes), f"{name}: comment says [{', '.join(axes)}], sizes {sizes}"


def test_every_public_op_that_is_tried_was_found():
    assert len(set(CLAIMS) - UNTRIED) >= 15 and set(CLAIMS) >= UNTRIED
