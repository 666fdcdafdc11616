"""AscendBackend: the device engine on a Huawei Ascend NPU, by torch_npu and Triton-Ascend.

It has not run on one: `python -m accel plan` says how far each kernel was proven without. `python -m accel selftest` on a machine
with an NPU runs every operation and writes what this project lacks. Fused ops of torch_npu only where they are named:

    v4.load("flash", backend=AscendBackend(fused=("rms_norm", "attend")))

Not here: operations (device.py), fused ops (fused.py).
"""

from importlib import import_module

import torch

from accel.device import DeviceBackend
from accel.fused import Fused, expect_there
from accel.tiles import target_of
from v4mini.shapes import Refused


class AscendBackend(Fused, DeviceBackend):
    """The first NPU that torch_npu sees. fused: operations that go to torch_npu's own ops; refused where there is none."""

    name = "ascend"

    def __init__(self, simulate=None, fused=()):
        super().__init__(simulate, "npu", target_of("npu", _npu().get_device_name(0)))
        expect_there(fused, self.launch.target)
        self.fused = tuple(fused)


def _npu():                                             # -> torch.npu
    import_module("torch_npu")
    return torch.npu


def missing():                                          # -> str, "" if the engine can run here
    """Why not, in one sentence. torch_npu without CANN, Huawei's driver package, cannot be imported."""
    try:
        npu = _npu()
        if not npu.is_available():
            return "torch_npu sees no NPU. Try: npu-smi info."
        target_of("npu", npu.get_device_name(0))
    except (ImportError, RuntimeError) as error:
        return f"torch_npu cannot be imported ({error}). Is CANN installed, and its set_env.sh sourced?"
    except Refused as reason:
        return str(reason)
    return ""
