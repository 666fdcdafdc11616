"""CudaBackend: the device engine on an NVIDIA GPU; CudaDecoder: its decode step as CUDA graphs.

`python -m accel plan` says what was proven of each kernel on which chip, and whether a GPU was among them. Here is only what asks
CUDA for something. Not here: operations (device.py), the step in fixed shapes (static.py).
"""

import torch

from accel.device import DeviceBackend
from accel.static import StaticDecoder
from accel.tiles import target_of
from accel.weights import ExpertPool
from v4mini.shapes import Refused


class CudaBackend(DeviceBackend):
    """The first GPU that torch sees."""

    name = "cuda"

    def __init__(self, simulate=None):
        super().__init__(simulate, "cuda", target_of("cuda", *_device()))


def _device():                                          # -> name, compute capability
    return torch.cuda.get_device_name(), torch.cuda.get_device_capability()


def missing():                                          # -> str, "" if the engine can run here
    """Why not, in one sentence."""
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        return f"torch {torch.__version__} ({built}) sees no NVIDIA GPU. Try: nvidia-smi, then a build of torch for its CUDA."
    try:
        target_of("cuda", *_device())
    except Refused as reason:
        return str(reason)
    return ""


class CudaDecoder(StaticDecoder):
    """The programs of StaticDecoder as CUDA graphs: a step is one launch. Kernels are compiled before the first is recorded."""

    def __init__(self, model, capacity, cache=None):
        super().__init__(model, capacity, cache)
        for number, layer in enumerate(model.weights.layers):
            if isinstance(model.ops, DeviceBackend) and not isinstance(layer.ffn.experts, ExpertPool):
                raise Refused(f"layers.{number}.ffn.experts: expected FP4 or FP8, got another format, for which "
                              "the host counts each expert's tokens; a graph cannot hold that. Try model.step.")

    def _record(self, token):
        held, side = token.clone(), torch.cuda.Stream()
        before = self.memory.state()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):                   # what is compiled or allocated at a first call may not be recorded
            self._step(held)
        torch.cuda.current_stream().wait_stream(side)
        self.memory.restore(before)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):                   # records; nothing runs
            logits = self._step(held)

        def replay(token):
            held.copy_(token)
            graph.replay()
            return logits
        return replay
