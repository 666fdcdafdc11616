"""One safetensors file: ours and the package's are the same bytes, damaged ones are refused in one sentence."""

import errno
import itertools
import json
import os
import signal
import struct
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.shapes import Refused
from v4mini.weights.file import DTYPES, MAX_HEADER_BYTES, open_file, parse_header, read_header, write_file


def raw_file(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype="F32", shape=(2,), data_offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(data_offsets), **more}


def row(name, array, dtype):
    return name, dtype, array.shape, lambda: [array]


def of_every_dtype(rng):        # -> {name: (dtype, array)}
    arrays = {}
    for dtype, kind in DTYPES.items():
        if dtype != "F4":
            codes = rng.integers(0, 2 if dtype == "BOOL" else 256, (3, 5 * kind.itemsize), np.uint8)
            arrays[f"a.{dtype}"] = dtype, codes.view(kind)
    return arrays


def same_bytes(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_every_dtype_comes_back_bit_for_bit(rng, tmp_path):
    arrays = of_every_dtype(rng)
    write_file(tmp_path / "f", [row(name, array, dtype) for name, (dtype, array) in arrays.items()])
    with open_file(tmp_path / "f") as file:
        assert file.entries.keys() == arrays.keys()
        for name, (dtype, array) in arrays.items():
            assert same_bytes(file.tensor(name), array) and file.entries[name].dtype == dtype
            assert file.entries[name].start % array.dtype.itemsize == 0, "widest first, so each lies aligned"


def test_a_tensor_is_a_view_that_cannot_be_written(tmp_path):
    write_file(tmp_path / "f", [row("a", np.arange(4.0), "F64")])
    file = open_file(tmp_path / "f")
    array = file.tensor("a")
    assert not array.flags.owndata and not array.flags.writeable
    with pytest.raises(ValueError):
        array[0] = 1
    file.close()
    assert array.sum() == 6, "a view outlives its file"


def test_our_file_is_the_packages_file_byte_for_byte(rng, tmp_path):
    arrays = {name: of for name, of in of_every_dtype(rng).items() if of[1].dtype.isbuiltin == 1}
    arrays |= {"empty": ("F32", np.zeros((0, 3), np.float32)), "scalar": ("I64", np.array(7)), "ünï": ("I8", np.ones(3, np.int8))}
    write_file(tmp_path / "ours", [row(name, array, dtype) for name, (dtype, array) in arrays.items()], {"format": "np"})
    theirs = safetensors.numpy.save({name: array for name, (_, array) in arrays.items()}, {"format": "np"})
    assert (tmp_path / "ours").read_bytes() == theirs


def test_the_package_reads_ours_and_we_read_the_packages(rng, tmp_path):
    arrays = {"a": rng.standard_normal((3, 4), dtype=np.float32), "b": rng.integers(0, 9, (2, 0, 5)), "c": np.array(True)}
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", {"who": "they"})
    theirs = open_file(tmp_path / "theirs")
    assert theirs.metadata == {"who": "they"}
    assert all(same_bytes(theirs.tensor(name), array) for name, array in arrays.items())
    write_file(tmp_path / "ours", [row("a", arrays["a"], "F32"), row("q", np.ones((2, 2), ml_dtypes.float8_e4m3fn), "F8_E4M3"),
                                   row("s", np.ones(2, ml_dtypes.float8_e8m0fnu), "F8_E8M0")], {"who": "we"})
    with safetensors.safe_open(tmp_path / "ours", "np") as ours:
        assert ours.metadata() == {"who": "we"} and np.array_equal(ours.get_tensor("a"), arrays["a"])
        dtypes = {name: (ours.get_slice(name).get_dtype(), ours.get_slice(name).get_shape()) for name in ours.keys()}  # noqa: SIM118
    assert dtypes == {"a": ("F32", [3, 4]), "q": ("F8_E4M3", [2, 2]), "s": ("F8_E8M0", [2])}


def test_odd_offsets_empty_tensors_and_packed_f4_open(tmp_path):
    header = {"b": entry("U8", [3], [0, 3]), "f": entry("F32", [2], [3, 11]), "none": entry("F64", [0, 2**40], [11, 11]),
              "four": entry("F4", [2, 6], [11, 17])}
    file = open_file(raw_file(tmp_path / "f", header, b"abc" + np.float32([1, 2]).tobytes() + bytes(range(6))))
    assert file.tensor("f").tolist() == [1, 2] and not file.tensor("f").flags.aligned
    assert file.tensor("none").shape == (0, 2**40)
    assert file.tensor("four").tolist() == [[0, 1, 2], [3, 4, 5]], "two F4 per byte, so half the columns"


def test_a_file_of_no_tensors_opens(tmp_path):
    assert read_header(raw_file(tmp_path / "f", {})) == ({}, {})
    assert write_file(tmp_path / "g", []) == 16 and read_header(tmp_path / "g") == ({}, {})


EIGHT = bytes(8)
MALFORMED = {       # what is wrong with it: (header, data, words of the sentence)
    "not UTF-8": (b'{"\xff":1}', b"", "UTF-8"),
    "not JSON": (b"{]", b"", "expected JSON"),
    "not an object": (b"[1, 2]", b"", "JSON object"),
    "a number": (b"{", b"", "expected JSON"),
    "the same name twice": (b'{"a":1,"a":2}', b"", "'a' stands there twice"),
    "nested deeply": (b'{"a":' + b"[" * 200_000, b"", "nested too deeply"),
    "NaN": (b'{"a":NaN}', b"", "NaN"),
    "a number of 5,000 digits": (b'{"a":' + b"9" * 5000 + b"}", b"", "expected JSON"),
    "half a surrogate pair": (b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', EIGHT, "valid text"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, EIGHT, "expected the fields"),
    "a field more": ({"a": entry(stride=1)}, EIGHT, "expected the fields"),
    "a list for a tensor": ({"a": [1]}, EIGHT, "expected the fields"),
    "unknown dtype": ({"a": entry("F31")}, EIGHT, "F31"),
    "dtype of another type": ({"a": entry(["F32"])}, EIGHT, "dtype among"),
    "negative side": ({"a": entry(shape=[-1, -2])}, EIGHT, "whole numbers"),
    "side of 2.0": ({"a": entry(shape=[2.0])}, EIGHT, "whole numbers"),
    "side True": ({"a": entry(shape=[True, 2])}, EIGHT, "whole numbers"),
    "shape as text": ({"a": {**entry(), "shape": "2"}}, EIGHT, "whole numbers"),
    "a product past 2**63": ({"a": entry(shape=[2**62, 2**62])}, EIGHT, "2\\*\\*63"),
    "a side of 4,000 digits": ({"a": entry(shape=[10**4000])}, EIGHT, "whole numbers"),
    "nothing, but too wide": ({"a": entry(shape=[0, 2**62], data_offsets=[0, 0])}, b"", "2\\*\\*63"),
    "33 axes": ({"a": entry(shape=[1] * 33, data_offsets=[0, 4])}, b"1234", "at most 32"),
    "an odd row of F4": ({"a": entry("F4", [2, 3], [0, 3])}, b"abc", "even last axis"),
    "offsets reversed": ({"a": entry(data_offsets=[8, 0])}, EIGHT, "start <= stop"),
    "three offsets": ({"a": entry(data_offsets=[0, 4, 8])}, EIGHT, "start <= stop"),
    "negative offset": ({"a": entry(data_offsets=[-8, 0])}, EIGHT, "start <= stop"),
    "past the end": ({"a": entry(data_offsets=[4, 12])}, EIGHT, "whole file"),
    "less than the shape needs": ({"a": entry(shape=[3])}, EIGHT, "expected 12 bytes"),
    "more than the shape needs": ({"a": entry(shape=[1])}, EIGHT, "expected 4 bytes"),
    "overlapping": ({"a": entry(), "b": entry(data_offsets=[4, 12])}, EIGHT + EIGHT[:4], "overlaps"),
    "a hole": ({"a": entry(), "b": entry(data_offsets=[12, 20])}, bytes(20), "hole"),
    "a hole at the start": ({"a": entry(data_offsets=[4, 12])}, bytes(12), "hole"),
    "trailing bytes": ({"a": entry()}, bytes(9), "end where the file ends"),
    "metadata not text": ({"__metadata__": {"a": 1}}, b"", "__metadata__"),
    "metadata a list": ({"__metadata__": []}, b"", "__metadata__"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_header_is_refused(tmp_path, what):
    header, data, words = MALFORMED[what]
    with pytest.raises(Refused, match=words) as refused:
        read_header(raw_file(tmp_path / "f", header, data))
    sentence = str(refused.value)
    assert str(tmp_path / "f") in sentence and "\n" not in sentence and len(sentence) < 700
    assert sentence.endswith((".", "?"))


@pytest.mark.parametrize("contents, words", [
    (b"", "at least 8 bytes"),
    (b"\x08\0\0", "at least 8 bytes"),
    (struct.pack("<Q", 1000) + b"{}", "is it complete"),
    (struct.pack("<Q", 2**63) + b"{}", "at most"),
    (struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}", "at most"),
    (struct.pack("<Q", 2) + b"[]", "JSON object"),
    (b"PK\x03\x04" + bytes(100), "never pickle"),
    (b"\x80\x02}q\x00." + bytes(100), "never pickle"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n", "Git LFS pointer"),
    (b"GGUF" + bytes(100), "GGUF"),
    (b"<!DOCTYPE html><html>not found</html>", "web page"),
])
def test_what_is_no_safetensors_file_is_called_by_its_name(tmp_path, contents, words):
    (tmp_path / "f").write_bytes(contents)
    with pytest.raises(Refused, match=words):
        open_file(tmp_path / "f")


def test_a_header_of_640_bytes_is_not_taken_for_pickle(tmp_path):
    file = raw_file(tmp_path / "f", b"{}".ljust(640))
    assert file.read_bytes()[:2] == b"\x80\x02" and read_header(file) == ({}, {})


def test_a_folder_a_pipe_a_missing_file_and_a_zero_byte_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in [(tmp_path, "got a folder;"), (tmp_path / "pipe", "got a pipe;"),
                        (tmp_path / "none", "no such file"), (tmp_path / ("n" * 300), "cannot be read .*too long"),
                        ("a\0b", "cannot be read .*null")]:
        with pytest.raises(Refused, match=words) as refused:
            open_file(path)
        assert "cannot be read" in words or "cannot be read" not in str(refused.value)


def test_a_file_that_changed_after_its_header_was_read_is_refused(tmp_path):
    write_file(tmp_path / "f", [row("a", np.zeros(3), "F64")])
    file = open_file(tmp_path / "f")
    write_file(tmp_path / "f", [row("b", np.zeros(9), "F64")])
    with pytest.raises(Refused, match="changed"):
        file.tensor("a")


def a_good_file():      # -> bytes
    header = {"__metadata__": {"format": "pt"}, "q": entry("F8_E4M3", [2, 3], [12, 18]), "f": entry("F32", [3], [0, 12]),
              "e": entry("I64", [0], [12, 12])}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(18))


WORDS = st.sampled_from(["F32", "F8_E4M3", "F4", "I64", "dtype", "shape", "data_offsets", "__metadata__", "a", "\ud800", ""])
NUMBERS = st.integers(-2, 30) | st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64, 10**30, True, 1.0, 1e999, float("nan")])
SHAPES = st.lists(NUMBERS, max_size=4)
ENTRIES = st.fixed_dictionaries({"dtype": WORDS, "shape": SHAPES, "data_offsets": st.lists(NUMBERS, min_size=1, max_size=3)})
JSON = st.recursive(st.none() | NUMBERS | WORDS, lambda of: st.lists(of, max_size=3) | st.dictionaries(WORDS, of, max_size=3))
HEADERS = st.dictionaries(WORDS, ENTRIES | JSON, max_size=3).map(lambda header: json.dumps(header).encode())


@st.composite
def mutated_files(draw):
    whole = bytearray(a_good_file())
    how = draw(st.sampled_from(["flip", "flip", "cut", "insert", "header", "header", "noise", "long"]))
    place = draw(st.integers(0, len(whole) - 1))
    if how == "flip":
        for _ in range(draw(st.integers(1, 4))):
            whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    elif how == "cut":
        del whole[place:]
    elif how == "insert":
        whole[place:place] = draw(st.binary(max_size=9) | st.sampled_from([b'"a":{},', b"[[[[", b'"shape":[0],', b"99999999999"]))
    elif how == "header":
        text = draw(HEADERS)
        whole = struct.pack("<Q", len(text)) + text + draw(st.binary(max_size=16))
    elif how == "noise":
        whole = draw(st.binary(max_size=64))
    else:
        whole[:8] = struct.pack("<Q", draw(st.integers(0, 2**64 - 1)))
    return bytes(whole)


@settings(max_examples=1000, deadline=None)
@given(contents=mutated_files())
def test_a_mutated_file_opens_whole_or_is_refused(tmp_path_factory, contents):
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(contents)
    try:
        with open_file(path) as file:
            for name, its in file.entries.items():
                array = file.tensor(name)
                assert array.nbytes == its.nbytes and len(array.tobytes()) == its.nbytes and its.stop <= len(contents)
    except Refused as refused:
        assert str(refused).isprintable()
        return
    # What we open, the format's own reader opens as well.
    safetensors.deserialize(contents)


def test_a_hostile_header_does_not_cost_gigabytes(tmp_path):
    program = ("import resource, sys; from v4mini.shapes import Refused; from v4mini.weights.file import read_header\n"
               "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
               "try: read_header(sys.argv[1])\n"
               "except Refused: print('refused')")
    fill = b"[]," * (MAX_HEADER_BYTES // 3 - 10)
    path = raw_file(tmp_path / "f", b'{"a":[' + fill + b"0]}")
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, timeout=600)
    assert done.stdout == "refused\n", done.stderr


def test_chunks_of_any_kind_add_up(tmp_path):
    values = np.arange(12, dtype=ml_dtypes.bfloat16).reshape(4, 3)
    chunks = [values[:1], values[1:1], values[1:2].view(np.uint8), values[2:].T.copy().T.tobytes()]
    sizes = []
    write_file(tmp_path / "f", [("a", "BF16", (4, 3), lambda: iter(chunks)), row("b", np.arange(3).astype(">i4"), "I32"),
                                row("c", np.float32([[1, 2], [3, 4]]).T, "F32")], progress=sizes.append)
    file = open_file(tmp_path / "f")
    assert same_bytes(file.tensor("a"), values)
    assert file.tensor("b").tolist() == [0, 1, 2] and file.tensor("c").tolist() == [[1, 3], [2, 4]]
    assert sizes == [16, 28, 34, 40, 52]


@pytest.mark.parametrize("rows, metadata, words", [
    ([("a", "F32", (2,), lambda: [bytes(7)])], None, "8 bytes together, got 7"),
    ([("a", "F32", (2,), lambda: itertools.repeat(bytes(6)))], None, "8 bytes together, got at least 12"),
    ([("a", "BF16", (2,), lambda: [np.zeros(2, np.float16)])], None, "expected chunks of bfloat16"),
    ([("a", "F32", (-1,), lambda: [])], None, "whole numbers"),
    ([("a", "FP32", (1,), lambda: [])], None, "dtype among"),
    ([("a", "F32", (0,), lambda: []), ("a", "F64", (0,), lambda: [])], None, "'a' twice"),
    ([("__metadata__", "F32", (0,), lambda: [])], None, "no name"),
    ([(1, "F32", (0,), lambda: [])], None, "no name"),
    ([], {"format": 1}, "maps text to text"),
])
def test_what_cannot_be_written_is_refused_and_the_old_file_stays(tmp_path, rows, metadata, words):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(Refused, match=words):
        write_file(tmp_path / "f", rows, metadata)
    assert (tmp_path / "f").read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, MemoryError, OSError])
