"""Value: an array on a tape, or a weight at its beginning. Behaves as layers use arrays, and remembers.

Not here: the operations (tape.py), their derivatives (backward/).
"""

import numpy as np


class Value:
    """`data` [...] and, once the tape ran backward, `gradient` of the same shape. A leaf has a tensor's name."""

    __slots__ = ("data", "tape", "name", "gradient", "_is_own")
    __array_ufunc__ = None                              # array + Value is an error, not a sum element by element

    def __init__(self, data, tape, name=None):
        self.data, self.tape, self.name, self.gradient, self._is_own = data, tape, name, None, False

    def __repr__(self):
        return f"<Value {self.name or ''} {list(np.shape(self.data))}>"

    def add_gradient(self, g):                          # as data
        """One more path by which the loss depends on this value."""
        if self.gradient is None:
            self.gradient, self._is_own = g, False
        elif self._is_own:
            self.gradient += g
        else:                                           # the first may be somebody else's array
            self.gradient, self._is_own = self.gradient + g, True

    def _add_gradient_at(self, index, g):
        if self.gradient is None:
            self.gradient = np.zeros(self.data.shape, g.dtype)
        elif not self._is_own:
            self.gradient = self.gradient.copy()
        self._is_own = True
        self.gradient[index] += g

    # ---- as an array ----

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: len(self.data.shape))
    dtype = property(lambda self: self.data.dtype)

    def __len__(self):
        return self.data.shape[0]

    def reshape(self, *shape):                          # -> Value
        """As ndarray.reshape."""
        return self.tape.record(self.data.reshape(*shape), (self,), lambda g: (g.reshape(self.data.shape),))

    def __getitem__(self, index):
        if isinstance(index, slice) and index == slice(None):
            return self
        if isinstance(index, np.ndarray | list):
            raise TypeError("rows by their numbers: one may come often. Call the tape's take.")

        def back(g):
            self._add_gradient_at(index, g)             # in place: slices of one array do not cost an array each
            return (None,)
        return self.tape.record(self.data[index], (self,), back)

    def __add__(self, other):
        return self.tape.record(self.data + other.data, (self, other), lambda g: tuple(_summed(g, v) for v in (self, other)))

    def __mul__(self, number):
        return self.tape.record(self.data * number, (self,), lambda g: (g * number,))

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"np.{function.__name__} has no rule on the tape. Call an operation of the engine.")


def _summed(g, value):                                  # back to the shape that was broadcast
    shape = value.data.shape
    for axis, size in enumerate(shape):
        if size == 1 and g.shape[axis] != 1:
            g = g.sum(axis=axis, keepdims=True)
    return g
