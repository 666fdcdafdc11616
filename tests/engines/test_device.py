"""Layers, model and caches on torch's device "meta", which has shapes and no numbers: a line that leaves it fails."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from accel.reference import TorchBackend  # noqa: E402
from v4mini import generate  # noqa: E402
from v4mini.config import Config  # noqa: E402
from v4mini.layers import attention, block  # noqa: E402
from v4mini.layers.sequences import Sequences  # noqa: E402
from v4mini.planning.memory import STORAGES  # noqa: E402
from v4mini.trace import Trace  # noqa: E402

IDS = np.arange(150) % 97


class Shapes(TorchBackend):
    """The torch engine without numbers. What leaves by host, and only that, is zeros of the same shape."""

    name, out = "shapes", 0

    def __init__(self):
        super().__init__(device="meta")

    def host(self, x):
        if not isinstance(x, torch.Tensor):
            return super().host(x)
        assert x.device.type == "meta", "a tensor was made beside the device"
        self.out += 1
        return np.zeros(x.shape, np.int64 if not x.is_floating_point() else np.float32)

    def _tokens_each(self, chosen, experts):            # the one number that the reference asks a device for
        return [len(part) for part in np.array_split(np.arange(chosen.numel()), experts)]


@pytest.fixture
def shapes(model_of):
    def model(config=None):
        return model_of(config or Config.tiny(), Shapes())
    return model


def test_a_pass_leaves_the_device_once_for_its_logits(shapes):
    model = shapes()
    assert model.logits(IDS).shape == (150, 97) and model.ops.out == 1
    assert model.mtp_logits(IDS).shape == (149, 97) and model.ops.out == 2
    assert [part.shape for part in model.logits_many([IDS[:3], IDS[:40]])] == [(3, 97), (40, 97)] and model.ops.out == 3


@pytest.mark.parametrize("storage", STORAGES)
def test_so_do_caches_of_every_storage(shapes, storage):
    model = shapes(Config.mini())
    caches = [model.new_cache(storage), model.new_cache(storage)]
    model.prefill_many([IDS, IDS[:5]], caches)
    twin = caches[0].copy()
    assert model.step_many([1, 2], caches).shape == (2, model.config.vocab_size)
    caches[0].rewind(1)
    model.step(3, caches[0])
    model.step(3, twin)
    assert model.ops.out == 4 and caches[0].length == twin.length == 151


def test_traces_and_text_with_drafts(shapes):
    trace, model = Trace("attn.weights", "ffn.scores"), shapes()
    model.logits(IDS, trace)
    assert [value.shape[0] for name, value in trace.items() if name.endswith("index_picks")] == [150, 150]
    assert len(list(generate(model, IDS, 4, temperature=0, speculate=2))) == 4


LINES = {       # what a line of a layer would look like that knows NumPy only
    "np.take of those that ask": (Sequences, "of_queries", lambda self, ops, x: np.take(x, np.arange(1), axis=0)),
    "np.concatenate of sequences": (Shapes, "concat", lambda self, parts: np.concatenate(parts)),
    "np.repeat of the embedding": (Shapes, "hc_expand", lambda self, h, M: np.repeat(h[:, None], M, axis=1)),
    "frequencies that were not handed over": (Shapes, "constant", lambda self, array: array),
    "an array made beside the device": (block, "attention",
                                        lambda *given, old=attention.attention: old(*given) + torch.ones(1, 1)),
    "a look at the numbers": (block, "attention",
                              lambda *given, old=attention.attention: old(*given) * float(given[1].abs().max() + 1)),
    "a branch on the numbers": (block, "attention", lambda *given, old=attention.attention: old(*given) if given[1].any() else 0),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_leaves_the_device_fails(shapes, monkeypatch, line):
    monkeypatch.setattr(*LINES[line])
    model = shapes()
    with pytest.raises((RuntimeError, TypeError, NotImplementedError, DeprecationWarning, AssertionError)):
        model.prefill_many([IDS, IDS[:5]], [model.new_cache(), model.new_cache()])
