"""Codes are those of the rows as they are now: grown, overwritten, copied, in pieces."""

import numpy as np
import pytest

from v4mini.kernels.keys import Codes, KeyRows, Keys, pieces_of
from v4mini.numerics.rows import BFloat16, Rows


def codes_of(rows):                                     # made afresh -> [N, ...] of each key
    return by_key(Codes(np.ascontiguousarray(rows)).upto(len(rows)), len(rows))


def by_key(made, count):
    codes, lengths = made
    return [a.swapaxes(1, axis).reshape(-1, *np.delete(a.shape, [0, axis]))[:count] for a, axis in ((codes.swapaxes(1, 3), 1),
                                                                                                   (lengths.swapaxes(1, 2), 1))]


def same(keys, rows):
    np.testing.assert_array_equal(np.asarray(keys), rows)
    for got, wanted in zip(by_key(keys.codes.upto(len(keys)), len(keys)), codes_of(rows)):
        np.testing.assert_array_equal(got, wanted)


@pytest.fixture
def keys(normal):
    keys = Keys(6).empty(40)
    keys[:] = normal(40, 6)
    return keys


def test_codes_follow_rows_that_are_added_and_overwritten(keys, normal):
    rows = np.array(keys.rows)
    same(keys[:11], rows[:11])
    assert keys.codes.done == 11
    keys[5:20] = rows[5:20] = normal(15, 6)
    assert keys.codes.done == 5
    same(keys, rows)
    keys[39:] = rows[39:] = normal(1, 6)
    same(keys, rows)


def test_many_at_once_get_the_codes_of_one_at_a_time(normal):
    rows = normal(5000, 5)
    slow, fast = Codes(rows), Codes(rows)
    for count in range(100, 5001, 100):
        slow.upto(count)
    for one, other in zip(by_key(slow.upto(5000), 5000), by_key(fast.upto(5000), 5000)):
        np.testing.assert_array_equal(one, other)


def test_slices_copies_and_pieces(keys):
    assert isinstance(keys[:7], KeyRows) and keys[:7].codes is keys.codes and len(keys[:7]) == 7
    assert isinstance(keys[2:7], np.ndarray) and isinstance(keys[np.array([3, 1])], np.ndarray)
    twin = Keys(6).copy(keys[:9])
    keys[:1] = 0
    assert twin.rows[0].any() and twin.shape == (9, 6)
    format = Keys(6)
    assert format.joined([keys]) is keys and pieces_of(keys) == [keys]
    both = format.joined([keys[:9], twin])
    assert [len(piece) for piece in pieces_of(both)] == [9, 9] and both.shape == (18, 6)
    np.testing.assert_array_equal(both[8:11], np.concatenate([keys.rows[8:9], twin.rows[:2]]))
    decoded = Rows(BFloat16(2), [np.zeros((3, 2), BFloat16.dtype)])
    assert pieces_of(decoded) == [decoded]


def test_what_goes_to_a_file_is_float32(keys):
    assert Keys(6).to_host(keys) is keys.rows and Keys(6).file_dtype == "F32" and keys.nbytes == 40 * 6 * 4
