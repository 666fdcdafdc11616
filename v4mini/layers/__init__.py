"""One layer of V4: which weight meets which operation. Plain functions of (ops, x, weights, ...).

Not here: formulas (ops/), devices (the backend passed in), what is kept between calls (inference/cache.py).
"""
