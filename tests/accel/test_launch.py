"""Launches give the answers of NumPy's operations; in Triton's interpreter, so in an environment of their own."""

import os
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
    os.environ["TRITON_INTERPRET"] = "1"
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


def engine_of(launcher):
    """A Backend whose operations launch the kernels: NumPy arrays go in as tensors and come out again."""
    from v4mini.backend import Backend

    def host(result):
        return tuple(t.numpy() for t in result) if isinstance(result, tuple) else result.numpy()

    class Kernels(Backend):
        name, used = "kernels in the interpreter", set()

        def run(self, name, *arrays, **more):
            self.used.add(name)
            arrays = [there(a)[0] if isinstance(a, np.ndarray) else a for a in arrays]
            return host(getattr(launcher, name)(*arrays, **{k: there(a)[0] for k, a in more.items() if a is not None}))

        def rms_norm(self, x, weight, eps):
            return self.run("rms_norm", x, weight, eps)

        def rms_unit(self, x, eps):
            return self.run("rms_norm", x, None, eps)

        def rope(self, x, positions, freqs, inverse=False):
            angles = np.asarray(positions, np.float32)[:, None] * freqs
            return self.run("rope", x, np.cos(angles), -np.sin(angles) if inverse else np.sin(angles)) if len(x) else x

        def hc_pre(self, streams, hc, iters, eps, norm_eps):
            return self.run("hc_pre", streams, hc.fn, hc.base, hc.scale, iters, eps, norm_eps)

        def hc_post(self, y, streams, post, comb):
            return self.run("hc_post", y, streams, post, comb)

        def compress(self, kv, score, ape, ratio, previous=None, overlap=False):
            previous = None if previous is None else there(*previous)
            return self.run("compress", kv, score, ape, ratio, previous, overlap)

        def index_topk(self, q, keys, weights, visible, k):
            return self.run("index_topk", q, keys[:], weights, visible, k).astype(np.int64)

        def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
            far = None if entries is None else entries[:]
            return self.run("attend", q, rows, first, sink, window, scale, entries=far, picks=picks, visible=visible)

        def linear(self, x, weight):
            if weight.format != "fp8" or x.ndim != 2:
                return super().linear(x, weight)
            return self.run("matmul", x, weight.codes.view(np.int8), weight.scale.view(np.int8))

        def experts(self, x, chosen, weights, pool, limit):
            if pool[0].w1.format != "fp4":
                return super().experts(x, chosen, weights, pool, limit)
            self.used.add("experts")
            stack = {f"{kind}{n}": there(np.stack([getattr(getattr(e, f"w{n}"), part).view(np.int8) for e in pool]))[0]
                     for kind, part in (("w", "codes"), ("s", "scale")) for n in (1, 2, 3)}
            return host(launcher.experts(*there(x, chosen, weights), SimpleNamespace(fp4=True, **stack), limit))
    return Kernels()


@pytest.mark.parametrize("name,tokens", [("tiny", 11), ("mini", 7)])
def test_a_whole_model_through_the_kernels(launcher, model_of, name, tokens):
    """Prefill and two steps: every layer kind of tiny in float32, and mini's stored FP8 and FP4."""
    from v4mini.config import Config

    config, engine = getattr(Config, name)(), engine_of(launcher)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, tokens)

    def answers(ops):
        model = model_of(config, ops)
        cache = model.new_cache()
        return np.stack([model.prefill(ids[:-2], cache), *(model.step(token, cache) for token in ids[-2:])])
    np.testing.assert_allclose(answers(engine), answers(None), rtol=1e-4, atol=2e-4)
    wanted = {"rms_norm", "rope", "hc_pre", "hc_post", "attend", "compress", "index_topk"}
    assert engine.used >= (wanted if name == "tiny" else {"attend", "matmul", "experts", "hc_pre"})
