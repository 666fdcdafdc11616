"""An engine whose arrays are closed to NumPy: they can be added, scaled by a Python number, sliced and reshaped, and no more.

So whatever layers, model or caches do to an engine's array beside calling an operation is an error here, as on a device, with no
device and no torch. Only the engine's own operations, rows and `host` look inside.
"""

from dataclasses import fields, is_dataclass, replace

from v4mini.backend import OPERATIONS, Backend
from v4mini.numerics.matrix import Matrix
from v4mini.numerics.rows import Formats
from v4mini.weights.tree import mapped


class Closed:
    """What an engine gives out, with what the contract lets others do to it."""

    __array_ufunc__ = None                  # NumPy's arrays give way to this one, which knows no sum with them
    __iter__ = None

    def __init__(self, inside):
        self.inside = inside                # a NumPy array, or numerics.rows.Rows
        self.shape = inside.shape

    def __array__(self, *_, **__):
        raise TypeError("an engine's array became NumPy's by itself: only Backend.host may do that")

    def __array_function__(self, function, *_):
        raise TypeError(f"numpy.{function.__name__} was called on an engine's array")

    def __len__(self):
        return len(self.inside)

    def __add__(self, other):
        return Closed(self.inside + other.inside) if isinstance(other, Closed) else NotImplemented

    def __mul__(self, number):
        return Closed(self.inside * number) if type(number) in (int, float) else NotImplemented

    def __getitem__(self, where):
        return Closed(self.inside[only_slices(where)])

    def reshape(self, *shape):
        return Closed(self.inside.reshape(*shape))


class Codes(Closed):
    """Stored rows: a cache may also write to a slice of them, and ask for their bytes."""

    def __setitem__(self, where, codes):
        self.inside[only_slices(where)] = codes.inside

    def __getitem__(self, where):
        return Codes(self.inside[only_slices(where)])

    @property
    def nbytes(self):
        return self.inside.nbytes


class ClosedFormat:
    """NumPy's way to store rows, behind closed arrays."""

    on_host = False

    def __init__(self, format):
        self.format = format
        self.width, self.columns, self.dtype, self.file_dtype = format.width, format.columns, format.dtype, format.file_dtype

    def empty(self, count):
        return Codes(self.format.empty(count))

    def encode(self, rows):
        return Codes(self.format.encode(rows.inside))

    def decode(self, codes):
        return Closed(self.format.decode(codes.inside))

    def joined(self, pieces):
        return Closed(self.format.joined([piece.inside for piece in pieces]))

    def to_host(self, codes):
        return self.format.to_host(codes.inside)

    def from_host(self, codes):
        return Codes(self.format.from_host(codes))


class ClosedBackend(Backend):
    """The NumPy engine, its arrays closed."""

    name = "closed"

    def place(self, weights):
        return mapped(weights, lambda leaf: leaf if isinstance(leaf, Matrix) else Closed(leaf))

    def formats(self, config, storage):
        row, key, state = super().formats(config, storage)
        return Formats(ClosedFormat(row), ClosedFormat(key), lambda width: ClosedFormat(state(width)))

    def host(self, x):
        return x.inside[:]

    def constant(self, array):
        return Closed(array)


def opened(value):                          # what an operation was given -> the same as NumPy's engine takes it
    if isinstance(value, Closed):
        return value.inside
    if isinstance(value, list | tuple):
        return type(value)(map(opened, value))
    if is_dataclass(value) and not isinstance(value, Matrix):
        return replace(value, **{field.name: opened(getattr(value, field.name)) for field in fields(value)})
    return value


def closed(value):
    return tuple(map(closed, value)) if isinstance(value, tuple) else Closed(value)


def only_slices(where):
    """Slices, whole numbers, a new axis: what every kind of array takes alike."""
    for one in where if isinstance(where, tuple) else (where,):
        if type(one) not in (slice, int, type(None)):
            raise TypeError(f"an engine's array was indexed with {type(one).__name__}: Backend.take does that")
    return where


def _behind(name):
    def operation(self, *args, **kwargs):
        plain = Backend(self.simulate)
        return closed(getattr(plain, name)(*map(opened, args), **{key: opened(value) for key, value in kwargs.items()}))
    return operation


for _name in set(OPERATIONS) - {"constant"}:
    setattr(ClosedBackend, _name, _behind(_name))
