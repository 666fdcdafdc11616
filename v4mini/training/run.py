"""Run: a training run in progress, one step at a time: parameters, optimisers, feed, and where in the recipe it stands.

Not here: when to log, save and stop (loop.py), the file of a checkpoint (checkpoint.py).
"""

import json
import time
import zlib

import numpy as np

from v4mini.engines import choose_backend
from v4mini.model import Model
from v4mini.shapes import Refused
from v4mini.training.add_layers import add_layers
from v4mini.training.batch import Batch
from v4mini.training.batches import Batches
from v4mini.training.checkpoint import read_checkpoint, write_checkpoint
from v4mini.training.facts import fact_row
from v4mini.training.first_use import first_use
from v4mini.training.gradients import choose_gradients
from v4mini.training.init import initial_values
from v4mini.training.optimisers import Optimisers, clip
from v4mini.training.parameters import check_parameters
from v4mini.training.restore import check_ahead, check_arrays, check_state
from v4mini.training.step import loss_and_gradients, routes_of
from v4mini.weights.tree import build

KEPT = "number", "stage_step", "step", "tokens", "seconds", "accuracy", "before"
FIRST_TEXT = 2048           # tokens by which a stage of first use judges
CHECKED_TOKENS = 2048       # of facts and questions, whenever the share of right answers is measured


