"""Launches give the answers of NumPy's operations; in Triton's interpreter, so in an environment of their own.

Whole models: test_device.py.
"""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from v4mini.numerics import blocks
from v4mini.ops import attention, compress, experts, index, linear, mix, norm
from v4mini.ops import rope as rotation

has_ascend = find_spec("ascendnpuir") is not None
pytestmark = [pytest.mark.compilers, pytest.mark.skipif(has_ascend, reason="an environment of Triton-Ascend")]
NEAR = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(scope="module")
def launcher():
    torch = pytest.importorskip("torch")
    from accel.launch import Launcher
    return Launcher("interpreter", torch.float32)


def there(*arrays):
    import torch
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("far", ["window", "picks", "heavy", "no entries yet"])
def test_attend(launcher, rng, far):
    T, P, heads, D, W, N = 6, 10, 6, 24, 16, 30
    q, rows, sink, entries = normal(rng, T, heads, D), normal(rng, P + T, D), normal(rng, heads), normal(rng, N, D)
    first = attention.window_starts(T, P + T, W)
    more = {"window": {}, "picks": {"entries": entries, "picks": np.sort(rng.integers(-1, N, (T, 7)), 1)},
            "heavy": {"entries": entries, "visible": np.arange(T) * 5},
            "no entries yet": {"entries": entries[:0], "visible": np.zeros(T, np.int64)}}[far]
    right = attention.attend(q, rows, first, sink, W, D**-0.5, **more)
    got = launcher.attend(*there(q, rows, first, sink), W, D**-0.5, **dict(zip(more, there(*more.values()))))
    np.testing.assert_allclose(got.numpy(), right, **NEAR)


def test_index_topk_in_strips_and_chunks(launcher, rng, monkeypatch):
    import accel.launch
    q, keys, weights, visible = normal(rng, 5, 3, 16), normal(rng, 90, 16), normal(rng, 5, 3), np.array([0, 3, 40, 64, 90])
    right = index.index_topk(q, keys, weights, visible, 7)
    for chunk, scratch in ((accel.launch.CHUNK, accel.launch.SCRATCH), (32, 4 * 90 * 2)):
        monkeypatch.setattr(accel.launch, "CHUNK", chunk)
        monkeypatch.setattr(accel.launch, "SCRATCH", scratch)
        np.testing.assert_array_equal(launcher.index_topk(*there(q, keys, weights, visible), 7).numpy(), right)


@pytest.mark.parametrize("fp4", [True, False])
def test_experts_of_stored_matrices(launcher, rng, fp4):
    E, D, inter, T, K = 5, 64, 96, 40, 2
    quantise = blocks.quantise_fp4 if fp4 else blocks.quantise_fp8
    shapes = {"w1": (inter, D), "w2": (D, inter), "w3": (inter, D)}
    made = [SimpleNamespace(**{name: quantise(normal(rng, *shape)) for name, shape in shapes.items()}) for _ in range(E)]
    x, weights = normal(rng, T, D), rng.random((T, K)).astype(np.float32)
    chosen = np.stack([rng.permutation(E - 1)[:K] for _ in range(T)])                   # nobody chooses the last
    chosen[:30] = [2, 0]                                                                # more than a block for two of them
    right = experts.experts(x, chosen, weights, made, 2.0, linear.linear)
    stack = {f"{kind}{n}": there(np.stack([getattr(getattr(e, f"w{n}"), part).view(np.int8) for e in made]))[0]
             for kind, part in (("w", "codes"), ("s", "scale")) for n in (1, 2, 3)}
    got = launcher.experts(*there(x, chosen, weights), SimpleNamespace(fp4=fp4, **stack), 2.0)
    np.testing.assert_allclose(got.numpy(), right, rtol=1e-4, atol=1e-4)


def test_a_stored_matrix(launcher, rng):
    w, x = blocks.quantise_fp8(normal(rng, 200, 320)), normal(rng, 19, 320)
    got = launcher.matmul(*there(x, w.codes.view(np.int8), w.scale.view(np.int8)))
    np.testing.assert_allclose(got.numpy(), x @ w.dense().T, rtol=1e-4, atol=1e-4)


def test_streams(launcher, rng):
    T, M, D = 3, 4, 48
    streams, fn, base, y = normal(rng, T, M, D), normal(rng, 24, M * D) * np.float32(0.1), normal(rng, 24), normal(rng, T, D)
    scale = np.array([0.9, 1.1, 0.7], np.float32)
    right = mix.hc_pre(streams, fn, base, scale, 20, 1e-6, 1e-6)
    got = launcher.hc_pre(*there(streams, fn, base, scale), 20, 1e-6, 1e-6)
    for a, b in zip(got, right):
        np.testing.assert_allclose(a.numpy(), b, **NEAR)
    written = launcher.hc_post(*there(y, streams, *right[1:]))
    np.testing.assert_allclose(written.numpy(), mix.hc_post(y, streams, *right[1:]), **NEAR)


@pytest.mark.parametrize("overlap,has_previous,ratio", [(False, False, 128), (True, False, 4), (True, True, 4)])
def test_compress(launcher, rng, overlap, has_previous, ratio):
    kv, score, ape, *previous = (normal(rng, n, 24 * (1 + overlap)) for n in (3 * ratio, 3 * ratio, ratio, ratio, ratio))
    right = compress.compress(kv, score, ape, ratio, previous if has_previous else None, overlap)
    got = launcher.compress(*there(kv, score, ape), ratio, there(*previous) if has_previous else None, overlap)
    np.testing.assert_allclose(got.numpy(), right, **NEAR)


@pytest.mark.parametrize("shape", [(5, 6, 24), (5, 24)])
def test_rope_and_norms(launcher, rng, shape):
    x, weight = normal(rng, *shape), normal(rng, 24)
    positions, freqs = np.arange(100, 105), rotation.frequencies(8, 1e4)
    angles = positions.astype(np.float32)[:, None] * freqs
    got = launcher.rope(*there(x, np.cos(angles), -np.sin(angles)))
    np.testing.assert_allclose(got.numpy(), rotation.rope(x, positions, freqs, inverse=True), **NEAR)
    np.testing.assert_allclose(launcher.rms_norm(*there(x, weight), 1e-6).numpy(), norm.rms_norm(x, weight, 1e-6), **NEAR)
    np.testing.assert_allclose(launcher.rms_norm(there(x)[0], None, 1e-6).numpy(), norm.rms_unit(x, 1e-6), **NEAR)
