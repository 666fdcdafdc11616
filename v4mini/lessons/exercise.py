"""Exercise: what a reader is asked to write, and all that is needed to judge it and to help.

Not here: judging (verdict.py), finding one by name (registry.py), any exercise (exercises/).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

from v4mini.shapes import Refused


@dataclass(frozen=True)
class Exercise:
    """One task. `name` is the library's function, "ops.rope.rope", or a name of the lesson's own with `ours` given.

    cases(rng) yields (what is special about it, arguments as a tuple), 4 to 8 of them, hard ones included.
    differently: a right answer that is written in another way. wrong: mistakes that readers make, two or more.
    """

    name: str
    cases: Callable[..., Iterator[tuple[str, tuple]]]
    hints: tuple[str, ...]                  # up to three, each tells more than the one before
    differently: Callable
    wrong: tuple[Callable, ...]
    tolerance: float = 1e-5                 # of numbers above 1 in size: relative; 0: must be equal
    ours: Callable | None = None            # None: the library's function of that name
    lesson: str = ""                        # "02", set by the registry from the file's name

    def __post_init__(self):
        if not 1 <= len(self.hints) <= 3 or len(self.wrong) < 2:
            raise Refused(f"exercise {self.name}: expected 1 to 3 hints and at least 2 wrong answers, got {len(self.hints)} "
                          f"and {len(self.wrong)}. See exercises/l00_start_here.py.")

    @property
    def label(self):                        # -> "rope"
        return self.name.rpartition(".")[2]

    @property
    def answer(self):                       # -> the function that is right by definition
        return self.ours or library_object(self.name)


def library_object(name):                   # "ops.rope.rope", "model.Model.streams" -> what the library calls so
    """Find a module, function, class or method of v4mini by its dotted name. Raises Refused."""
    parts = name.removeprefix("v4mini.").split(".")
    found, path = None, "v4mini"
    for position, part in enumerate(parts):
        try:
            found = import_module(f"{path}.{part}")
            path = f"{path}.{part}"
        except ModuleNotFoundError:
            rest = parts[position:]
            break
    else:
        rest = []
    for part in rest:
        if not hasattr(found, part):
            raise Refused(f"{name}: {path} has no {part!r}. Write it as in 'ops.rope.rope'.")
        found = getattr(found, part)
    return found
