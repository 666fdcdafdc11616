"""Kinds of mistakes that every exercise must notice, made from its own right answer.

Not here: mistakes of one exercise (exercises/), one attempt's verdict (verdict.py).
"""

import copy

import numpy as np


def kinds_of_mistakes(exercise, cases):     # -> [(kind, function)]: those that change something of this exercise's answers
    """Right answers spoilt in one way each: written over an argument, of another type, rounded, by heart, flattened."""
    found = [(kind, _spoilt(exercise.answer, spoil)) for kind, spoil in _KINDS.items()
             if any(_differs(spoil, exercise, arguments) for arguments in cases)]
    if any(_writable(argument) for arguments in cases for argument in arguments):
        found.append(("writes into an argument", _writes(exercise.answer)))
    first = exercise.answer(*copy.deepcopy(cases[0]))
    return [*found, ("knows the first case by heart", lambda *arguments: copy.deepcopy(first))]


def _mask_as_numbers(array):
    return array.astype(np.int64) if array.dtype.kind == "b" else array


def _whole_numbers_as_decimals(array):
    return array.astype(np.float64) if array.dtype.kind in "iu" else array


def _half_precision(array):
    return array.astype(np.float16).astype(array.dtype) if array.dtype.kind == "f" else array


def _one_number_off(array):
    array = array.copy()
    if array.size:
        array.flat[-1] = not array.flat[-1] if array.dtype.kind == "b" else array.flat[-1] + 1
    return array


def _flattened(array):
    return array.ravel()


_KINDS = {
    "a mask of 1 and 0": _mask_as_numbers,
    "decimals for whole numbers": _whole_numbers_as_decimals,
    "rounded to half precision": _half_precision,
    "the last number off by one": _one_number_off,
    "without its axes": _flattened,
}


def _spoilt(answer, spoil):
    return lambda *arguments: _each_array(answer(*arguments), spoil)


def _each_array(value, spoil):              # arrays at any depth of a tuple or list; all else stays
    if isinstance(value, np.ndarray):
        with np.errstate(all="ignore"):
            return spoil(value)
    return type(value)(_each_array(part, spoil) for part in value) if type(value) in (tuple, list) else value


def _differs(spoil, exercise, arguments):
    seen = []

    def look(array):
        spoilt = spoil(array)
        seen.append(spoilt.dtype != array.dtype or spoilt.shape != array.shape
                    or not np.allclose(spoilt, array, rtol=2e-4, atol=2e-4, equal_nan=array.dtype.kind == "f"))
        return array

    _each_array(exercise.answer(*copy.deepcopy(arguments)), look)
    return any(seen)


def _writable(argument):
    return argument.size > 0 if isinstance(argument, np.ndarray) else isinstance(argument, list | dict) and len(argument) > 0


def _writes(answer):
    def mine(*arguments):
        result = copy.deepcopy(answer(*arguments))
        for argument in arguments:
            if isinstance(argument, np.ndarray) and argument.size:
                argument.flat[0] = not argument.flat[0] if argument.dtype.kind == "b" else argument.flat[0] + 1
            elif isinstance(argument, list) and argument:
                argument.append(argument[-1])
            elif isinstance(argument, dict) and argument:
                argument.popitem()
        return result

    return mine
