"""The device engine in Triton's interpreter: every launch and every kernel of a whole model, on any machine.

    TRITON_INTERPRET=1 python -m pytest tests/engines --engine accel.checks.engine:InterpretedBackend

Products are in float32 there, since the interpreter multiplies bit patterns of bfloat16. Not here: the chips.
"""

from accel.checks import interpreter

interpreter.prepare()

import torch  # noqa: E402

from accel.device import DeviceBackend  # noqa: E402


class InterpretedBackend(DeviceBackend):
    """simulate as in every Backend. Slow: a few milliseconds for each step of each program."""

    name = "interpreted"

    def __init__(self, simulate=None):
        super().__init__(simulate, "cpu", interpreter.TARGET, torch.float32)
