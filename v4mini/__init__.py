"""DeepSeek-V4 in NumPy: the released format, the released numbers.

    import v4mini as v4
    model = v4.load("data/mini")
    logits = model.logits([0, 17, 4])           # [T, V]

Importing this loads nothing; each name below is fetched when first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {"Config": "v4mini.config", "Refused": "v4mini.shapes", "Backend": "v4mini.backend", "Trace": "v4mini.trace",
          "load": "v4mini.inference.load", "generate": "v4mini.inference.generate", "Tokenizer": "v4mini.text.tokenizer",
          "random_weights": "v4mini.weights.random", "set_threads": "v4mini.kernels.threads"}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'v4mini' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__():
    return [*__all__, "__version__"]
