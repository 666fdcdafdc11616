"""Text to learn from that every reader has: the sources of the running Python's standard library.

Same Python version, same texts, same order. Nothing is copied into this repository.
Not here: tokens, batches.
"""

import ast
import sys
import sysconfig
import tokenize
import zlib
from pathlib import Path

from v4mini.shapes import Refused

HELD_OUT_ONE_IN = 20
TESTS = {"test", "tests", "idle_test"}
TABLES = {"encodings"}                          # code pages: a million bytes of '\x80'
SHIPPED_APART = {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"}       # some systems lack them
PROSE = "pydoc_data.topics"                     # the language reference, as one dict of texts


def is_held_out(module_name):                   # -> bool
    """Whether a module is kept from training, for measuring: about one in twenty, told by its name alone."""
    return zlib.crc32(module_name.encode()) % HELD_OUT_ONE_IN == 0


def stdlib_texts(held_out=False):               # yields (module name, text)
    """The library's modules in the order of their names, without test suites: those to train on, or those held out."""
    for name, path in sorted(_modules().items()):
        if is_held_out(name) == held_out:
            with tokenize.open(path) as file:   # honours a coding line
                source = file.read()
            yield name, _topics(source) if name == PROSE else source


def _modules():                                 # -> {dotted name: path}
    root = Path(sysconfig.get_path("stdlib"))
    found = {}
    for top in sys.stdlib_module_names - TABLES - SHIPPED_APART:
        for path in (root / f"{top}.py", *(root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if path.is_file() and not TESTS & set(parts):
                found[".".join(parts).removesuffix(".__init__")] = path
    if not found:
        raise Refused(f"stdlib: expected Python sources in {root}, got none. Use a Python that is installed with its library.")
    return found


def _topics(source):                            # the texts in `topics = {...}`, without the quotes around each line
    last = ast.parse(source).body[-1]
    return "\n\n".join(ast.literal_eval(last.value).values())
