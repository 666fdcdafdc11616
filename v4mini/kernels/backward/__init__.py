"""The Numba twin of each backward worth one: same file name, same function, same arguments as in training/backward/;
and of the loss over the vocabulary (training/losses.py), whose gradient is most of it.

Built as the kernels beside (v4mini/kernels/__init__.py). Where many tokens add to one gradient (of keys, of a norm's weight),
tokens are dealt to a fixed number of PARTS, each with a sum of its own, and the sums are added in order: the same bits with 1 or
2 threads.
Not here: the derivations (training/backward/).
"""
