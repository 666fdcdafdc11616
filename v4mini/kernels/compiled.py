"""@njit whose machine code is kept on disk, in a folder named after the sources of all kernels.

Numba's own cache looks at one file only: after an edit in a helper's file it goes on with old machine code; it ends in a
traceback where no folder can be written; it trusts a file that a power loss cut. So ours has a key for all sources, a digest in
every file, and somewhere else to go. Not here: the kernels; when all are compiled at once (bench/warm.py).
"""

import functools
import hashlib
import pickle
from pathlib import Path

import llvmlite
import numba
from numba.core import config
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from v4mini.kernels.folders import Folders, private_place, set_aside, usual_places
from v4mini.shapes import notify

HERE = Path(__file__).parent
SOURCES = HERE, HERE.parent / "numerics"                # kernels, and the tables that they compile in


def njit(function=None, **options):
    """numba.njit(**options), its machine code kept on disk: a decorator, with or without options."""
    if function is None:
        return functools.partial(njit, **options)
    compiled = numba.njit(no_cfunc_wrapper=True, **options)(function)
    if not config.DISABLE_JIT:
        compiled._cache = KernelCache(function)
    return compiled


@functools.cache
def sources_digest():                                   # -> 16 hex digits
    """Of everything that machine code depends on and that Numba's key for a function does not hold."""
    known = hashlib.sha256(repr((numba.__version__, llvmlite.__version__, config.OPT, config.BOUNDSCHECK)).encode())
    for path in sorted(path for folder in SOURCES for path in folder.rglob("*.py")):
        known.update(path.relative_to(HERE.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return known.hexdigest()[:16]


@functools.cache
def folders():                                          # -> Folders
    """Where this process looks for machine code and keeps it. NUMBA_CACHE_DIR comes first."""
    return Folders(usual_places(config.CACHE_DIR, HERE / "__pycache__"), private_place(), f"v4mini-{sources_digest()}")


class KernelCache:
    """What a Numba dispatcher asks of a cache (numba.core.caching): load_overload and save_overload, for one function."""

    told = False                                        # of a damaged file: one line is enough, there may be a hundred

    def __init__(self, function):
        self.function = function
        self.code = hashlib.sha256(function.__code__.co_code).hexdigest()

    @property
    def cache_path(self):
        """The folder of new files; None: none can be written."""
        return folders().written

    def load_overload(self, signature, target):         # -> numba's CompileResult, or None
        """Machine code compiled before for these argument types on such a processor. A damaged file is set aside."""
        target.refresh()
        for path in folders().found(self._name(signature, target.codegen())):
            try:
                raw = path.read_bytes()
            except OSError:
                continue
            payload = _opened(raw)
            if payload is not None:
                return CompileResult._rebuild(target, *payload)
            self._set_aside(path)
        return None

    def save_overload(self, signature, result):
        """Keep what was just compiled, if any folder takes it."""
        if result.library.has_dynamic_globals or any(not lifted.can_cache for lifted in result.lifted):
            return
        payload = dumps(result._reduce())
        folders().write(self._name(signature, result.codegen), hashlib.sha256(payload).digest() + payload)

    def enable(self):
        """Always on."""

    def disable(self):
        """Always on."""

    def flush(self):
        """Nothing to forget: a name stands for one content."""

    def _name(self, signature, codegen):                # the function, argument types, processor
        key = repr((self.function.__qualname__, self.code, signature, codegen.magic_tuple()))
        module = self.function.__module__.removeprefix("v4mini.kernels.")
        return f"{module}.{self.function.__name__}.{hashlib.sha256(key.encode()).hexdigest()[:20]}.kernel"

    def _set_aside(self, path):
        set_aside(path)
        if not KernelCache.told:
            KernelCache.told = True
            notify(f"kernels: {path} is damaged (cut short by a power loss or a full disk?). It was set aside and is "
                   "compiled anew, and so are others like it.")


def _opened(raw):                                       # bytes of a file -> what was kept, or None: damaged
    digest, payload = raw[:32], raw[32:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    try:
        return pickle.loads(payload)
    except Exception:                                   # whole, but another version's
        return None
