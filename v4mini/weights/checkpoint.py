"""A checkpoint that is open: its files, its config, and each released tensor as the model wants it, whatever its spelling.

Headers are parsed and names resolved once; loading, streaming and inspecting share what was found.
Not here: which forms are known (layouts.py), the tree of weights (tree.py).
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from v4mini.config import Config
from v4mini.numerics.matrix import as_codes, as_scale
from v4mini.shapes import Refused
from v4mini.viz.tables import counted
from v4mini.weights.layouts import fit, grouped, likely_cause
from v4mini.weights.names import resolve
from v4mini.weights.slices import Slices
from v4mini.weights.store import open_store
from v4mini.weights.written import check_written

log = logging.getLogger("v4mini")


@dataclass(frozen=True)
class Checkpoint:
    """Open files and what is in them. `config` is the file's, as its tensors bear it out."""

    path: Path
    config: Config
    store: object
    sources: dict               # {released name: Source}
    formats: dict               # {matrix: "fp8" | "fp4"}
    notes: tuple                # one line each: what was passed over, what is not known

    def tensor(self, name):     # -> array or None
        """A released tensor: codes under the dtypes that Matrix knows, scales as ue8m0. Raises Refused for other scales."""
        source = self.sources.get(name)
        return None if source is None else self.as_matrix_part(name, source.of(self.store))

    def as_matrix_part(self, name, array):      # -> array
        """What stands in the files under `name`, as Matrix wants it."""
        if name.endswith(".weight"):
            return as_codes(array, self.formats.get(name))
        if name.endswith(".scale") and name.removesuffix("scale") + "weight" in self.formats:
            return as_scale(array, name.removesuffix(".scale"))
        return array


def open_checkpoint(path, config=None):         # -> Checkpoint
    """Open a folder with config.json and safetensors, or one .safetensors file (config.json beside it).

    config: a Config instead of the file. Raises Refused for anything that does not fit, all at once.
    """
    path, asked = Path(path), config is not None
    if not path.exists():
        raise Refused(f"{path}: no such checkpoint. Name a folder with config.json and safetensors, such as data/mini.")
    config, notes = (config, []) if asked else Config.load_noted(path if path.is_dir() else path.parent)
    store = open_store(path)
    sources = resolve(store.entries())
    found = fit(config, sources, asked)
    if found.problems:
        many = counted(len(found.problems), "tensor") + (" does" if len(found.problems) == 1 else " do")
        raise Refused(f"{path}: {many} not fit its config.\n  " + "\n  ".join(grouped(found.problems)) + "\n"
                      + likely_cause(config, sources, found.problems))
    telling = {source.name for name, source in sources.items()
               if name in found.formats or name.endswith(("norm.weight", ".scale"))}
    check_written(store, telling)
    notes = notes + ([] if asked else found.notes)
    if isinstance(store, Slices):
        store.expect_alike()
        notes.append(f"{len(store.shards)} slices are joined: what was cut takes {store.joined_bytes:,} bytes of memory.")
    for note in notes:
        log.warning("%s: %s", path, note)
    return Checkpoint(path, found.config, store, sources, found.formats, tuple(notes))
