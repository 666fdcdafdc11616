"""One engine, one measurement, in a process of its own, so that peak memory is its own: `python -m v4mini.bench.worker`.

Reads a JSON task from its first argument, writes one JSON line. Not here: who is compared with whom (compare.py).
"""

import inspect
import json
import statistics
import sys
import time

import numpy as np

from v4mini.config import Config
from v4mini.machine import peak_bytes
from v4mini.weights.random import random_tensors


def measure(task):                                      # {"engine", "what", "tokens", "repeats", ...} -> {"seconds", ...}
    """Warm up, repeat, give the median. what: "prefill" of `tokens`, or "decode" of `steps` tokens after them."""
    config = Config.from_dict(task["config"])
    ids = np.random.default_rng(0).integers(0, config.vocab_size, task["tokens"] + task.get("steps", 0) + 1)
    engine = (HuggingFace if task["engine"] == "hf" else _Ours)(config, task)
    engine.prefill(ids[: min(512, task["tokens"])])     # warm: compiled, weights touched
    if task["what"] == "prefill":
        seconds = [_timed(lambda: engine.prefill(ids[: task["tokens"]])) for _ in range(task["repeats"])]
    else:
        engine.prefill(ids[: task["tokens"]])
        engine.step(ids[task["tokens"]])
        seconds = [_timed(lambda token=token: engine.step(token)) for token in ids[task["tokens"] + 1:]]
    return {"seconds": statistics.median(seconds), "slowest": max(seconds), "fastest": min(seconds),
            "peak_bytes": peak_bytes()}


def _timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class _Ours:
    def __init__(self, config, task):
        from v4mini.engines import choose_backend
        from v4mini.inference.cached import CachedModel
        from v4mini.weights.tree import build

        self.model = CachedModel(config, build(config, random_tensors(config).get), choose_backend(task["engine"]))
        self.cache = None

    def prefill(self, ids):
        self.cache = self.model.new_cache()
        self.model.prefill(ids, self.cache)

    def step(self, token):
        self.model.step(int(token), self.cache)


class HuggingFace:
    def __init__(self, config, task):
        import torch

        from v4mini.proof.huggingface import transformers_model

        self.torch = torch
        self.model = transformers_model(random_tensors(config), config)
        # transformers picks its fastest way over experts (grouped products) when left alone; sizes here allow it
        self.model.set_experts_implementation(task.get("hf_experts", "grouped_mm"))
        # transformers 5.24 calls its cache "cache", 5.23 "past_key_values"
        self.cache_name = "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"
        self.past = None

    def _run(self, ids, past):
        with self.torch.no_grad():
            out = self.model(self.torch.tensor(ids)[None], use_cache=True, logits_to_keep=1, **{self.cache_name: past})
        self.past = getattr(out, self.cache_name)

    def prefill(self, ids):
        self._run(ids, None)

    def step(self, token):
        self._run([int(token)], self.past)


def main():
    task = json.loads(sys.argv[1])
    if task.get("torch_first"):                         # and used, so that its threads are there
        import torch

        torch.ones(512, 512) @ torch.ones(512, 512)
    sys.stdout.write(json.dumps(measure(task)) + "\n")


if __name__ == "__main__":
    main()
