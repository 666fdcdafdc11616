"""A run small enough for tests: a tokenizer of 300 tokens, forty small texts, four layers of all kinds.

HCA pools 16 tokens, so that short rows have such entries too.
"""

import pytest

from v4mini import Config
from v4mini.text import bpe
from v4mini.text.tokenizer import Tokenizer
from v4mini.training.corpus import Corpus
from v4mini.training.recipe import Difficulty, Recipe, Stage
from v4mini.training.run import Run

TEXTS = [f"def f{n}(x, y):\n    return x + {n}\n\nclass Name{n % 7}:\n    value = {n * n}\n" * 8 for n in range(40)]
CONFIG = Config.tiny().replace(vocab_size=300, compress_ratios=(4, 0, 16, 4, 0), hc_sinkhorn_iters=4)


@pytest.fixture(scope="session")
def small_tokenizer():
    return Tokenizer(bpe.train(TEXTS, CONFIG.vocab_size))


@pytest.fixture(scope="session")
def small_corpus(small_tokenizer):
    return Corpus.of(TEXTS, small_tokenizer)


@pytest.fixture(scope="session")
def small_recipe():
    """Two layers on facts, then all four on everything."""
    mix = {"text": 0.5, "facts": 0.2, "copying": 0.1, "brackets": 0.1, "sums": 0.1}
    difficulty = Difficulty(keys=(1, 2), gap=2, far=0.5, window=16)
    return Recipe(CONFIG, (
        Stage("facts", 4, 3, 48, {"facts": 1.0}, 0.02, warm_up=2, difficulty=difficulty, layers=(0, 1), until=0.9,
              mtp_weight=0.0),
        Stage("all", 6, 3, 64, mix, 0.02, 0.002, decay_steps=4, difficulty=difficulty, index_phase="sparse")))


@pytest.fixture
def run_of(small_corpus, small_tokenizer, small_recipe):
    """run_of(recipe): a Run on the NumPy engine."""
    return lambda recipe=small_recipe, corpus=small_corpus: Run(recipe, corpus, small_tokenizer, engine="numpy")
