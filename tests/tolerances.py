"""How far apart two numbers may be, and why. The only such table: tests name a row of it.

A row is for numpy.testing.assert_allclose: |a - b| <= atol + rtol * |b|.
"""

# One op in float32 against its twin in float64, inputs of size 1. A float32 carries 6e-8; sums of a few hundred terms
# and a softmax multiply that by some tens.
OP = {"rtol": 1e-5, "atol": 5e-6}

# The same with inputs of size 1000 and more: errors scale with the largest term of a sum, so only the relative part helps.
OP_LARGE = {"rtol": 2e-4, "atol": 1e-5}

# Products of 160 terms of size up to 10, some of which nearly cancel.
PRODUCT = {"rtol": 2e-4, "atol": 1e-4}

# A softmax of logits in the thousands: float32 holds such a logit to 2e-4, and the softmax turns that into a factor.
SOFTMAX_LARGE = {"rtol": 2e-3, "atol": 1e-2}

# Angles below 300 radians as float32 products: half a unit in the last place of 300 is 1.5e-5.
ROTATED = {"rtol": 1e-4, "atol": 5e-5}

# Two float32 runs of one model that add in another order (a cache, a batch, another split): 4 to 7 layers of OP.
SAME_MODEL = {"rtol": 1e-4, "atol": 2e-5}

# A whole model in float32 against the whole model in float64. proof/huggingface.py allows its float32 the same.
WHOLE_MODEL = {"rtol": 1e-4, "atol": 2e-4}

# A change that should be visible has to be at least this large: 50 times SAME_MODEL.
VISIBLE = 1e-3

# Parameter counts that are written down in millions with one decimal.
MILLIONS = {"rtol": 0, "atol": 0.05}
