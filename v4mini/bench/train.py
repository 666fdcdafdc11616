"""A step of training beside Hugging Face: the same weights, rows and loss; forward, backward and update.

Ours updates with Muon and AdamW, as V4 was trained, and once more with AdamW alone, as Hugging Face's model does here. The loss
is that of the next token, and CSA layers read what their indexers pick: transformers has no other loss and no other way.
Not here: inference (compare.py, worker.py), printing (cli/).
"""

import contextlib
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from v4mini.config import Config
from v4mini.machine import peak_bytes
from v4mini.shapes import Refused
from v4mini.weights.random import random_tensors
from v4mini.weights.spec import tensors

RATE = 1e-5
WAYS = ("eager", "grouped_mm")          # how transformers can run experts on a processor; it is given the faster one
CALM = 0.5                              # seconds before a step, until the threads of the engine before it sleep


@dataclass(frozen=True)
class TrainResult:
    """One engine on one batch; "+adamw" behind its name: without Muon.

    Seconds are medians over rounds, whole steps after warming up; `loss` is that of the first step.
    """

    model: str
    rows: int
    length: int
    engine: str
    seconds: float | None
    update_seconds: float | None        # of these, for the optimiser
    tokens_per_second: float | None
    loss: float | None                  # the same for all engines, or they did not do the same
    peak_bytes: int | None
    how: str = ""                       # how experts were run
    failure: str = ""
    rounds: tuple = ()                  # seconds of each step


def train_configs():                                    # -> {name: Config}
    """What transformers can train too: float32, no MTP block."""
    mini = Config.mini()
    return {"bench": Config.bench(), "mini": mini.replace(n_mtp_layers=0, compress_ratios=mini.compress_ratios[: mini.n_layers],
                                                          dtype="f32", expert_dtype=None)}


def compare_training(configs, batches, engines, rounds=5):   # {name: Config}, [(rows, length)], [engine] -> yields TrainResult
    """Every engine on every batch of every model, each in a process of its own; a round is one step of each, in turns."""
    for name, config in configs.items():
        for rows, length in batches:
            task = {"config": config.to_dict(), "rows": rows, "length": length}
            for engine, steps, first, failure in _race(task, engines, rounds):
                if failure:
                    yield TrainResult(name, rows, length, engine, None, None, None, None, None, failure=failure)
                    continue
                seconds, update = (statistics.median(step[part] for step in steps) for part in ("seconds", "update_seconds"))
                yield TrainResult(name, rows, length, engine, seconds, update, rows * length / seconds, first["loss"],
                                  steps[-1]["peak_bytes"], first["how"], rounds=tuple(step["seconds"] for step in steps))


def _race(task, engines, rounds):                       # yields (engine, its steps, what start gave, "" or why it failed)
    steps = {engine: [] for engine in engines}
    first = {}
    failures = {}
    with contextlib.ExitStack() as stack:
        pools = {engine: stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for engine in engines}

        def ask(engine, function, *args):               # -> what it gave, or None: it failed
            try:
                return pools[engine].submit(function, *args).result()
            except BrokenProcessPool:
                failures[engine] = "killed (out of memory?)"
            except (MemoryError, RuntimeError) as error:        # torch's way to say that memory is short is a RuntimeError
                failures[engine] = next(filter(None, str(error).splitlines()), "out of memory")[:120]
            except ImportError as error:
                raise Refused(f"bench: {error}. For --against hf run: python -m pip install -e \".[parity]\"") from None

        for engine in engines:
            first[engine] = ask(engine, start, {**task, "engine": engine})
        for _ in range(rounds):
            for engine in engines:
                if engine not in failures and (found := ask(engine, calm_step)):
                    steps[engine].append(found)
    for engine in engines:
        yield engine, steps[engine], first[engine], failures.get(engine, "")


RUNNING = {}                                            # "trainer": of this process


