"""Who has no GPU is told why; a decoder of graphs undoes its warm-up and replays at the right position. CUDA is played here."""

from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest

pytestmark = [pytest.mark.compilers, pytest.mark.skipif(find_spec("ascendnpuir") is not None, reason="no triton here")]
torch = pytest.importorskip("torch")


@pytest.fixture
def cuda(monkeypatch):
    pytest.importorskip("triton")
    from accel import cuda
    return cuda


@pytest.mark.parametrize("is_there,name,capability,said", [
    (False, "", None, "sees no NVIDIA GPU"), (True, "NVIDIA A100", (8, 0), "tile table"), (True, "NVIDIA H200", (9, 0), "")])
def test_what_is_missing(cuda, monkeypatch, is_there, name, capability, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert said in cuda.missing() and bool(said) == bool(cuda.missing())


class PlayedGraph:
    """What torch.cuda.CUDAGraph does: what is run while it records leaves no trace, and replay runs that again."""

    def __init__(self):
        self.replays = 0

    def replay(self):
        self.replays += 1
        self.again()


def play(monkeypatch, cuda, decoder):
    @contextmanager
    def recording(graph):
        before, kept = decoder.memory.state(), {}
        step = decoder._step

        def watched(token):
            kept["token"], kept["out"] = token, step(token)
            return kept["out"]
        decoder._step = watched
        yield
        decoder._step = step
        decoder.memory.restore(before)
        graph.again = lambda: kept["out"].copy_(step(kept["token"]))

    @contextmanager
    def stream(_):
        yield
    waits = type("Stream", (), {"wait_stream": lambda self, other: None})
    played = {"Stream": waits, "stream": stream, "current_stream": waits, "CUDAGraph": PlayedGraph, "graph": recording}
    for name, value in played.items():
        monkeypatch.setattr(cuda.torch.cuda, name, value, raising=False)


def test_three_graphs_give_the_logits_of_the_whole(cuda, monkeypatch, model_of):
    from accel.reference import TorchBackend
    from v4mini.config import Config

    model = model_of(Config.tiny(), TorchBackend())
    ids = np.arange(140) * 7 % 97
    cache = model.new_cache()
    model.prefill(ids[:110], cache)
    decoder = cuda.CudaDecoder(model, 200, cache)
    play(monkeypatch, cuda, decoder)
    whole = model.logits(ids)
    for at in range(110, 140):
        np.testing.assert_allclose(decoder.step(ids[at]), whole[at], rtol=0, atol=1e-4, err_msg=f"{at}")
    assert sorted(decoder.programs) == [(), (4,), (4, 128)]


def test_experts_that_no_kernel_reads_cannot_be_recorded(cuda, model_of):
    from accel.checks.engine import InterpretedBackend
    from v4mini.config import Config
    from v4mini.shapes import Refused

    with pytest.raises(Refused, match="FP4 or FP8"):
        cuda.CudaDecoder(model_of(Config.tiny(), InterpretedBackend()), 64)
