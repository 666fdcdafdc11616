"""What the torch engine is made of: codes, rows and weights, bit for bit those of NumPy. Its operations: tests/engines."""

import subprocess
import sys
import warnings

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from accel import minifloat  # noqa: E402
from accel import rows as torch_rows  # noqa: E402
from accel.reference import TorchBackend, top_k  # noqa: E402
from accel.weights import TorchMatrix, place  # noqa: E402
from v4mini.backend import Backend  # noqa: E402
from v4mini.config import Config  # noqa: E402
from v4mini.engines import choose_backend  # noqa: E402
from v4mini.numerics import blocks, e2m1, e4m3, hadamard, rows, ue8m0  # noqa: E402
from v4mini.numerics.matrix import Matrix  # noqa: E402
from v4mini.ops import index  # noqa: E402
from v4mini.shapes import Refused  # noqa: E402


def same_bits(tensor, array):
    np.testing.assert_array_equal(tensor.numpy().view(np.uint32), np.ascontiguousarray(array).view(np.uint32))


def wide(rng, *shape):                                  # numbers of all sizes, zeros of both signs, ties of FP4 and FP8
    x = np.ldexp(rng.standard_normal(shape), rng.integers(-30, 30, shape)).astype(np.float32)
    ties = np.array([0, -0.0, 0.25, 0.75, -1.25, 1.75, 2.5, 3.5, 5, 6, 17, 19, 448, 1.0625, 1.1875], np.float32)
    return np.where(rng.random(shape) < 0.3, rng.choice(ties, shape), x)


def test_every_code_and_every_scale_is_decoded_alike():
    every = np.arange(256, dtype=np.uint8)
    for ours, theirs in ((minifloat.decode_fp8, e4m3.decode), (minifloat.scales, ue8m0.decode)):
        np.testing.assert_array_equal(ours(torch.from_numpy(every)).numpy(), theirs(every))
    same_bits(minifloat.decode_fp4(minifloat.unpack(torch.from_numpy(every[None]))), e2m1.decode_packed(every[None]))


def test_numbers_are_encoded_alike(rng):
    x = np.clip(wide(rng, 4096), -448, 448)
    np.testing.assert_array_equal(minifloat.encode_fp8(torch.from_numpy(x)).numpy(), e4m3.encode(x).view(np.uint8))
    np.testing.assert_array_equal(minifloat.encode_fp4(torch.from_numpy(x)).numpy(), e2m1.encode(x))


def test_roundings_of_the_released_script_give_the_same_bits(rng):
    plain, ours = Backend("released"), TorchBackend("released")
    x = wide(rng, 7, 256)
    x[2, 5], x[3, 200] = np.nan, np.inf
    same = torch.from_numpy(x)
    codes = minifloat.encode_fp8, minifloat.decode_fp8
    rounded = minifloat.rounded(same, 128, blocks.ACTIVATION_FLOOR, e4m3.MAX, *codes)
    np.testing.assert_array_equal(rounded.numpy(), blocks.round_activations(x))
    np.testing.assert_array_equal(ours.round_kv(same, 64).numpy(), plain.round_kv(x, 64))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(ours.round_index(same).numpy(), plain.round_index(x))
        same_bits(minifloat.hadamard(same[:2]), hadamard.hadamard(x[:2]))


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "released"])
@pytest.mark.parametrize("kind", ["row", "key", "state"])
def test_stored_rows_are_the_same_bytes(rng, storage, kind):
    config = Config.mini()
    def of(formats):
        return formats.state(80) if kind == "state" else getattr(formats, kind)
    here, there = of(rows.formats(config, storage)), of(torch_rows.formats(config, storage, "cpu"))
    x = wide(rng, 9, here.width)
    codes = there.encode(torch.from_numpy(x))
    host = there.to_host(codes)
    np.testing.assert_array_equal(host.view(np.uint8), np.ascontiguousarray(here.encode(x)).view(np.uint8))
    assert (host.dtype, there.columns, there.file_dtype) == (here.dtype, here.columns, here.file_dtype)
    assert torch.equal(there.from_host(host), codes)
    joined = there.joined([codes[:4], codes[4:]])
    wanted = here.joined([here.encode(x[:4]), here.encode(x[4:])])[:]
    picks = np.array([[0, 8], [3, 4]])
    same_bits(joined[:].contiguous(), wanted)
    same_bits(joined[torch.from_numpy(picks)], wanted[picks])
    assert len(joined) == 9 and there.empty(5).shape == (5, there.columns)


@pytest.mark.parametrize("format", ["f32", "bf16", "fp8", "fp4"])
@pytest.mark.parametrize("keep", [False, True])
def test_weights_are_decoded_to_the_same_bits_and_not_copied(rng, format, keep):
    w = rng.standard_normal((200, 160)).astype(np.float32)
    make = {"f32": Matrix, "bf16": lambda w: Matrix(w.astype(ml_dtypes.bfloat16)), "fp8": blocks.quantise_fp8,
            "fp4": blocks.quantise_fp4}[format]
    made = make(w)
    matrix = Matrix(made.codes, made.scale, keep, "w")
    matrix.codes.flags.writeable = False                # as a memory map is
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        placed = place(matrix, "cpu")
    assert placed.codes.data_ptr() == matrix.codes.ctypes.data and placed.nbytes == matrix.nbytes
    same_bits(placed.dense(), matrix.dense())
    same_bits(placed.rows(120, 131).contiguous(), matrix.rows(120, 131))
    same_bits(placed.take(np.array([199, 0, 5])), matrix.take([199, 0, 5]))
    assert (placed.dense() is placed.dense()) == keep
    assert place(placed, "cpu") is placed and "on cpu" in repr(placed)


def test_a_scale_that_is_none_is_refused_when_it_is_read():
    matrix = blocks.quantise_fp8(np.ones((4, 4), np.float32), "w")
    matrix.scale.view(np.uint8)[0, 0] = 255
    placed = TorchMatrix(matrix, "cpu")
    with pytest.raises(Refused, match="w scale: NaN code"):
        placed.dense()


def test_a_weight_of_another_width_is_refused_by_name():
    ops = TorchBackend()
    with pytest.raises(Refused, match="wq: expected rows of 5 numbers, got 4"):
        ops.linear(torch.zeros(2, 5), ops.place(Matrix(np.zeros((3, 4), np.float32), name="wq")))


def test_the_best_come_in_numpys_order(rng):
    scores = rng.choice(np.array([0, -0.0, 1, -1, 2.5, -2.5, np.nan, np.inf, -np.inf, 1e-40, 3e38], np.float32), (50, 40))
    for k in (0, 1, 7, 40):
        got = top_k(torch.from_numpy(scores), k).numpy()
        np.testing.assert_array_equal(scores[np.arange(50)[:, None], got], scores[np.arange(50)[:, None], index.top_k(scores, k)])
        clear = ~np.isnan(scores).any(1)
        np.testing.assert_array_equal(got[clear], index.top_k(scores, k)[clear])


def test_only_who_asks_for_torch_imports_it():
    code = ("import sys, v4mini as v4, v4mini.cli; from v4mini.engines import choose_backend; choose_backend('numpy'); "
            "v4.Config.tiny(); assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_by_name_it_runs_on_the_cpu_and_its_device_may_be_another():
    ops = choose_backend("torch")
    assert (ops.name, ops.device.type, ops.simulate, ops.on_host) == ("torch", "cpu", None, False)
    assert choose_backend("torch", "released").simulate == "released" and TorchBackend(device="meta").device.type == "meta"
