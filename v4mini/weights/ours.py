"""Which files of a folder are ours to replace: those whose bytes we wrote, by the record that we left beside them.

    folder/v4mini.json      {"format": "v4mini folder 1", "kind": "trained", "files": {"model.safetensors": ["<sha256>"], ...}}

A name says nothing: every release has a config.json and a model-00001-of-00046.safetensors. So before anything is written into a
folder, each file that would be replaced or removed is held to its SHA-256 in the record, and a folder of weights that are
in no record is refused. One rule for all that write checkpoints: random_weights, write_checkpoint, train, synth, fetch.
Not here: how a file is written (writing.py).
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.untrusted import brief, kind_of, parse_json, read_file
from v4mini.writing import shown, write_whole

MARK = "v4mini.json"
LOCK = ".v4mini.lock"           # there while somebody writes into the folder
FORMAT = "v4mini folder 1"
MOST_BYTES = 1 << 20
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf"}
INDEX = "model.safetensors.index.json"
RANDOM = "random"               # the one kind that is no loss: the same seed gives it again
BLOCK = 1 << 22                 # bytes hashed at a time


@dataclass(frozen=True)
class Mark:
    """kind: what wrote the folder. files: name -> SHA-256 of what we wrote; two of them while one takes the other's place."""

    kind: str
    files: dict = field(default_factory=dict)           # {name: [hex]}

    def and_also(self, new):            # -> Mark of both, while new files take the old ones' place
        return Mark(self.kind, {name: sorted({*self.files.get(name, []), *new.get(name, [])}) for name in self.files | new})

    def write(self, folder):
        text = json.dumps({"format": FORMAT, "kind": self.kind, "files": dict(sorted(self.files.items()))}, indent=1)
        write_whole(Path(folder, MARK), text + "\n")


def read_mark(folder):                  # -> Mark, or None where there is none
    """Refused if there is one that says nothing."""
    path = Path(folder, MARK)
    if not path.is_symlink() and not path.exists():
        return None
    what = f"{shown(path)}: the record"
    said = parse_json(read_file(path, MOST_BYTES, what, "Choose another folder."), what)
    kind, files = said.get("kind"), said.get("files")
    if said.get("format") != FORMAT or not isinstance(kind, str) or not _is_record(files):
        raise Refused(f"{shown(path)}: expected v4mini's record of a folder, got {brief(said)}. Choose another folder.")
    return Mark(kind, files)


def expect_ours(folder, kind, names=(), known_by_content=()):      # -> Mark
    """What of a folder may be replaced. `names`: files that will be written, whatever they are called.

    Refused, before anything is touched, if one of them is there and not as we wrote it, if there are weights and no record of
    ours, or if what we wrote is of another kind and would be lost. known_by_content: names that the caller looks into himself.
    """
    folder = Path(folder)
    expect_folder(folder)
    own = read_mark(folder)
    mark = own or Mark(kind)
    if mark.kind not in (kind, RANDOM):
        raise Refused(f"{shown(folder)}: expected a new folder or one of the kind {kind!r}, got v4mini's of the kind "
                      f"{brief(mark.kind)}. Choose another folder.")
    strange = () if own else weights_in(folder)        # beside ours, what we neither replace nor remove may stay
    expect_as_written(folder, {*strange, *names, *mark.files} - set(known_by_content), mark.files)
    return Mark(kind, mark.files)


def expect_as_written(folder, names, known):            # known: {name: [hex]}
    """Refused if one of the files is there and its bytes are none of those that we wrote under its name."""
    for name in sorted(names):
        path = Path(folder, name)
        fault = ""
        if not path.is_symlink() and not path.exists():
            continue
        if name not in known:
            fault = f"another {shown(name)}, which v4mini did not write there"
        elif path.is_symlink() or not path.is_file() or sha256_of(path) not in known[name]:
            fault = f"{shown(name)} in it, which was changed since v4mini wrote it"
        if fault:
            raise Refused(f"{shown(folder)}: expected an empty folder, or one that v4mini wrote, got {fault}. "
                          "Choose another folder.")


def expect_folder(path):
    """Refused if something that is no folder has the name."""
    path = Path(path)
    if (path.is_symlink() or path.exists()) and not path.is_dir():
        kind = "a link that leads nowhere" if not path.exists() else kind_of(path.stat().st_mode).replace("no regular", "a")
        raise Refused(f"{shown(path)}: expected a folder, or a name for a new one, got {kind}; it cannot be written into. "
                      "Choose another name.")


def sha256_of(path):                    # -> hex
    """Of a whole file. Refused if it cannot be read."""
    hasher = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                hasher.update(block)
    except OSError as error:
        raise Refused(f"{shown(path)}: cannot be read ({error.strerror}); check its permissions.") from None
    return hasher.hexdigest()


def weights_in(folder):                 # -> names of files that look like weights
    try:
        here = [child.name for child in folder.iterdir()] if folder.exists() else []
    except OSError as error:
        raise Refused(f"{shown(folder)}: cannot be read ({error.strerror}); check its permissions.") from None
    return [name for name in here if not name.startswith(".") and (Path(name).suffix in WEIGHTS or name == INDEX)]


def digest_of(raw):                     # bytes -> hex
    return hashlib.sha256(raw).hexdigest()


def _is_record(files):                  # a stranger's: every name stays in the folder
    return isinstance(files, dict) and all(
        isinstance(sums, list) and all(isinstance(one, str) for one in sums)
        and name not in ("", ".", "..", MARK) and not any(sign in name for sign in "/\\:\0") for name, sums in files.items())
