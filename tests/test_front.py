"""The front door: what `import v4mini` costs and offers."""

import json
import subprocess
import sys

import pytest

import v4mini


def test_import_is_light():
    code = ("import sys, time; t = time.perf_counter(); import v4mini; s = time.perf_counter() - t; import json;"
            "print(json.dumps([s, sorted({m.split('.')[0] for m in sys.modules})]))")
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(3)]
    seconds, modules = min(map(json.loads, runs))
    assert not {"torch", "numba", "matplotlib", "transformers", "IPython"} & set(modules)
    assert seconds < 0.3        # the promise of the front door, measured ten times shorter: not a benchmark


def test_loading_needs_no_torch_and_no_matplotlib():
    code = ("import sys, v4mini as v4; v4.load, v4.generate, v4.Config, v4.Tokenizer, v4.random_weights, v4.Trace;"
            "print(sorted({m.split('.')[0] for m in sys.modules}))")
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in modules and "'matplotlib'" not in modules


def test_every_public_name_is_there():
    for name in v4mini.__all__:
        assert getattr(v4mini, name) is not None
    assert set(v4mini.__all__) <= set(dir(v4mini))


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(AttributeError, match="lode.*load"):
        _ = v4mini.lode
