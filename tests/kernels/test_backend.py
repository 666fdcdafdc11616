"""The engine on kernels, with every kind of cache, weight and rounding. Plain float32 logits: test_whole_model.py."""

import subprocess
import sys

import numba
import numpy as np
import pytest
from tolerances import SAME_MODEL

from v4mini.backend import OPERATIONS, Backend
from v4mini.config import Config
from v4mini.kernels.backend import NumbaBackend
from v4mini.shapes import Refused

TOKENS = 9 if numba.config.DISABLE_JIT else 140


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "released"])
def test_the_same_steps_as_numpy_out_of_every_kind_of_cache(model_of, storage):
    config, ids = Config.mini(), np.arange(TOKENS // 2) * 7 % 2048
    last = []
    for ops in (NumbaBackend(), Backend()):
        model = model_of(config, ops)
        cache = model.new_cache(storage)
        model.prefill(ids[:-3], cache)
        last.append([model.step(token, cache) for token in ids[-3:]])
    if storage == "float32":
        np.testing.assert_allclose(*last, **SAME_MODEL)
    else:                                               # rounding of rows turns a last bit into a step of the format
        assert np.median(np.abs(np.subtract(*last))) < 0.02 and (np.argmax(last[0], 1) == np.argmax(last[1], 1)).all()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a minute in plain Python; test_linear.py has the products themselves")
def test_the_same_logits_from_weights_that_stay_packed():
    from v4mini.model import Model
    from v4mini.weights.random import random_tensors
    from v4mini.weights.tree import build

    config, ids = Config.mini(), np.arange(5) * 7
    tensors = random_tensors(config)
    kept, stored = (build(config, tensors.get, keep) for keep in (True, False))
    wanted = Model(config, kept, Backend()).logits(ids)
    np.testing.assert_allclose(Model(config, stored, NumbaBackend()).logits(ids), wanted, **SAME_MODEL)
    np.testing.assert_allclose(Model(config, stored, NumbaBackend()).logits(ids[:1]), wanted[:1], **SAME_MODEL)


def test_the_released_rounding(model_of):
    config, ids = Config.mini(), np.arange(TOKENS // 4) * 7
    ours, theirs = (model_of(config, ops).logits(ids) for ops in (NumbaBackend("released"), Backend("released")))
    assert np.median(np.abs(ours - theirs)) < 1e-4      # where no last bit flips a rounding, they agree
    assert not np.allclose(ours, model_of(config, NumbaBackend()).logits(ids), atol=1e-3)


def test_describe_names_who_runs_what():
    told = NumbaBackend().describe()
    assert tuple(told) == OPERATIONS
    assert told["attend"] == "numba" and told["embed"] == "numpy" and told["linear"].startswith("numpy (BLAS)")
    for name in OPERATIONS:                             # what is called numpy is not overridden, and the other way round
        assert (name in vars(NumbaBackend)) == (told[name] != "numpy"), name


def test_simulate_is_checked_here_too():
    with pytest.raises(Refused, match="simulate"):
        NumbaBackend("yes")


def test_importing_v4mini_does_not_import_numba():
    code = "import sys, v4mini, v4mini.backend, v4mini.model; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
