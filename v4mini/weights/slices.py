"""A checkpoint cut for several processes, as the release's convert.py writes it: model0-mp4.safetensors, model1-mp4 and so on.

    cut along rows       embed, head, wq_b, wo_a, weights_proj, attn_sink
    cut along columns    wo_b
    shared out           routed experts, whole
    in every slice       all the rest; the first slice's is taken

Scales are cut like their weights. What was cut is joined when it is asked for, in memory; experts stay views of their file.
What is in every slice must be alike there: a page of each such tensor is compared. Other bytes of it, and whether pieces and
experts are of one checkpoint, cannot be known from the files.
Source: inference/convert.py of the release. Not here: which folders hold slices (store.py).
"""

import numpy as np

from v4mini.shapes import Refused
from v4mini.untrusted import brief
from v4mini.weights.file import TensorEntry
from v4mini.weights.store import Store

PAGE = 4096                             # bytes
CUT = {"embed": 0, "head": 0, "wq_b": 0, "wo_a": 0, "weights_proj": 0, "attn_sink": 0, "wo_b": 1}      # -> axis


class Slices(Store):
    """A Store whose cut tensors are joined. `joined_bytes`: what they take in memory, all together."""

    def __init__(self, path, files):                    # {shard path: TensorFile}, in the order of the processes
        shard_of = {}
        self._cut = {}
        self._paths = list(files)
        for place, file in files.items():
            for name, entry in file.entries.items():
                self._take(path, name, entry, place, shard_of, files)
        super().__init__(path, files, shard_of, {})

    def _take(self, path, name, entry, place, shard_of, files):
        is_expert = ".experts." in name
        if name in shard_of:
            if is_expert:
                raise Refused(f"{path}: expected {brief(name)} in one slice, got it in {shard_of[name].name} and {place.name}. "
                              "Are slices of two checkpoints mixed?")
            return
        shard_of[name] = place
        if is_expert:
            return
        others = [file.entries.get(name) for file in files.values()]
        if any(other is None or (other.dtype, other.shape) != (entry.dtype, entry.shape) for other in others):
            raise Refused(f"{path}: expected {brief(name)} as {entry.dtype} {list(entry.shape)} in each of {len(files)} slices, "
                          "got one without it, or with another. Run convert.py again.")
        axis = CUT.get(next(part for part in reversed(name.split(".")) if part not in ("weight", "scale")))
        if axis is not None and axis < len(entry.shape):
            self._cut[name] = axis

    def expect_alike(self):
        """Refused where slices of two checkpoints are mixed, as far as what all of them hold can tell."""
        first, *others = self._files.items()
        for name in self:
            if name in self._cut or ".experts." in name:
                continue
            wanted = _page(first[1].tensor(name))
            for place, file in others:
                if _page(file.tensor(name)) != wanted:
                    raise Refused(f"{self.path}: expected {brief(name)} alike in each of {len(self._files)} slices, got other "
                                  f"bytes in {place.name} than in {first[0].name}. Are slices of two checkpoints mixed?")

    @property
    def joined_bytes(self):
        return sum(self.entry(name).nbytes for name in self._cut)

    def pieces(self, name):
        axis = self._cut.get(name)
        return super().pieces(name) if axis is None else (
            [(path, self._files[path].entries[name]) for path in self._paths], axis)

    def entry(self, name):              # -> TensorEntry; of a joined tensor with its whole shape, and no place in a file
        if name not in self._cut:
            return super().entry(name)
        pieces, axis = self.pieces(name)
        first = pieces[0][1]
        shape = (*first.shape[:axis], first.shape[axis] * len(pieces), *first.shape[axis + 1:])
        return TensorEntry(name, first.dtype, shape, 0, first.nbytes * len(pieces))

    def __getitem__(self, name):
        if name not in self._cut:
            return super().__getitem__(name)
        return joined([self._files[path].tensor(name) for path in self._paths], self._cut[name])


def _page(array):                       # -> bytes out of its middle
    raw = array.reshape(-1).view(np.uint8)
    return raw[max(0, len(raw) - PAGE) // 2:][:PAGE].tobytes()


def joined(pieces, axis):               # [array] -> array, read-only as a file's are
    """One array of the pieces, whatever their dtype."""
    whole = np.concatenate([np.ascontiguousarray(piece).view(f"u{piece.dtype.itemsize}") for piece in pieces], axis)
    whole = whole.view(pieces[0].dtype)
    whole.flags.writeable = False
    return whole
