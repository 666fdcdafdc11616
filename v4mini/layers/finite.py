"""Logits that are not finite are refused, with the first layer and tensor where such numbers arose.

A pass that goes well pays one look at its logits. One that does not is run again with every operation watched: the first that
gives NaN or an infinity is where they arose, and what it was given says why: a weight, a row of the cache, too large numbers.
A NaN in the weights of an indexer is seen only where it reaches logits: it changes which entries are read, not what they hold.
Not here: the order of the operations (the other files of this folder, model.py).
"""

import copy
from dataclasses import fields, is_dataclass

import numpy as np

from v4mini.backend import OPERATIONS
from v4mini.shapes import Refused
from v4mini.weights.tree import named

MOVING = {"constant", "take", "concat", "detach", "hc_expand"}          # give what they were given
ROWS_AT_ONCE = 4096                     # of a weight: bounds the decoded copy


def finite_logits(model, run):          # run(model) -> the engine's logits [n, V] -> NumPy [n, V]
    """What `run` gives. Refused if it is not finite; then `run` is called once more, with a model whose engine is watched."""
    (logits,), _ = finite_pass(model, lambda model: ((run(model),), None))
    return logits


def finite_pass(model, run):            # run(model) -> (the engine's arrays, more) -> ([NumPy arrays], more)
    """The same of several arrays at once; `more` is handed on unseen. A pass that is not finite leaves nothing in caches that
    `run` does not commit itself.
    """
    with np.errstate(all="ignore"):     # what overflows on the way and matters is refused below; the rest is no warning's worth
        found, more = run(model)
        found = [model.ops.host(part) for part in found]
        bad = [part for part in found if not is_finite(part)]
        if bad:
            raise Refused(f"logits: expected finite numbers, got {_counted(bad[0])}. {_origin(model, run)}")
    return found, more


def is_finite(x):                       # NumPy array or store of rows -> bool; integers are
    """Whether no number of x is NaN or infinite. Takes no array of its size."""
    return x.dtype.kind != "f" or not x.size or bool(np.isfinite(x.min()) and np.isfinite(x.max()))


def _counted(logits):
    bad = ~np.isfinite(logits)
    tokens = int(bad.any(axis=-1).sum())
    return f"{logits[bad][0]} (tokens: {tokens:,} of {len(logits):,})"


def _origin(model, run):                # -> a sentence or two
    watched = copy.copy(model)
    watched.ops = _Watching(model.ops, {id(leaf): name for name, leaf in named(model.weights, model.config)})
    try:
        run(watched)
    except _Arose as arose:
        return str(arose)
    return "A second pass with the same numbers was finite: are memory and disk of this machine sound?"


class _Arose(Exception):
    pass


class _Watching:
    """An engine as it is; the first operation that gives a number that is not finite raises _Arose."""

    def __init__(self, ops, names, layer=None):         # names: id of a weight -> its tensor's name
        self._ops, self._names, self._layer = ops, names, layer

    def __getattr__(self, name):
        found = getattr(self._ops, name)
        if name not in OPERATIONS or name in MOVING:
            return found

        def watched(*args, **kwargs):
            out = found(*args, **kwargs)
            if not all(is_finite(self._ops.host(part)) for part in (out if isinstance(out, tuple) else (out,))):
                raise _Arose(self._cause(name, [*args, *kwargs.values()]))
            return out
        return watched

    def at(self, layer):
        return _Watching(self._ops.at(layer), self._names, layer)

    def _cause(self, operation, given):
        where = "They arose outside of the layers" if self._layer is None else f"They arose in layer {self._layer}"
        if operation == "experts":      # (x, chosen, weights, pool, limit): of the pool, those that ran
            given[3] = tuple(given[3][int(number)] for number in np.unique(self._ops.host(given[1])))
        leaves = [leaf for argument in given for leaf in _leaves(argument)]
        weights = [leaf for leaf in leaves if _is_matrix(leaf) or id(leaf) in self._names]
        ids = given[0] if operation == "embed" else None
        for weight in weights:
            fault = self._fault(weight, ids)
            if fault:
                return f"{where}: {self._name(weight)} has {fault}. Is the file damaged? Fetch or copy it anew."
        if not all(map(self._is_finite, leaves)):
            return (f"{where}: {operation} was given rows of an earlier pass that are not finite. Is the cache another "
                    "checkpoint's, or damaged? Begin with a new one.")
        beside = f" with {self._name(weights[0])}" if weights else ""
        return f"{where}: {operation}{beside} overflows float32. Are weights, scales and config of the same checkpoint?"

    def _name(self, weight):
        return self._names.get(id(weight)) or f"{weight.name}.weight"

    def _fault(self, weight, ids):      # -> "nan at [3, 5]", or ""
        for start, rows in _rows(weight, ids) if _is_matrix(weight) else [(0, weight)]:
            rows = self._ops.host(rows)
            if not is_finite(rows):
                place = np.argwhere(~np.isfinite(rows))[0]
                at = [int(ids[place[0]]) if ids is not None else start + int(place[0]), *map(int, place[1:])]
                return f"{rows[tuple(place)]} at {at}"
        return ""

    def _is_finite(self, leaf):
        if _is_matrix(leaf) or not hasattr(leaf, "shape"):
            return True
        return is_finite(self._ops.host(leaf[:] if len(leaf.shape) else leaf))


def _is_matrix(leaf):                   # NumPy's, or what an engine has made of it
    return hasattr(leaf, "rows")


def _rows(matrix, ids):                 # yields (first row, float32 rows)
    if ids is not None:
        yield 0, matrix.take(ids)
        return
    for start in range(0, matrix.shape[0], ROWS_AT_ONCE):
        yield start, matrix.rows(start, min(matrix.shape[0], start + ROWS_AT_ONCE))


def _leaves(argument):                  # -> [Matrix, array, number ...]
    if isinstance(argument, tuple | list):
        return [leaf for item in argument for leaf in _leaves(item)]
    if is_dataclass(argument) and not _is_matrix(argument):
        return [leaf for field in fields(argument) for leaf in _leaves(getattr(argument, field.name))]
    return [argument]