class Run:
    """What a checkpoint holds, and the next step. The same recipe, texts, engine and threads give the same bits."""

    def __init__(self, recipe, corpus, tokenizer, engine="auto"):
        if tokenizer.vocab_size != recipe.config.vocab_size:
            raise Refused(f"train: the config has a vocabulary of {recipe.config.vocab_size:,}, the tokenizer one of "
                          f"{tokenizer.vocab_size:,}. Train a tokenizer of the config's size.")
        self.recipe, self.engine = recipe, engine
        self.counts = corpus.counts(recipe.config.vocab_size)
        rng = np.random.default_rng(recipe.seed)
        self.feed = Batches(corpus, tokenizer, recipe.config, rng)
        self.number = self.stage_step = self.step = self.tokens = 0
        self.seconds, self.accuracy = 0.0, None         # wall clock of the loop around; answers right, when last checked
        self.before = None                              # "trained" of the card of a model that it began from
        self.ahead = []                                 # [(Batch, its routes)], of steps to come: with anticipatory routing
        self.params = initial_values(self.config, rng, self.counts)
        self.optimisers = self._fresh()

    @property
    def stage(self):
        return self.recipe.stages[self.number]

    @property
    def config(self):
        """Of the model as it is now: a recipe may begin with fewer layers."""
        return self.recipe.config_of(self.stage)

    @property
    def is_stage_over(self):
        stage = self.stage
        return self.stage_step == stage.steps or (stage.until is not None and (self.accuracy or 0) >= stage.until)

    @property
    def is_over(self):
        return self.is_stage_over and self.number + 1 == len(self.recipe.stages)

    # ---- a step ----

    def learn(self, recall=False):                      # -> dict, a line for a log
        """One batch, one update. Raises Refused, with no parameter changed, if a loss or a gradient is no finite number."""
        began = time.perf_counter()
        stage = self.stage
        batch, routes = self._next()
        found = loss_and_gradients(self.config, self.params, batch, stage.settings(self.engine, recall), routes)
        gradients, norm = clip(found.gradients, self.recipe.clip)
        if not np.isfinite([norm, *found.losses.values()]).all():
            raise Refused(self._what_is_not_finite(found))
        rate = stage.rate_at(self.stage_step)
        self.optimisers.step(self.params, gradients, found.load, rate, stage.sink_rate)
        self.step, self.stage_step, self.tokens = self.step + 1, self.stage_step + 1, self.tokens + len(batch.ids)
        load = {layer: float(load.max() / load.mean()) for layer, load in found.load.items()}
        return {"step": self.step, "stage": stage.name, "batch": len(batch.ids), "tokens": self.tokens,
                "seconds": time.perf_counter() - began, "rate": rate, "norm": norm, "losses": found.losses, "load": load,
                "recall": found.recall}

    def _next(self):                                    # -> Batch, {layer: [T, K]} or None
        """The batch of this step. One that will be needed `anticipate` steps later is drawn as well, and routed as of now."""
        stage = self.stage
        batch, routes = self.ahead.pop(0) if self.stage_step >= stage.anticipate > 0 else (self.feed.batch(stage), None)
        if 0 < stage.anticipate < stage.steps - self.stage_step:
            later = self.feed.batch(stage)
            self.ahead.append((later, routes_of(self.config, self.params, later, stage.settings(self.engine))))
        return batch, routes

    def _what_is_not_finite(self, found):
        odd = [f"the loss {name!r} is {value}" for name, value in found.losses.items() if not np.isfinite(value)][:1]
        odd += [f"{name} itself holds numbers that are not finite" for name, values in self.params.items()
                if not np.isfinite(values).all()][:1]
        odd += [f"so does the gradient of {name}" for name, gradient in found.gradients.items()
                if not np.isfinite(gradient).all()][:1]
        return (f"train: at step {self.step + 1}, {', '.join(odd) or 'the gradients are too long to measure'}. "
                "Nothing was updated; go on from the last checkpoint with a lower rate.")

    def check(self):                                    # -> share of answers right
        """Fresh questions of this stage, from position 0, both tokens of each answer; draws from no generator of the run."""
        stage = self.stage
        rng = np.random.default_rng([self.recipe.seed, self.step])
        model = Model(self.config, build(self.config, self.params.get), choose_backend(self.engine))
        rows = [fact_row(rng, self.feed.corpus.ids, self.feed.marks, stage.length, stage.difficulty)
                for _ in range(max(1, CHECKED_TOKENS // stage.length))]
        right = asked = 0
        for (ids, is_answer), logits in zip(rows, model.logits_many([ids for ids, _ in rows])):
            known = np.flatnonzero(is_answer[1:])
            right += int((logits[known].argmax(axis=1) == ids[known + 1]).sum())
            asked += len(known)
        self.accuracy = right / asked
        return self.accuracy

    def enter_next_stage(self):
        """On to the next stage of the recipe; if that has more layers, they are put in and the optimisers begin anew."""
        before = self.stage.layers
        params = self.params
        layers = tuple(range(self.recipe.config.n_layers))
        self.number, self.stage_step, self.accuracy, self.ahead = self.number + 1, 0, None, []
        if (before or layers) != (self.stage.layers or layers):
            params = add_layers(self.recipe.config, before or layers, params, self.feed.rng, self.stage.layers, self.counts)
        self._begin_with(params)

    def begin_at(self, number, before, params):         # of a stage; "trained" of a card; {name: array}
        """As if the stages before had been run here and had given these parameters: the optimisers begin anew."""
        self.number = number
        check_parameters(self.config, params)
        self.before = before
        self.step, self.tokens = before["steps"], before["tokens"]
        self.seconds = 3600 * before["hours"]
        self._begin_with(params)

    def _begin_with(self, params):
        """The stage's first parameters; optimisers begin anew unless these are the ones they know."""
        if self.stage.first_use:
            text = self.feed.corpus.ids[: min(FIRST_TEXT, self.config.max_seq_len)]
            params = first_use(choose_backend("numpy"), self.config, params, text)
        if params is not self.params:
            self.params = params
            self.optimisers = self._fresh()

    def _fresh(self):
        gradients = choose_gradients(self.engine)[1]
        return Optimisers(self.config, self.params, self.recipe.vector_rate, self.recipe.bias_speed, gradients.newton_schulz,
                          gradients.adamw)

    # ---- on disk ----

    def save(self, path):
        """All of it into one file; see checkpoint.py."""
        arrays = {f"params.{name}": values for name, values in self.params.items()}
        state = {"recipe": self.recipe.to_dict(), "texts": self._texts(), "feed": self.feed.state(),
                 "adamw_steps": self.optimisers.adamw.steps, **{name: getattr(self, name) for name in KEPT}}
        write_checkpoint(path, arrays | self.optimisers.state() | _drawn_arrays(self.ahead), state)

    def restore(self, path):
        """Go on from a checkpoint of the same recipe over the same texts. Raises Refused for any other."""
        arrays, state = read_checkpoint(path)
        if state.get("recipe") != json.loads(json.dumps(self.recipe.to_dict())):
            raise Refused(f"{path}: it was made by another recipe. Start anew in another folder, or use that recipe.")
        if state.get("texts") != self._texts():
            raise Refused(f"{path}: it was made from other texts. Go on with the Python and the tokenizer it began with.")
        check_state(path, self.recipe, self.feed.corpus, state)
        stage = self.recipe.stages[state["number"]]
        params = check_arrays(path, self.recipe.config_of(stage), arrays)
        check_ahead(path, self.recipe.config_of(stage), stage, state["stage_step"], arrays)
        ahead = _drawn(arrays)                          # the last thing that can be refused
        for name in KEPT:
            setattr(self, name, state[name])
        self.params, self.ahead = params, ahead
        self.optimisers = self._fresh()
        self.optimisers.adamw.steps = state["adamw_steps"]
        for name, values in self.optimisers.state().items():
            values[...] = arrays[name]
        self.feed.restore(state["feed"])

    def _texts(self):                                   # enough to tell other texts and tokens
        ids = np.ascontiguousarray(self.feed.corpus.ids, "<i8")
        return {"tokens": len(ids), "crc32": zlib.crc32(ids.tobytes())}


def _drawn_arrays(ahead):                               # [(Batch, {layer: [T, K]})] -> {name: array}
    arrays = {}
    for number, (batch, routes) in enumerate(ahead):
        arrays |= {f"ahead.{number}.batch.{name}": array for name, array in vars(batch).items()}
        arrays |= {f"ahead.{number}.routes.{layer}": chosen for layer, chosen in routes.items()}
    return arrays


def _drawn(arrays):                                     # the way back
    found = {}
    for name, array in arrays.items():
        if name.startswith("ahead."):
            _, number, kind, rest = name.split(".", 3)
            key = int(rest) if kind == "routes" else rest       # layers are numbers
            found.setdefault(int(number), {"batch": {}, "routes": {}})[kind][key] = array
    return [(Batch(**found[number]["batch"]), found[number]["routes"]) for number in sorted(found)]
