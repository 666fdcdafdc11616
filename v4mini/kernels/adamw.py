"""Twin of update in training/adamw.py: one pass over a tensor instead of a dozen.

Not here: AdamW itself (training/adamw.py), float64, which runs there too.
"""

import numpy as np
from numba import prange

from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.compiled import njit
from v4mini.shapes import Refused

NUMBERS_PER_THREAD = 1 << 14    # numbers a thread takes at a time
PARALLEL_FROM = 1 << 16         # numbers: below, waking a second thread costs more than it saves


def update(values, gradient, mean, square, betas, size, unbias, shrink, eps):
    """Twin of training.adamw.update. Threads share out numbers."""
    for name, array in (("values", values), ("gradient", gradient), ("mean", mean), ("square", square)):
        check_shape(name, array, *values.shape)
        if array is not gradient and not (array.flags.carray and array.dtype == np.float32):
            raise Refused(f"{name}: expected a plain float32 array to write to, got {array.dtype} with strides {array.strides}.")
    run = _some if values.size < PARALLEL_FROM else _all
    run(*(as_floats(array).reshape(-1) for array in (values, gradient, mean, square)),
        *map(float, (*betas, size, unbias, shrink, eps)))


@njit(parallel=True)
def _all(values, gradient, mean, square, beta1, beta2, size, unbias, shrink, eps):
    for chunk in prange((len(values) + NUMBERS_PER_THREAD - 1) // NUMBERS_PER_THREAD):
        some = slice(chunk * NUMBERS_PER_THREAD, min(len(values), (chunk + 1) * NUMBERS_PER_THREAD))
        _some(values[some], gradient[some], mean[some], square[some], beta1, beta2, size, unbias, shrink, eps)


@njit(error_model="numpy")
def _some(values, gradient, mean, square, beta1, beta2, size, unbias, shrink, eps):
    new1, new2 = np.float32(1 - beta1), np.float32(1 - beta2)
    size, unbias, shrink, eps = np.float32(size), np.float32(unbias), np.float32(shrink), np.float32(eps)
    for i in range(len(values)):
        g = gradient[i]
        mean[i] += new1 * (g - mean[i])
        square[i] += new2 * (g * g - square[i])
        values[i] = values[i] * shrink - size * mean[i] / (np.sqrt(square[i]) * unbias + eps)
