"""Gradients the slow way: nudge one number up and down, see how far the answer moves.

The functions nudged are the naive twins of tests/ops/naive.py in float64, so a derivation is checked against the equations
and not against our own forward. Tolerances of these comparisons stand here, as they belong to the step below.
"""

import numpy as np

STEP = 1e-5

# A central difference with that step is off by STEP^2 = 1e-10 (the third derivative) and by 1e-16 / STEP = 1e-11 (rounding),
# each times a number of a few units. Float64 formulas are far better than either.
FLOAT64 = 1e-8

# What the nudge itself cannot tell: the rounding part of the above, for answers of a few dozen units.
BLIND = 1e-9

# A float32 carries 6e-8; sums of a few hundred terms, a softmax and a division multiply that by some tens.
FLOAT32 = 2e-5


def finite_difference(f, arrays, g):                    # f(*arrays) -> array or tuple -> gradient of sum(f * g) for each array
    """Central differences, number by number. `g` has the shapes of what f gives."""
    arrays = [np.array(array, np.float64) for array in arrays]
    gradients = [np.zeros_like(array) for array in arrays]
    for array, gradient in zip(arrays, gradients):
        for place in np.ndindex(array.shape):
            middle, ends = array[place], []
            for step in (STEP, -STEP):
                array[place] = middle + step
                ends.append(total(f(*arrays), g))
            array[place] = middle
            gradient[place] = (ends[0] - ends[1]) / (2 * STEP)
    return gradients


def total(parts, g):                                    # what the gradients are of: sum of answer times g
    if not isinstance(parts, tuple):
        parts, g = (parts,), (g,)
    return sum(float(np.sum(np.float64(part) * np.float64(each))) for part, each in zip(parts, g, strict=True))


def expect(found, wanted, share, name="gradient", least=0.0):
    """No number further off than `share` of the largest that is wanted; where that is 0, no further than `least`."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape, f"{name}: {found.shape} instead of {wanted.shape}"
    assert np.isfinite(found).all(), f"{name} is not finite"
    largest = np.abs(wanted).max(initial=0)
    off = np.abs(np.float64(found) - wanted).max(initial=0)
    assert off <= max(share * largest, least), f"{name}: {off:.2e} off, the largest number is {largest:.2e}"
