"""load: from a folder on disk to a model that answers. Not here: what a checkpoint must hold (weights/spec.py)."""

from v4mini.engines import choose_backend
from v4mini.inference.cached import CachedModel
from v4mini.weights.checkpoint import Checkpoint, open_checkpoint
from v4mini.weights.spec import tensors
from v4mini.weights.tree import build

KEEP_BELOW = 2 << 30        # bytes of float32 weights: smaller models are decoded once, larger ones at each use


def load(path, backend="auto", simulate=None, config=None, keep=None):      # -> CachedModel
    """Open a checkpoint: a folder with config.json and safetensors, one .safetensors file (config.json beside it), or what
    open_checkpoint gave.

    backend: "auto" (numba), another name of engines.ENGINES, or a Backend of your own.
    simulate: None or "released" (the reference's rounding).
    config: a Config instead of the file. keep: whether decoded weights stay in memory (default: if under 2 GiB).
    Weights are memory-mapped: opening 160 GB reads a few MB. Raises Refused for anything that does not fit, all at once.
    """
    checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(path, config)
    config = checkpoint.config
    if keep is None:
        keep = 4 * sum(spec.size for spec in tensors(config)) < KEEP_BELOW
    return CachedModel(config, build(config, checkpoint.tensor, keep), choose_backend(backend, simulate))
