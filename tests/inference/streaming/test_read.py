"""Whole pages in, exactly the tensors' bytes out, whatever lies where."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.inference.streaming.read import PAGE, Buffer, Files, Place, Tensor, lay_out, read_rows
from v4mini.shapes import Refused

SIZE = 5 * PAGE + 1234


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("read") / "bytes"
    path.write_bytes(np.random.default_rng(0).bytes(SIZE))
    return path


def tensor(path, number, start, length):
    return Tensor(f"t{number}", str(path), start, start + length, np.dtype(np.uint8), (length,))


def loaded(unit, files):
    buffer = Buffer(unit.nbytes)
    for run in unit.runs:
        buffer.fill(run, files)
    return buffer


@pytest.mark.parametrize("direct", [True, False])
@given(cuts=st.lists(st.integers(0, SIZE), min_size=2, max_size=12, unique=True).map(sorted), taken=st.integers(1, 2**11))
@settings(max_examples=60, deadline=None)
def test_any_tensors_of_a_file_come_as_they_are(path, direct, cuts, taken):
    """Neighbours, holes, pages shared by two runs, the last page of the file."""
    spans = [(a, b) for number, (a, b) in enumerate(zip(cuts, cuts[1:])) if taken >> number & 1] or [(cuts[0], cuts[1])]
    tensors = [tensor(path, number, a, b - a) for number, (a, b) in enumerate(spans)]
    unit, files, raw = lay_out("unit", tensors[::-1]), Files(direct), path.read_bytes()
    buffer = loaded(unit, files)
    files.close()
    for t in tensors:
        assert buffer.array(unit.places[t.name]).tobytes() == raw[t.start:t.stop]
    assert unit.payload == sum(b - a for a, b in spans) and unit.nbytes % PAGE == 0


def test_neighbours_are_read_at_once_and_others_apart(path):
    unit = lay_out("unit", [tensor(path, 0, 100, 50), tensor(path, 1, 150, 5000), tensor(path, 2, 9000, 10)])
    assert [(run.offset, run.nbytes, run.wanted, run.start) for run in unit.runs] == [
        (0, 2 * PAGE, 5150, 0), (2 * PAGE, PAGE, 9010 - 2 * PAGE, 2 * PAGE)]
    assert unit.nbytes == 3 * PAGE


def test_other_types_and_shapes_and_nobody_may_write(path):
    unit = lay_out("unit", [Tensor("x", str(path), 800, 800 + 4 * 6, np.dtype(np.float32), (2, 3))])
    x = loaded(unit, Files()).array(unit.places["x"])
    np.testing.assert_array_equal(x.view(np.uint32), np.frombuffer(path.read_bytes()[800:824], np.uint32).reshape(2, 3))
    with pytest.raises(ValueError):
        x[0, 0] = 1


@pytest.mark.parametrize("start, width", [(0, 8), (4090, 12), (4096, 4096), (33, 5000)])
def test_rows_alone_are_the_rows(path, start, width):
    rows = (SIZE - start) // width
    unit = lay_out("unit", [Tensor("x", str(path), start, start + rows * width, np.dtype(np.uint8), (rows, width))])
    whole = np.frombuffer(path.read_bytes()[start: start + rows * width], np.uint8).reshape(rows, width)
    ids = np.array([rows - 1, 0, rows // 2, 0])
    np.testing.assert_array_equal(read_rows(Files(), unit, "x", ids), whole[ids])
    assert read_rows(Files(), unit, "x", ids[:0]).shape == (0, width)


def test_a_buffer_is_idle_when_no_array_looks_at_it():
    buffer = Buffer(PAGE)
    assert buffer.is_idle
    array = buffer.array(Place(0, np.dtype(np.int8), (8, 2)))
    part = array[3:4].view(np.uint8)
    assert not buffer.is_idle
    del array
    assert not buffer.is_idle
    del part
    assert buffer.is_idle


@pytest.mark.parametrize("direct", [True, False])
def test_a_file_that_is_cut_short_later_is_refused(tmp_path, direct):
    path = tmp_path / "bytes"
    path.write_bytes(bytes(3 * PAGE))
    unit = lay_out("unit", [tensor(path, 0, 10, 2 * PAGE)])
    files = Files(direct)
    loaded(unit, files)
    with path.open("r+b") as file:
        file.truncate(PAGE + 1)
    with pytest.raises(Refused, match=r"expected 8,202 bytes, got 4,097. Was the file cut"):
        loaded(unit, files)


def test_a_file_system_without_direct_reads_is_read_the_other_way(path, monkeypatch):
    import errno
    import os

    real, flag = os.open, getattr(os, "O_DIRECT", 0)
    if not flag:
        pytest.skip("no O_DIRECT here")

    def picky(path, flags, *rest):
        if flags & flag:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *rest)
    monkeypatch.setattr(os, "open", picky)
    files, unit = Files(), lay_out("unit", [tensor(path, 0, 77, 5000)])
    assert files.is_direct
    assert loaded(unit, files).array(unit.places["t0"]).tobytes() == path.read_bytes()[77:5077] and not files.is_direct


def test_a_disk_that_takes_only_larger_blocks_is_read_the_other_way(path, monkeypatch):
    import errno
    import os

    real = os.preadv
    files, unit = Files(), lay_out("unit", [tensor(path, 0, 77, 5000)])
    if not files.is_direct:
        pytest.skip("no O_DIRECT here")

    def picky(handle, into, offset):
        if files.is_direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(handle, into, offset)
    monkeypatch.setattr(os, "preadv", picky)
    assert loaded(unit, files).array(unit.places["t0"]).tobytes() == path.read_bytes()[77:5077]


def test_where_there_is_no_preadv_files_are_read_plainly(path, monkeypatch):
    import os

    monkeypatch.delattr(os, "preadv")
    unit = lay_out("unit", [tensor(path, 0, 4000, 9000)])
    assert loaded(unit, Files()).array(unit.places["t0"]).tobytes() == path.read_bytes()[4000:13000]


def test_a_disk_that_fails_is_told_plainly(path, monkeypatch):
    import errno
    import os

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(Refused, match=r"cannot be read \(Input/output error\). Is the disk still there"):
        loaded(lay_out("unit", [tensor(path, 0, 0, 10)]), Files())