def test_an_interrupted_writer_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    def chunks():
        yield bytes(4)
        raise fault
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(fault):
        write_file(tmp_path / "f", [("a", "F32", (2,), chunks)])
    assert (tmp_path / "f").read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


def test_a_full_disk_is_told_in_bytes(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match=r"wanted 64 bytes, got no more room .* [\d,]+ bytes free\)"):
        write_file(tmp_path / "f", [("a", "F32", (0,), lambda: [])])
    assert os.listdir(tmp_path) == []


def test_a_real_limit_on_bytes_is_refused_too(tmp_path):
    program = ("import resource, signal, sys; from v4mini.weights.file import write_file\n"
               "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
               "write_file(sys.argv[1], [('a', 'U8', (200_000,), lambda: [bytes(50_000)] * 4)])")
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "f"], capture_output=True, text=True)
    assert "Refused" in done.stderr and "wanted 200," in done.stderr and os.listdir(tmp_path) == []


def test_a_place_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "f", tmp_path / "folder"):
        with pytest.raises(Refused, match="cannot be written"):
            write_file(path, [])
    assert os.listdir(tmp_path) == ["folder"]


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path):
    program = ("import sys, time; from v4mini.weights.file import write_file\n"
               "def chunks():\n"
               "    for _ in range(10_000):\n"
               "        yield bytes(1_000); print('.', flush=True); time.sleep(.001)\n"
               "write_file(sys.argv[1], [('a', 'U8', (10_000_000,), chunks)])")
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "f"], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL and not (tmp_path / "f").exists()


TWO_NUMBERS = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()


@pytest.mark.parametrize("raw, size, words", [
    (b"version https://git-lfs.github.com/spec/v1", 200, "Git LFS pointer"), (b"<!DOCTYPE html><html>", 9000, "web page"),
    (b"", 0, "at least 8 bytes"), (struct.pack("<Q", 1 << 60) + b"{", 1 << 20, "header of at most"),
    (struct.pack("<Q", len(TWO_NUMBERS)) + TWO_NUMBERS, 8 + len(TWO_NUMBERS) + 9, "end where the file ends"),
    (struct.pack("<Q", len(TWO_NUMBERS)) + TWO_NUMBERS, 8 + len(TWO_NUMBERS) + 7, "fetch the whole file"),
    (struct.pack("<Q", 4) + b"{{{{", 100, "expected JSON"), (struct.pack("<Q", 40) + b"{}", 48, "JSON object after")])
def test_bytes_that_are_no_header(raw, size, words):
    with pytest.raises(Refused, match=words):
        parse_header(raw, size, "x")
