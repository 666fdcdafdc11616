"""What a notebook asks of us: check an attempt, give a hint, show the library's source, find the data, look at the machine.

    from v4mini import lessons
    lessons.check(my_rope, "ops.rope.rope")
    lessons.relative(ours, theirs) < 1e-5
    lessons.glossary("sink"); lessons.sizes(); lessons.progress()

Not here: the exercises themselves (exercises/, one file a lesson), running notebooks (__main__.py), pictures (viz/).
"""

from importlib import import_module

_HOMES = {"check": "v4mini.lessons.api", "hint": "v4mini.lessons.api", "show": "v4mini.lessons.api",
          "data_folder": "v4mini.lessons.places", "machine": "v4mini.lessons.readiness",
          "relative": "v4mini.lessons.compare",
          "glossary": "v4mini.lessons.words", "sizes": "v4mini.lessons.words", "progress": "v4mini.lessons.solved",
          "verify_exercises": "v4mini.lessons.verify"}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'v4mini.lessons' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__():
    return __all__
