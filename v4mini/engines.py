"""Engines by name: which there are, which of them this installation can run, and what is missing for the others.

Not here: what an engine must offer (backend.py).
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from v4mini.backend import Backend
from v4mini.shapes import Refused


@dataclass(frozen=True)
class Engine:
    """One line of the list. Its module may have missing() -> str, the reason why its device cannot be used here, or ""."""

    about: str
    module: str
    kind: str                   # the Backend's class in that module; its arguments: simulate
    needs: tuple = ()           # packages
    install: str = ""           # the command that brings them


ENGINES = {
    "numpy": Engine("plain NumPy, float32", "v4mini.backend", "Backend"),
    "numba": Engine("compiled kernels, all cores", "v4mini.kernels.backend", "NumbaBackend", ("numba",),
                    "python -m pip install numba"),
    "torch": Engine("plain PyTorch on the CPU, float32: the reference of device engines", "accel.reference", "TorchBackend",
                    ("torch",), 'python -m pip install -e ".[torch]"'),
    "cuda": Engine("PyTorch and Triton kernels on an NVIDIA GPU", "accel.cuda", "CudaBackend", ("torch", "triton"),
                   'python -m pip install -e ".[torch]"'),
    "ascend": Engine("PyTorch and Triton kernels on a Huawei Ascend NPU", "accel.ascend", "AscendBackend", ("torch", "torch_npu"),
                     "see Huawei's instructions for torch_npu"),
}
FASTEST = "numba"               # what "auto" takes: it needs nothing but the package itself


def missing(name):                                      # -> str, "" if the engine can run
    """Why this installation cannot run the engine of that name, in one sentence, and what to do about it."""
    engine = ENGINES[name]
    absent = [package for package in engine.needs if find_spec(package) is None]
    if absent:
        return f"{' and '.join(absent)} not installed. Try: {engine.install}"
    top, _, _ = engine.module.rpartition(".")
    if find_spec(top) is None or find_spec(engine.module) is None:
        return "it is not part of this version."
    module = import_module(engine.module) if engine.needs else None
    return module.missing() if hasattr(module, "missing") else ""


def choose_backend(backend="auto", simulate=None):      # -> Backend
    """The engine of that name, or a Backend as it is. Refused if it cannot run here; none stands in for another."""
    if isinstance(backend, Backend):
        if simulate not in (None, backend.simulate):
            raise Refused(f"simulate: expected None beside a backend of your own, got {simulate!r}. Give it to the backend.")
        return backend
    name = FASTEST if backend == "auto" else backend
    if name not in ENGINES:
        raise Refused(f"backend: expected auto, {', '.join(ENGINES)} or a Backend, got {backend!r}. Leave it out to take the "
                      "fastest.")
    reason = missing(name)
    if reason:
        raise Refused(f"backend: expected one that can run here, got {name!r}: {reason}")
    return getattr(import_module(ENGINES[name].module), ENGINES[name].kind)(simulate)
