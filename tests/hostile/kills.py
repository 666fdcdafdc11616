"""Writers killed at random moments, each in a process of its own: is what they leave whole, and does the next run sweep it?

    python tests/hostile/kills.py SAVE FOLDER           the child: saves for ever, a line before each save

Not here: wrong bytes (the other files of this folder).
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

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


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    save, _ = saver(sys.argv[1], Path(sys.argv[2]))
    save(0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in range(1, 10**6):
        save(number)
