"""The number formats of the released weights, bit by bit, and the block scales that make them usable.

    strips      walk a long array in pieces that stay in the processor's cache
    minifloat   the rule that e4m3 and e2m1 share: sign, exponent, mantissa, round to nearest even
    bf16        16 bits: float32 with the lower half of its mantissa cut off
    e4m3        8 bits, "FP8": up to 448
    e2m1        4 bits, "FP4": 0, 0.5, 1, 1.5, 2, 3, 4, 6; two per byte
    ue8m0       8 bits of exponent: the scales, powers of two and nothing else
    matrix      Matrix: a weight as the file stores it, decoded when asked
    rows        Rows: rows of a cache as they are stored, decoded when asked
    blocks      which numbers share a scale, for weights, activations, KV rows and index rows
    hadamard    the rotation in front of the indexer's FP4

Formulas are written out here; `ml_dtypes` lends its array dtypes and is the oracle of the tests.

Not here: files and tensor names (weights/), products of matrices (ops/), layers.
"""
