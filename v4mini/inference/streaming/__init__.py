"""A model larger than memory: model.py runs it, budget.py divides the memory, pool.py holds what is there, read.py reads files,
weights.py is the tree of weights, eviction.py says which expert goes, replay.py what a recorded routing would have read.

Not here: the cache of keys and values (inference/cache.py).
"""
