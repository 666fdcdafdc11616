"""Machine code comes back from disk, never a stale one, and a damaged file costs one line and a compilation."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from v4mini.kernels import compiled
from v4mini.kernels.compiled import HERE, SOURCES, KernelCache, njit
from v4mini.kernels.folders import Folders
from v4mini.shapes import Notice

compiles = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """kept(): this test's files of machine code."""
    own = Folders([tmp_path], tmp_path / "last", "v4mini-test")
    monkeypatch.setattr(compiled, "folders", lambda: own)
    monkeypatch.setattr(KernelCache, "told", False)
    return lambda: sorted((tmp_path / "v4mini-test").glob("*.kernel"))


def twice():                                            # a new dispatcher, as another process has it
    def double(x):
        return 2 * x
    return njit(double)


def where_from(kernel):
    return sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())


@compiles
def test_machine_code_comes_back_from_disk(kept):
    first, second = twice(), twice()
    assert (first(3), where_from(first), len(kept())) == (6, (0, 1), 1)
    assert (second(4), where_from(second)) == (8, (1, 0))
    assert (second(0.5), where_from(second), len(kept())) == (1.0, (1, 1), 2), "a file for each kind of arguments"


DAMAGE = {
    "empty": lambda raw: b"", "cut in the digest": lambda raw: raw[:20], "cut": lambda raw: raw[:len(raw) // 2],
    "one byte short": lambda raw: raw[:-1], "never written": lambda raw: bytes(len(raw)),
    "one bit over": lambda raw: raw[:-100] + bytes([raw[-100] ^ 1]) + raw[-99:],
    "another version's": lambda raw: compiled.hashlib.sha256(b"no pickle").digest() + b"no pickle",
}


@compiles
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_set_aside_and_compiled_anew(kept, kind):
    assert (twice()(3), twice()(0.5)) == (6, 1.0)
    whole = [path.read_bytes() for path in kept()]
    for path, raw in zip(kept(), whole):
        path.write_bytes(DAMAGE[kind](raw))
    again = twice()
    with pytest.warns(Notice, match=r"^kernels: .*\.kernel is damaged .* set aside and is compiled anew") as told:
        assert (again(3), again(0.5), where_from(again)) == (6, 1.0, (0, 2))
    assert len(told) == 1, "one line for all"
    assert len(kept()) == 2 and len(list(kept()[0].parent.glob("*.damaged"))) == 2
    last = twice()
    assert (last(3), last(0.5), where_from(last)) == (6, 1.0, (2, 0))


@compiles
def test_where_nothing_can_be_kept_kernels_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    nowhere = Folders([tmp_path / "file" / "a"], tmp_path / "file" / "b", "v4mini-test")
    monkeypatch.setattr(compiled, "folders", lambda: nowhere)
    kernel = twice()
    with pytest.warns(Notice, match="compiled anew in every process"):
        assert kernel(3) == 6
    assert kernel(0.5) == 1.0 and kernel._cache.cache_path is None


SCRIPT = """
import numpy as np
from v4mini.kernels import compiled, experts
one = np.ones((1, 4), np.float32)
print(compiled.sources_digest(), experts.swiglu(one, one, 7.0)[0, 0], sum(experts._swiglu.stats.cache_hits.values()))
"""


@compiles
def test_an_edited_helper_leaves_no_stale_kernel(tmp_path):
    copy = tmp_path / "v4mini"
    shutil.copytree(HERE.parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run():
        done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()
    first, again = run(), run()
    assert first[:2] == again[:2] and (first[2], again[2]) == ("0", "1")
    helper = copy / "kernels" / "vector.py"             # another file than the kernel's
    helper.write_text(helper.read_text().replace("        return p * power", "        return p * power * ZERO"))
    edited = run()
    assert edited[0] != first[0] and float(first[1]) == pytest.approx(0.731, abs=1e-3) and float(edited[1]) == 1
    assert len(list((tmp_path / "cache").glob("v4mini-*"))) == 2, "the one before stays for who goes back"


def test_all_that_kernels_compile_in_is_part_of_the_key():
    """Constants of other modules become part of machine code; modules outside SOURCES give functions and classes only."""
    inside = {".".join(("v4mini", *folder.relative_to(HERE.parent).parts)) for folder in SOURCES}
    plain = {"v4mini.shapes", "v4mini.backend", "v4mini.machine", "v4mini.ops"}    # called outside of loops, never in one
    for path in HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("v4mini"):
                assert node.module in plain or any(node.module.startswith(room) for room in inside), f"{path}: {node.module}"


def test_every_kernel_is_kept():
    for path in HERE.rglob("*.py"):
        if path.name != "compiled.py":
            text = path.read_text(encoding="utf-8")
            assert "numba import njit" not in text and ", njit" not in text.replace("compiled import njit", ""), Path(path).name
