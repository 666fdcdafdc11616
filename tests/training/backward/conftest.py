"""What tests of backward functions share: both engines, and one against the other on larger inputs."""

from dataclasses import dataclass

import numba
import numpy as np
import pytest
from training.backward.finite_differences import BLIND, FLOAT32, FLOAT64, expect, finite_difference

from v4mini.training.gradients import Gradients, numba_gradients


@dataclass(frozen=True)
class Engine:
    """Backward gradients, the numbers they work with, and how near those come to a nudge of the float64 twin."""

    gradients: Gradients
    dtype: type
    share: float

    def given(self, *arrays):
        """Arrays as this engine takes them."""
        return [np.asarray(array, self.dtype) for array in arrays]

    def agrees(self, found, f, arrays, g, names=None):
        """Every gradient found is that of nudging f, at the very numbers the engine was given."""
        wanted = finite_difference(f, self.given(*arrays), g)
        assert len(found) == len(wanted)
        for number, pair in enumerate(zip(found, wanted)):
            expect(*pair, self.share, names[number] if names else f"gradient {number}", BLIND)


@pytest.fixture(params=["numpy", "numba"])
def engine(request):
    """The formulas in float64, then the loops in float32. Their numbers are the same: draw() gives such as float32 holds."""
    if request.param == "numpy":
        return Engine(Gradients(), np.float64, FLOAT64)
    return Engine(numba_gradients(), np.float32, FLOAT32)


@pytest.fixture
def draw(rng):
    """draw(2, 3, size=1.0): float64 numbers that float32 holds exactly."""
    return lambda *shape, size=1.0: np.float64(np.float32(rng.standard_normal(shape) * size))


@pytest.fixture
def twins():
    """twins(name, *arguments): the Numba rule against NumPy's in float64, the arrays among the arguments cast for each.

    For inputs too large to nudge. One thread and two have to give the same bits.
    """
    before = numba.get_num_threads()

    def cast(argument, dtype):
        if isinstance(argument, tuple | list):
            return type(argument)(cast(part, dtype) for part in argument)
        is_real = isinstance(argument, np.ndarray) and argument.dtype.kind == "f"
        return argument.astype(dtype) if is_real else argument

    def check(name, *arguments, share=FLOAT32, **named):
        slow, fast = getattr(Gradients(), name), getattr(numba_gradients(), name)
        wanted = slow(*cast(arguments, np.float64), **named)
        answers = []
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            answers.append(list(flat(fast(*cast(arguments, np.float32), **named))))
        for number, (one, two, right) in enumerate(zip(*answers, flat(wanted), strict=True)):
            assert one.dtype == np.float32 and one.tobytes() == two.tobytes(), f"{name}: threads change gradient {number}"
            expect(one, right, share, f"{name}: gradient {number}")
    yield check
    numba.set_num_threads(before)


def flat(found):                                        # gradients, however they are bundled -> one after the other
    if isinstance(found, tuple):
        for part in found:
            yield from flat(part)
    elif found is not None:
        yield found
