"""Triton's language in plain NumPy: the very source of the kernels, run one program after the other, on any machine.

    kernel("attention.sparse_attention")[grid](q, rows, ..., W=128)     arrays are changed in place

Stricter than a chip: an address outside its array is refused with kernel, line and offset, where a chip reads whatever lies
there; what a mask leaves out without `other` is NaN. Products are summed in float32, as tensor cores do; bfloat16 is rounded
to the nearest, ties to even.
Not here: compilers, speed, many programs at a time (a race between programs is not seen).
"""

import linecache
import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from accel.checks import cases
from accel.checks.finding import too_large
from accel.checks.planted import imported
from accel.checks.source import KERNELS
from v4mini.shapes import Refused

_running = []                                           # launches under way: (kernel, grid, [this program's numbers])


class Block(np.ndarray):
    """What a program holds: numbers that are never changed in place, so that two names never share a value by accident."""

    def to(self, dtype, bitcast=False):
        """The numbers in another type; bitcast: the same bits, read as another type."""
        return self.view(dtype) if bitcast else self.astype(dtype)

    def __iadd__(self, other):
        return self + other

    def __isub__(self, other):
        return self - other

    def __imul__(self, other):
        return self * other


def _block(x):
    return np.asarray(x).view(Block)


class Pointer:
    """Addresses of one array: `base + offsets`. Offsets count elements, not bytes."""

    def __init__(self, name, flat, offsets=0):
        self.name, self.flat, self.offsets = name, flat, offsets
        self.dtype = SimpleNamespace(element_ty=flat.dtype)

    def __add__(self, offsets):
        return Pointer(self.name, self.flat, self.offsets + offsets)

    __radd__ = __add__

    def places(self, what, mask):                       # -> offsets, mask: both of the shape that is loaded or stored
        """Refused where an offset that the mask lets through lies outside of the array."""
        offsets, mask = np.broadcast_arrays(self.offsets, True if mask is None else mask)
        outside = offsets[mask & ((offsets < 0) | (offsets >= self.flat.size))]
        if outside.size:
            frame = sys._getframe(2)                    # who called load or store
            (kernel, _, numbers), where = _running[-1], frame.f_code
            text = linecache.getline(where.co_filename, frame.f_lineno).strip()
            raise Refused(f"{kernel}, program {numbers}, line {frame.f_lineno} in {where.co_name} ({text}): expected offsets of "
                          f"{self.name} from 0 to {self.flat.size - 1}, {what} {outside[0]}. Try a mask, or clamp the index.")
        return offsets, mask


class Kernel:
    """A function of one program. kernel[grid](...) runs it for each place of the grid; a helper is simply called."""

    def __init__(self, function):
        self.function, self.__name__, self.__doc__ = function, function.__name__, function.__doc__

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def __getitem__(self, grid):
        def launch(*args, **kwargs):
            names = self.function.__code__.co_varnames
            given = {**dict(zip(names, args)), **kwargs}
            given = {name: _pointer(name, value) if isinstance(value, np.ndarray) else value for name, value in given.items()}
            with np.errstate(all="ignore"):             # chips do not warn
                for numbers in np.ndindex(*grid):
                    _running.append((self.__name__, grid, numbers))
                    try:
                        self.function(**given)
                    finally:
                        _running.pop()
        return launch


def _pointer(name, array):
    if not array.flags.c_contiguous:
        raise Refused(f"{name}: expected an array whose rows lie one after the other, got strides {array.strides}. "
                      "Try np.ascontiguousarray.")
    return Pointer(name, array.reshape(-1))


def _load(pointer, mask=None, other=None):
    offsets, mask = pointer.places("loads", mask)
    flat = pointer.flat
    nothing = other if other is not None else -1 if flat.dtype.kind in "iu" else np.nan
    if not flat.size:
        return _block(np.full(offsets.shape, nothing, flat.dtype))
    return _block(np.where(mask, flat[np.where(mask, offsets, 0)], np.array(nothing, flat.dtype)))


def _store(pointer, value, mask=None):
    offsets, mask = pointer.places("stores", mask)
    pointer.flat[offsets[mask]] = np.broadcast_to(value, offsets.shape)[mask].astype(pointer.flat.dtype)


def _arange(start, end):
    if (end - start) & (end - start - 1):
        raise Refused(f"tl.arange: expected as many numbers as a power of two, got {end - start}. Try the next one, and a mask.")
    return _block(np.arange(start, end, dtype=np.int32))


def _dot(a, b, acc=None, input_precision=None):
    if a.dtype != b.dtype:
        raise Refused(f"tl.dot: expected two factors of one type, got {a.dtype} and {b.dtype}. Try .to(...).")
    product = np.asarray(a, np.float32) @ np.asarray(b, np.float32)
    return _block(product if acc is None else acc + product)


def _where(condition, one, other):                      # plain numbers are 32 bits wide, as in Triton
    one, other = (np.array(x, np.float32 if type(x) is float else np.int32) if type(x) in (int, float)
                  and not isinstance(y, np.ndarray) else x for x, y in ((one, other), (other, one)))
    return _block(np.where(condition, one, other))


def _sum(x, axis=None):
    return _block(np.sum(np.asarray(x), axis, dtype=x.dtype))


tl = ModuleType("triton.language")
vars(tl).update(
    constexpr=object, float32=np.dtype(np.float32), int32=np.dtype(np.int32), static_range=range,
    program_id=lambda axis: _running[-1][2][axis], num_programs=lambda axis: _running[-1][1][axis],
    load=_load, store=_store, arange=_arange, dot=_dot, where=_where, sum=_sum,
    zeros=lambda shape, dtype: _block(np.zeros(shape, dtype)),
    full=lambda shape, value, dtype: _block(np.full(shape, value, dtype)),
    max=lambda x, axis=None: _block(np.max(np.asarray(x), axis)), exp=lambda x: _block(np.exp(x)),
    sqrt=lambda x: _block(np.sqrt(x)), maximum=lambda a, b: _block(np.maximum(a, b)),
    minimum=lambda a, b: _block(np.minimum(a, b)), trans=lambda x: x.T, reshape=lambda x, shape: x.reshape(shape),
    broadcast_to=lambda x, shape: _block(np.broadcast_to(x, shape)), split=lambda x: (x[..., 0], x[..., 1]),
    join=lambda a, b: _block(np.stack([a, b], -1)))
triton = ModuleType("triton")
triton.jit, triton.language = Kernel, tl


def load(path):                                         # a file of kernels -> its module, private to whoever asked
    """Run the file with this language in triton's place; sys.modules is afterwards as it was before."""
    names = {"triton": triton, "triton.language": tl}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        return imported(Path(path))
    finally:
        for name, old in before.items():
            sys.modules.pop(name)
            if old is not None:
                sys.modules[name] = old


kernels_of = cache(lambda module: load(KERNELS / f"{module}.py"))      # "attention" -> all that its file defines


def kernel(name):                                       # "attention.sparse_attention" -> Kernel
    """A kernel of accel/kernels in this language."""
    module, function = name.split(".")
    return getattr(kernels_of(module), function)


def problem(name, function=kernel, dtype=np.float32):   # -> what is wrong with the tiny case `name`, or ""
    """Run it, and hold the answers against NumPy's, with the bounds of the other checks."""
    case = cases.case_for(name, "tiny", "interpreter", dtype, upcast=dtype is np.float32)
    try:
        function(case.kernel)[case.grid](**case.arrays, **case.scalars, **case.constants)
    except Refused as error:
        return str(error)
    return too_large("tiny", dtype, cases.largest_error(case.arrays, case))