def start(task):                                        # {"config", "rows", "length", "engine"} -> {"loss", "how"}
    """Make this process train with one engine on one batch, and warm up; the loss is that of the first step."""
    config = Config.from_dict(task["config"])
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (task["rows"], task["length"]))
    RUNNING["trainer"] = trainer = (_HuggingFace if task["engine"] == "hf" else _Ours)(config, task["engine"], ids)
    return {"loss": trainer.warm()["loss"], "how": trainer.how}


def calm_step():                                        # -> {"seconds", "update_seconds", "loss", "peak_bytes"}
    """One more step, once this machine is calm."""
    time.sleep(CALM)
    return {**RUNNING["trainer"].step(), "peak_bytes": peak_bytes()}


def ratios(results, ours, theirs):                         # -> {(model, rows, length): how many times faster ours is}
    """Seconds of `theirs` over seconds of `ours` in each round, and the median of that; where both finished."""
    rounds = {(result.model, result.rows, result.length, result.engine): result.rounds for result in results}
    cases = dict.fromkeys((result.model, result.rows, result.length) for result in results)
    return {case: statistics.median(b / a for a, b in zip(rounds[*case, ours], rounds[*case, theirs])) for case in cases
            if rounds.get((*case, ours)) and rounds.get((*case, theirs))}


class _Ours:
    how = ""

    def __init__(self, config, engine, ids):
        from v4mini.training.adamw import AdamW
        from v4mini.training.batch import Batch
        from v4mini.training.gradients import choose_gradients
        from v4mini.training.optimisers import Optimisers, decay_of, learner
        from v4mini.training.step import Settings

        self.config = config
        self.batch = Batch.of(list(ids))
        self.params = random_tensors(config)
        engine, _, alone = engine.partition("+")
        gradients = choose_gradients(engine)[1]
        if alone:
            decay = {spec.name: decay_of(spec) for spec in tensors(config) if learner(spec) in ("muon", "adamw")}
            only = AdamW(decay, self.params, update=gradients.adamw)
            self._update = lambda found: only.step(self.params, found.gradients, RATE)
        else:
            both = Optimisers(config, self.params, newton_schulz=gradients.newton_schulz, update=gradients.adamw)
            self._update = lambda found: both.step(self.params, found.gradients, found.load, RATE)
        self.settings = Settings(mtp_weight=0.0, balance_weight=0.0, index_weight=0.0, index_phase="sparse", recall=False,
                                 engine=engine)

    def warm(self):
        """Once to compile, twice to touch all memory."""
        first, *_ = [self.step() for _ in range(3)]
        return first

    def step(self):
        from v4mini.training.step import loss_and_gradients

        started = time.perf_counter()
        found = loss_and_gradients(self.config, self.params, self.batch, self.settings)
        between = time.perf_counter()
        self._update(found)
        ended = time.perf_counter()
        return {"seconds": ended - started, "update_seconds": ended - between, "loss": float(found.losses["next"])}


class _HuggingFace:
    def __init__(self, config, engine, ids):
        import torch

        from v4mini.proof.huggingface import transformers_model

        self.torch = torch
        self.ids = torch.tensor(ids)
        self.model = transformers_model(random_tensors(config), config).train()
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=RATE)
        self.how = ""

    def warm(self):
        """Each way twice: to touch everything, and to see which is faster."""
        first = None
        seconds = {}
        for way in WAYS:
            self.model.set_experts_implementation(way)
            try:
                first = first or self.step()
                self.step()
                seconds[way] = self.step()["seconds"]
            except RuntimeError:
                if way == "eager":
                    raise
                self.optimiser.zero_grad()              # grouped products refuse some widths
        self.how = min(seconds, key=seconds.get)
        self.model.set_experts_implementation(self.how)
        return first

    def step(self):
        started = time.perf_counter()
        logits = self.model(self.ids, use_cache=False).logits[:, :-1]
        loss = self.torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[2]), self.ids[:, 1:].reshape(-1))
        loss.backward()
        between = time.perf_counter()
        self.optimiser.step()
        self.optimiser.zero_grad()
        ended = time.perf_counter()
        return {"seconds": ended - started, "update_seconds": ended - between, "loss": float(loss.detach())}
