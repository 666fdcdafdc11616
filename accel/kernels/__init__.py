"""The kernels of V4 in the language of Triton 3.2, which Triton for CUDA and Triton-Ascend both compile.

Rules they keep, each learnt from a compiler: an index of a gather is clamped and its score masked, since Ascend loads masked
rows too; -1e30 in place of -inf; no pointers of stride 2; no tl.sort, tl.cumsum or tl.histogram; bytes of a weight come as
int8, since 910B has no unsigned arithmetic and no FP8. UPCAST=True multiplies in float32: Triton's interpreter would multiply
the bit patterns of bfloat16. A size that is not a power of two comes with the next one (HP, DP) and is masked.

Not here: torch (Triton-Ascend's environment has none), tile sizes (tiles.toml), launches (launch.py), references (v4mini.ops).
"""
