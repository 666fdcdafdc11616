"""Twin of update in training/adamw.py: one pass over a tensor instead of a dozen.

Not here: AdamW itself (training/adamw.py), float64, which runs there too.
"""

import numpy as np

from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import share_out
from v4mini.shapes import Refused

NUMBERS_PER_THREAD = 1 << 16    # numbers a thread takes at a time


def update(values, gradient, mean, square, betas, size, unbias, shrink, eps):
    """Twin of training.adamw.update. Threads share out numbers."""
    for name, array in (("values", values), ("gradient", gradient), ("mean", mean), ("square", square)):
        check_shape(name, array, *values.shape)
        if array is not gradient and not (array.flags.carray and array.dtype == np.float32):
            raise Refused(f"{name}: expected a plain float32 array to write to, got {array.dtype} with strides {array.strides}.")
    share_out(_chunk, -(-values.size // NUMBERS_PER_THREAD),
              *(as_floats(array).reshape(-1) for array in (values, gradient, mean, square)),
              *map(float, (*betas, size, unbias, shrink, eps)))


@njit(nogil=True, error_model="numpy")
def _chunk(chunk, values, gradient, mean, square, beta1, beta2, size, unbias, shrink, eps):
    new1, new2 = np.float32(1 - beta1), np.float32(1 - beta2)
    size, unbias, shrink, eps = np.float32(size), np.float32(unbias), np.float32(shrink), np.float32(eps)
    for i in range(chunk * NUMBERS_PER_THREAD, min(len(values), (chunk + 1) * NUMBERS_PER_THREAD)):
        g = gradient[i]
        mean[i] += new1 * (g - mean[i])
        square[i] += new2 * (g * g - square[i])
        values[i] = values[i] * shrink - size * mean[i] / (np.sqrt(square[i]) * unbias + eps)
