"""Every kernel on the device of this machine: numbers and times, launched as the engine launches them.

Not here: what a machine without a device can prove (interpreter.py, nvidia.py, ascend.py).
"""

import statistics
import time

import ml_dtypes
import numpy as np

from accel.checks import cases, fused_cases
from accel.checks.finding import BFLOAT16, FLOAT32, Finding, kernel_function, too_large
from accel.tiles import FUSED, target_of
from v4mini.shapes import Refused

LAUNCH = ("num_warps", "num_stages")
RUNS = (("tiny", np.float32), ("flash", ml_dtypes.bfloat16))
TIMED = 20
COPIED = 1 << 28                # bytes that are copied to see how fast memory is


def find():                                             # -> (device name for torch, target, versions, machine)
    """The accelerator of this machine. Refused, with what to install, where there is none that a tile table is for."""
    import torch
    import triton

    device = torch.accelerator.current_accelerator(check_available=True) if hasattr(torch, "accelerator") else None
    if device is None:
        raise Refused("selftest: expected a GPU or an NPU that torch sees, got none. `python -m accel doctor` says what is "
                      "missing; `python -m accel check` proves what a machine without one can.")
    module = torch.get_device_module(device)
    name = module.get_device_name(0)
    versions = {"torch": torch.__version__, "triton": getattr(triton, "__version__", "?"), "numpy": np.__version__}
    if device.type == "cuda":
        versions["cuda"] = str(torch.version.cuda)
    capability = module.get_device_capability(0) if device.type == "cuda" else None
    return device.type, target_of(device.type, name, capability), versions, name


def tensors_of(case, device):                           # -> {argument: tensor on the device}
    """bfloat16 goes over as bits: NumPy has no such dtype of its own."""
    import torch

    def there(array):
        if array.dtype.name == "bfloat16":
            return torch.from_numpy(array.view(np.int16).copy()).to(device).view(torch.bfloat16)
        return torch.from_numpy(np.array(array)).to(device)
    return {name: there(array) for name, array in case.arrays.items()}


def arrays_of(tensors):                                 # -> {argument: array}
    """Back on the host, bfloat16 as float32."""
    import torch

    return {name: (t.float() if t.dtype == torch.bfloat16 else t).cpu().numpy() for name, t in tensors.items()}


def check(name, target, device, function=kernel_function, runs=RUNS, timed=TIMED, roof=None):       # -> Finding
    """Numbers of a case on the device in each run, and the median time of a launch in the last.

    `bytes` are those of all its arrays, once each. roof: bytes a second of a large copy; small cases stay far below it, since
    a launch takes microseconds whatever it does.
    """
    import torch

    numbers, problem = {}, ""
    for size, dtype in runs:
        case = cases.case_for(name, size, target, dtype, upcast=device == "cpu")
        options = {k: v for k, v in cases.tile_of(case.kernel, target).items() if k in LAUNCH}
        fn, tensors = function(case.kernel), tensors_of(case, device)
        arguments = {**tensors, **case.scalars, **case.constants, **options}
        fn[case.grid](**arguments)
        error = cases.largest_error(arrays_of(tensors), case)
        numbers[f"{size} {dtype.__name__}"] = {"error": error}
        problem = problem or too_large(size, dtype, error)
    if timed:
        wait = torch.get_device_module(device).synchronize if device != "cpu" else (lambda: None)
        numbers["microseconds"] = _median_us(lambda: fn[case.grid](**arguments), wait, timed)
        numbers["bytes"] = sum(array.nbytes for array in case.arrays.values())
        if roof:
            numbers["of_copy_roof"] = round(numbers["bytes"] / (numbers["microseconds"] * 1e-6) / roof, 3)
    return Finding(name, case.kernel, target, "unrun" if problem else "measured", problem, numbers)


def copy_roof(device, count=COPIED):                    # -> bytes a second, read and written
    """What this memory gives to a large copy: what a kernel that only moves bytes could reach."""
    import torch

    source = torch.zeros(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    wait = torch.get_device_module(device).synchronize if device != "cpu" else (lambda: None)
    target.copy_(source)
    return 2 * count / (_median_us(lambda: target.copy_(source), wait, 5) * 1e-6)


def check_fused(name, target, device):                  # -> Finding
    """Numbers of an operation by torch_npu's fused op, at both sizes."""
    import torch

    from accel import fused

    numbers, problem, bound = {}, "", BFLOAT16 if name == "attend" else FLOAT32         # attention multiplies in bfloat16
    for size in ("tiny", "flash"):
        case = fused_cases.case_for(name, size)
        tensors = {key: torch.from_numpy(array).to(device) for key, array in case.arrays.items()}
        got = [tensor.float().cpu().numpy() for tensor in case.call(fused, **tensors)]
        error = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(got, case.right(), strict=True))
        numbers[size] = {"error": error}
        if not error <= bound:
            problem = problem or f"{size} size: expected an error of at most {bound:.0e}, got {error:.1e}."
    return Finding(f"fused {name}", FUSED[name].function, target, "unrun" if problem else "measured", problem, numbers)


def _median_us(launch, wait, timed):
    times = []
    for _ in range(timed):
        wait()
        start = time.perf_counter()
        launch()
        wait()
        times.append(time.perf_counter() - start)
    return round(1e6 * statistics.median(times), 1)
