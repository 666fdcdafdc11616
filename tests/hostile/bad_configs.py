"""Configs in every spelling, changed in one to three places, some of them to numbers out of all proportion.

One that is accepted is printed by inspect, planned for by plan and written again; if its model is small, that model is made and
run, and its cache kept and found again.
"""

import json
import math

import numpy as np
from hostile.mutate import change, damaged_bytes
from hostile.typed import typed

FULL = 5000
HUGE = (65_536, 65_537, 2**17, 2**20, 2**24, 2**24 - 1, 2**31, 2**40, 1e9, 1e30, 1e38, 1e300, 1e-300)
SMALL = 4_000_000                       # bytes of weights that are made and run


def prepare(folder):                    # -> {spelling: fields}
    from v4mini import Config

    found = {f"{name} {spelling}": getattr(getattr(Config, name)(), spelling)() for name in ("flash", "pro", "mini", "tiny")
             for spelling in ("to_released", "to_dict")}
    tiny, kinds = Config.tiny().to_released(), {0: "sliding_attention", 4: "compressed_sparse_attention"}
    theirs = {name: value for name, value in tiny.items() if name not in ("compress_ratios", "num_hash_layers", "rope_scaling")}
    found["saved by transformers"] = theirs | {
        "layer_types": [kinds.get(ratio, "heavily_compressed_attention") for ratio in tiny["compress_ratios"][:4]],
        "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "original_max_position_embeddings": 64,
                            "beta_fast": 32, "beta_slow": 1}}
    found["of 31 July 2026"] = Config.mini().with_dspark().to_released()
    for fields in found.values():
        Config.from_dict(fields)
    return found


def case(state, rng, folder):
    from v4mini import Config

    fields = json.loads(json.dumps(state[sorted(state)[rng.integers(len(state))]]))
    before = Config.from_dict(json.loads(json.dumps(fields)))
    path, raw = folder / "config.json", None
    which = rng.random()
    if which < 0.2:
        raw = damaged_bytes(json.dumps(fields).encode(), rng)
    elif which < 0.5:
        numbers = [name for name, value in fields.items() if type(value) in (int, float)]
        for name in rng.choice(numbers, rng.integers(1, 3)):
            fields[name] = HUGE[rng.integers(len(HUGE))]
    else:
        for _ in range(rng.integers(1, 4)):
            change(fields, rng)
    path.write_bytes(raw or json.dumps(fields).encode())
    config = Config.load(path)
    if Config.from_dict(config.to_dict()) != config:
        return "WRONG another config when it is written and read"
    printed = typed("inspect", path), typed("plan", "--model", path, "--context", "128K", "--machine", "h200x8")
    wrong = [words for words in printed if words.startswith("WRONG")]
    if wrong:
        return wrong[0]
    if _weights_bytes(config) <= SMALL:
        return _run(config, rng, folder)
    return "the same config" if config == before else "numbers that could be meant, printed and planned for"


def _weights_bytes(config):
    from v4mini.weights.spec import tensors

    return sum(spec.nbytes for spec in tensors(config))


def _run(config, rng, folder):          # a model of that config, its cache, and the cache's file
    from v4mini.inference.cached import CachedModel
    from v4mini.inference.load import choose_backend
    from v4mini.weights.random import random_tensors
    from v4mini.weights.tree import build

    model = CachedModel(config, build(config, random_tensors(config).get), choose_backend("numpy"))
    ids = np.arange(min(20, config.max_seq_len - 2)) % config.vocab_size
    if not len(ids):
        return "a model of no more than two tokens"
    reserve = int(rng.choice([64, 2, 65_536, 2**20]))
    cache = model.new_cache(str(rng.choice(["float32", "bfloat16", "released"])), reserve)
    first = model.prefill(ids, cache)
    cache.copy(), cache.save(folder / "cache")
    again = model.step(3, model.load_cache(folder / "cache"))
    if not np.array_equal(again, model.step(3, cache)) or not math.isfinite(float(first.max())):
        return "WRONG a cache that goes on otherwise after its file"
    return "a small model, made and run"
