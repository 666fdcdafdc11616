"""load: from a folder on disk to a model that answers. Not here: what a checkpoint must hold (weights/spec.py)."""

from v4mini.backend import Backend
from v4mini.inference.cached import CachedModel
from v4mini.shapes import Refused
from v4mini.weights.checkpoint import Checkpoint, open_checkpoint
from v4mini.weights.spec import tensors
from v4mini.weights.tree import build

KEEP_BELOW = 2 << 30        # bytes of float32 weights: smaller models are decoded once, larger ones at each use


def load(path, backend="auto", simulate=None, config=None, keep=None):      # -> CachedModel
    """Open a checkpoint: a folder with config.json and safetensors, one .safetensors file (config.json beside it), or what
    open_checkpoint gave.

    backend: "auto" (numba), "numba", "numpy", or a Backend of your own. simulate: None or "released" (the reference's rounding).
    config: a Config instead of the file. keep: whether decoded weights stay in memory (default: if under 2 GiB).
    Weights are memory-mapped: opening 160 GB reads a few MB. Raises Refused for anything that does not fit, all at once.
    """
    checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(path, config)
    config = checkpoint.config
    if keep is None:
        keep = 4 * sum(spec.size for spec in tensors(config)) < KEEP_BELOW
    return CachedModel(config, build(config, checkpoint.tensor, keep), choose_backend(backend, simulate))


def choose_backend(backend, simulate=None):             # -> Backend
    """The engine of that name; "auto" takes the fastest that this installation has."""
    if isinstance(backend, Backend):
        if simulate not in (None, backend.simulate):
            raise Refused(f"simulate: expected None beside a backend of your own, got {simulate!r}. Give it to the backend.")
        return backend
    if backend == "numpy":
        return Backend(simulate)
    if backend in ("auto", "numba"):
        # imported here, so that the NumPy engine never waits for a compiler
        from v4mini.kernels.backend import NumbaBackend

        return NumbaBackend(simulate)
    raise Refused(f"backend: expected auto, numba or numpy, got {backend!r}. Leave it out to take the fastest.")
