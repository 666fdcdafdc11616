"""Training checkpoints that a disk damaged, or that somebody edited and signed again: bytes, the state, arrays.

Damaged bytes are always refused, by the checksum. A file that was signed again is refused unless every name, type, shape and
number in it could be meant; then going on from it gives finite losses or one sentence.
"""

import json

import numpy as np
from hostile.mutate import change, damaged_bytes

FULL = 1000
TEXTS = [f"def f{n}(x, y):\n    return x + {n}\n\nclass Name{n % 7}:\n    value = {n * n}\n" * 8 for n in range(12)]


def prepare(folder):                                    # -> makes a run, bytes of its checkpoint, arrays, state
    from v4mini import Config
    from v4mini.text import bpe
    from v4mini.text.tokenizer import Tokenizer
    from v4mini.training.checkpoint import read_checkpoint
    from v4mini.training.corpus import Corpus
    from v4mini.training.recipe import Difficulty, Recipe, Stage
    from v4mini.training.run import Run

    config = Config.tiny().replace(vocab_size=300, compress_ratios=(4, 0, 16, 4, 0), hc_sinkhorn_iters=2)
    tokenizer = Tokenizer(bpe.train(TEXTS, config.vocab_size))
    corpus = Corpus.of(TEXTS, tokenizer)
    recipe = Recipe(config, (Stage("all", 9, 1, 48, {"text": 0.6, "facts": 0.4}, 0.02,
                                   difficulty=Difficulty((1,), gap=2, far=0.0), anticipate=1),))
    run = Run(recipe, corpus, tokenizer, "numpy")
    for _ in range(3):
        run.learn()
    folder.mkdir()
    run.save(folder / "good")
    return lambda: Run(recipe, corpus, tokenizer, "numpy"), (folder / "good").read_bytes(), *read_checkpoint(folder / "good")


def case(made, rng, folder):
    from v4mini.training.checkpoint import write_checkpoint

    run_of, good, arrays, state = made
    path, which = folder / "checkpoint.safetensors", rng.random()
    if which < 0.4:
        bad = damaged_bytes(good, rng)
        path.write_bytes(bad)
    elif which < 0.8:
        state = json.loads(json.dumps(state))
        for _ in range(rng.integers(1, 3)):
            change(state, rng)
        write_checkpoint(path, arrays, state)
    else:
        write_checkpoint(path, edited(dict(arrays), rng), state)
    run = run_of()
    run.restore(path)
    if which < 0.4:
        return "undamaged after all" if bad == good else "WRONG a damaged file was believed"
    same = all(np.array_equal(run.params[name.removeprefix("params.")], array) for name, array in arrays.items()
               if name.startswith("params."))
    if rng.random() < 0.05:
        run.learn()
    return "the same numbers" if same else "signed again with other numbers that could be meant, which no one can tell"


def edited(arrays, rng):                                # one array goes, moves, or becomes another
    names = sorted(arrays)
    one, other = (names[rng.integers(len(names))] for _ in range(2))
    array = arrays[one]
    match int(rng.integers(7)):
        case 0:
            del arrays[one]
        case 1:
            arrays[one + "x"] = array
        case 2:
            arrays[one] = arrays[other]
        case 3:
            arrays[one] = array.astype(np.int64 if array.dtype == np.float32 else np.float32)
        case 4:
            arrays[one] = array.reshape(-1)[: max(1, array.size // 2)].copy()
        case 5:
            arrays[one] = array.copy()
            arrays[one].reshape(-1)[rng.integers(array.size)] = (np.nan if array.dtype == np.float32 else 10**6)
        case _:
            arrays[one] = array[..., None].copy()
    return arrays
