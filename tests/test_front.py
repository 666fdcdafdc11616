"""The front door: what `import v4mini` costs and offers."""

import json
import subprocess
import sys

import pytest

import v4mini


def test_import_is_light():
    code = "import json, sys; before = set(sys.modules); import v4mini; print(json.dumps(sorted(set(sys.modules) - before)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(run.stdout)
    heavy = {"torch", "numba", "numpy", "matplotlib", "transformers", "tokenizers", "IPython"}
    assert not heavy & {m.split(".")[0] for m in modules}
    assert [m for m in modules if m.startswith("v4mini")] == ["v4mini"], "names are brought when they are asked for"


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
