"""The formulas of V4, one function each, in NumPy on float32 arrays.

Not here: configs, positions of a sequence in a cache, weights' names, devices.
"""
