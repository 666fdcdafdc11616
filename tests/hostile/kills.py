"""Writers killed at random moments, each in a process of its own: is what they leave whole, and does the next run sweep it?

    python tests/hostile/kills.py SAVE FOLDER           the child: saves for ever, a line when the first is done
    python tests/hostile/kills.py run FOLDER            the child: goes on with a training run, saving after every step

Not here: wrong bytes (the other files of this folder).
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

STEPS = 120                     # of a training run that is killed: more than its lives can make
SLOWEST = 0.25                  # seconds after "ready" until which a kill may fall


def saver(name, folder):                                # -> save(number), check(folder) -> bool
    """Each saver writes one kind of file again and again, another one each time."""
    import numpy as np

    from v4mini.config import Config

    if name == "cache":
        from v4mini.inference.cache import Cache

        caches = [_cache(Config.tiny(), tokens) for tokens in (400, 500)]
        return (lambda n: caches[n % 2].save(folder / "text.cache"),
                lambda: Cache.load(folder / "text.cache", Config.tiny()).length in (400, 500))
    if name == "training":
        from v4mini.training.checkpoint import read_checkpoint, write_checkpoint

        array = np.arange(1 << 20, dtype=np.float32)
        return (lambda n: write_checkpoint(folder / "checkpoint.safetensors", {"params.a": array + n}, {"step": n}),
                lambda: float(read_checkpoint(folder / "checkpoint.safetensors")[0]["params.a"][0])
                == read_checkpoint(folder / "checkpoint.safetensors")[1]["step"])
    from v4mini.weights.random import random_tensors, random_weights
    from v4mini.weights.store import open_store

    config = Config.tiny()

    def check():
        with open_store(folder) as store:
            return any(all(np.array_equal(store[key], value) for key, value in random_tensors(config, seed).items())
                       for seed in (0, 1))
    return lambda n: random_weights(config, folder, seed=n % 2), check


def _cache(config, tokens):
    import numpy as np

    from v4mini.inference.cached import CachedModel
    from v4mini.inference.load import choose_backend
    from v4mini.weights.random import random_tensors
    from v4mini.weights.tree import build

    model = CachedModel(config, build(config, random_tensors(config).get), choose_backend("numpy"))
    cache = model.new_cache()
    model.prefill(np.arange(tokens) % config.vocab_size, cache)
    return cache


def kill_savers(name, count, folder, seed=0):           # -> Counter of what was found
    """Kill `count` processes in the middle of their saves; then look, save once more, and look again."""
    from v4mini.shapes import Refused

    rng, found, folder = random.Random(seed), Counter(), Path(folder)
    stranger = folder / ".stranger.part"
    stranger.write_bytes(b"mine")
    for number in range(count):
        with subprocess.Popen([sys.executable, __file__, name, str(folder)], stdout=subprocess.PIPE) as child:
            child.stdout.readline()                     # the first save is done
            time.sleep(rng.random() * SLOWEST)
            child.kill()
        left = [one for one in os.listdir(folder) if one.endswith(".part") and one != stranger.name]
        found["killed with a temporary file"] += bool(left)
        if number == 0:
            save, check = saver(name, folder)           # compiled and filled once, in this process
        try:
            found["whole" if check() else "WRONG content"] += 1
        except Refused:
            found["refused" if name == "checkpoint" else "WRONG refused"] += 1
        save(number)
        rest = [one for one in os.listdir(folder) if one.startswith(".") and one != stranger.name]
        found["WRONG a file was left"] += bool(rest)
        found["WRONG content"] += not check()
    found["WRONG a stranger's file"] += stranger.read_bytes() != b"mine"
    return found


def new_run():                          # -> Run of STEPS steps, NumPy's engine
    from hostile.bad_checkpoints import TEXTS

    from v4mini import Config
    from v4mini.text import bpe
    from v4mini.text.tokenizer import Tokenizer
    from v4mini.training.corpus import Corpus
    from v4mini.training.recipe import Difficulty, Recipe, Stage
    from v4mini.training.run import Run

    config = Config.tiny().replace(vocab_size=300, compress_ratios=(4, 0, 16, 4, 0), hc_sinkhorn_iters=2)
    tokenizer = Tokenizer(bpe.train(TEXTS, config.vocab_size))
    stage = Stage("all", STEPS, 1, 48, {"text": 0.6, "facts": 0.4}, 0.02, difficulty=Difficulty((1,), gap=2, far=0.0),
                  anticipate=1)
    return Run(Recipe(config, (stage,)), Corpus.of(TEXTS, tokenizer), tokenizer, "numpy")


def go_on(folder):                      # one life of a trainer
    from v4mini.training.checkpoint import NAME
    from v4mini.training.loop import train

    run = new_run()
    if (folder / NAME).exists():
        run.restore(folder / NAME)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    train(run, folder, save_seconds=0)
    return run


def kill_trainers(count, folder, whole, seed=0):        # -> Counter
    """Kill `count` trainers one after the other in the middle of their steps; then one goes on to the end."""
    import numpy as np

    from v4mini.training.checkpoint import NAME, read_checkpoint
    from v4mini.training.loop import read_log

    rng, found, folder = random.Random(seed), Counter(), Path(folder)
    for _ in range(count):
        before = _when(folder / NAME)
        with subprocess.Popen([sys.executable, __file__, "run", str(folder)], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            while _when(folder / NAME) == before and child.poll() is None:      # until this life has saved a step
                time.sleep(0.01)
            time.sleep(rng.random() * SLOWEST)
            child.kill()
        found["killed with a temporary file"] += any(one.endswith(".part") for one in os.listdir(folder))
        step = read_checkpoint(folder / NAME)[1]["step"]
        found["lives that went on"] += 0 < found["steps"] < step < STEPS
        found["steps"] = step
    go_on(folder), go_on(Path(whole))
    one, other = (read_checkpoint(Path(where) / NAME) for where in (folder, whole))
    same = one[0].keys() == other[0].keys() and all(np.array_equal(one[0][name], other[0][name]) for name in one[0])
    found["the same bits" if same and one[1]["feed"] == other[1]["feed"] else "WRONG other bits"] += 1
    found["WRONG a file was left"] += any(name.startswith(".") for name in os.listdir(folder))
    found["WRONG log"] += [line["step"] for line in read_log(folder / "log.jsonl")] != sorted(
        {line["step"] for line in read_log(folder / "log.jsonl")})
    return found


def _when(path):
    return path.stat().st_mtime_ns if path.exists() else None


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    if sys.argv[1] == "run":
        go_on(Path(sys.argv[2]))
        sys.exit(0)
    save, _ = saver(sys.argv[1], Path(sys.argv[2]))
    save(0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in range(1, 10**6):
        save(number)
