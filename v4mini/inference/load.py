"""load: from a folder on disk to a model that answers. Not here: what a checkpoint must hold (weights/spec.py)."""

from pathlib import Path

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.shapes import Refused
from v4mini.weights.found import stored_tensors
from v4mini.weights.names import resolve
from v4mini.weights.spec import check, tensors
from v4mini.weights.store import open_store
from v4mini.weights.tree import build

KEEP_BELOW = 2 << 30        # bytes of float32 weights: smaller models are decoded once, larger ones at each use
PROBLEMS_SHOWN = 20


def load(path, backend="auto", simulate=None, config=None, keep=None):      # -> CachedModel
    """Open a checkpoint: a folder with config.json and safetensors, or one .safetensors file (config.json beside it).

    backend: "auto" (numba), "numba", "numpy", or a Backend of your own. simulate: None or "released" (the reference's rounding).
    config: a Config instead of the file. keep: whether decoded weights stay in memory (default: if under 2 GiB).
    Weights are memory-mapped: opening 160 GB reads a few MB. Raises Refused for anything that does not fit, all at once.
    """
    path = Path(path)
    if not path.exists():
        raise Refused(f"{path}: no such checkpoint. Name a folder with config.json and safetensors, such as data/mini.")
    config = config or Config.load(path if path.is_dir() else path.parent)
    store = open_store(path)
    found = resolve(store.entries())
    _check(path, config, stored_tensors(store))
    if keep is None:
        keep = 4 * sum(spec.size for spec in tensors(config)) < KEEP_BELOW

    def tensor(name):
        return found[name].of(store) if name in found else None
    return CachedModel(config, build(config, tensor, keep), choose_backend(backend, simulate))


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


def _check(path, config, found):
    problems = check(config, found)
    if problems:
        more = len(problems) - PROBLEMS_SHOWN
        shown = problems[:PROBLEMS_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise Refused(f"{path}: {len(problems)} tensors do not fit its config.\n  " + "\n  ".join(shown)
                      + "\nIs config.json this checkpoint's own?")
