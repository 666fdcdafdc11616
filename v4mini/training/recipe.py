"""A recipe: what a model learns, stage after stage, in plain numbers.

Not here: the rows (batches.py), the loop (loop.py).
"""

import dataclasses
from dataclasses import dataclass, field, replace

from v4mini.config import Config
from v4mini.shapes import Refused
from v4mini.training.add_layers import some_layers
from v4mini.training.facts import Difficulty
from v4mini.training.schedule import rate_at
from v4mini.training.step import Settings


@dataclass(frozen=True)
class Stage:
    """Some steps of one kind. `mix` maps the kinds of feed.KINDS to their shares of the rows."""

    name: str
    steps: int
    rows: int                           # a batch: so many rows of so many tokens
    length: int
    mix: dict
    rate: float                         # Muon's; AdamW's is a share of it
    end_rate: float | None = None       # after a cosine over the last decay_steps
    warm_up: int = 0
    decay_steps: int = 0
    difficulty: Difficulty = field(default_factory=Difficulty)
    until: float | None = None          # ends early once so many questions about facts are answered right
    layers: tuple[int, ...] | None = None       # which of the config's layers there are yet; None: all
    text_jumps: float = 0.25            # share of documents that jump through positions; facts and drills always do
    mtp_weight: float = 0.3
    balance_weight: float = 1e-4
    index_weight: float = 1.0
    index_phase: str = "dense"
    quantise: str | None = None
    first_use: bool = False             # before it, sinks and a head of each HCA layer begin to be of use (first_use.py)
    sink_rate: float = 1.0              # so many times AdamW's rate for sinks: they are logits, and have a long way to go
    anticipate: int = 0                 # learned routers choose so many steps before a batch is learnt from; 0: at once

    def rate_at(self, step):
        return rate_at(step, self.steps, self.rate, self.end_rate, self.warm_up, self.decay_steps)

    def settings(self, engine, recall=False):           # -> Settings
        return Settings(self.mtp_weight, self.balance_weight, self.index_weight, self.index_phase, self.quantise, recall, engine)


@dataclass(frozen=True)
class Recipe:
    """A config and how it is trained. Everything that decides the numbers stands here or is drawn from `seed`."""

    config: Config
    stages: tuple[Stage, ...]
    seed: int = 0
    vector_rate: float = 0.3            # AdamW's rate as a share of Muon's
    bias_speed: float = 0.01            # V4 has 0.001, over 1,000 times as many steps
    clip: float = 1.0                   # longest gradient

    def __post_init__(self):
        if not self.stages:
            raise Refused("recipe: expected at least one stage, got none.")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):                # the log tells stages apart by name
            raise Refused(f"recipe: expected a name of its own for each stage, got {', '.join(names)}.")
        for stage in self.stages:
            self.config_of(stage)

    def config_of(self, stage):                         # -> Config of the model in this stage
        return self.config if stage.layers is None else some_layers(self.config, stage.layers)

    @property
    def steps(self):
        """At most so many: a stage may end early."""
        return sum(stage.steps for stage in self.stages)

    def to_dict(self):                                  # plain JSON values
        return {**dataclasses.asdict(self), "config": self.config.to_dict()}


WITHOUT = {"index": {"index_weight": 0.0}, "balance": {"balance_weight": 0.0}}


def without(recipe, part):                              # Recipe, "index" | "balance" -> Recipe
    """The same with one part left out, to see what it is for: indexers that nobody teaches, experts that nobody balances."""
    if part not in WITHOUT:
        raise Refused(f"without: expected {' or '.join(WITHOUT)}, got {part!r}.")
    stages = tuple(dataclasses.replace(stage, **WITHOUT[part]) for stage in recipe.stages)
    return dataclasses.replace(recipe, stages=stages, bias_speed=0.0 if part == "balance" else recipe.bias_speed)


def left_out(recipe):                                   # -> [parts of WITHOUT]
    """What such a recipe lacks."""
    return [part for part in WITHOUT if recipe == without(recipe, part)]


def anticipating(recipe, steps):                        # Recipe, int -> Recipe
    """The same with anticipatory routing throughout. The report does not say how far ahead V4 looked."""
    return dataclasses.replace(recipe, stages=tuple(dataclasses.replace(stage, anticipate=steps) for stage in recipe.stages))


def recipe_for(name):                                   # "mini" | "tiny" | a Config -> Recipe
    """The recipe of that name, or the general one for any config."""
    if name == "mini":
        return mini()
    if name == "tiny":                                  # the bytes and special tokens alone take 276 of a vocabulary
        return general(Config.tiny().replace(vocab_size=512))
    return general(name)


def general(config, steps=400, rows=8, length=256):     # -> Recipe
    """Text and nothing else, for whatever config: to see a loss fall."""
    return Recipe(config, (Stage("text", steps, rows, length, {"text": 1.0}, rate=0.02, end_rate=0.002, warm_up=20,
                                 decay_steps=steps // 2),))


def mini():                                             # -> Recipe
    """The one that makes the bundled model."""
    config = Config.mini()
    csa = [layer for layer in range(config.n_layers) if config.layer_kind(layer) == "csa"]
    return Recipe(config, (*_fetching((0, csa[-1])), *_speaking()))


def _fetching(layers):
    """Two layers, a window and a CSA: first to fetch what stands near, then from afar. All at once nothing would be learnt."""
    def stage(name, steps, rows, length, difficulty, **more):
        return Stage(name, steps, rows, length, {"facts": 1.0}, rate=0.01, difficulty=difficulty, layers=layers, mtp_weight=0.0,
                     **more)
    return (stage("keys of one token", 150, 32, 128, Difficulty((1,), gap=2, far=0.0), warm_up=30, until=0.75),
            stage("keys of two", 60, 32, 128, Difficulty((1, 2), gap=3, far=0.0), until=0.75),
            stage("beyond the window", 150, 16, 256, Difficulty((1, 2, 3), gap=4, far=0.5), until=0.75),
            stage("longer rows", 60, 8, 512, Difficulty((2, 3), gap=6), until=0.75),
            stage("sure of it", 60, 16, 512, Difficulty(), until=0.97))


def _speaking():
    """All layers: text, and not to forget. MTP learns from the third stage on; three stages round weights as they ship.

    With texts of this size nothing needs heavy entries or sinks: the window and the picks say all there is. The last three
    stages also ask for something that stands nowhere, the length of the text; the first of them begins where HCA and sinks can
    learn it.
    """
    drills = {"copying": 0.04, "brackets": 0.04, "sums": 0.04}
    mix, fetching = {"text": 0.62, "facts": 0.26, **drills}, {"text": 0.5, "facts": 0.38, **drills}
    counting = {"lengths": 0.4, "text": 0.33, "facts": 0.21, "copying": 0.02, "brackets": 0.02, "sums": 0.02}
    everything = {"lengths": 0.16, "text": 0.48, "facts": 0.28, "copying": 0.03, "brackets": 0.02, "sums": 0.03}
    hard = Difficulty(gap=5, similar=0.6)
    rare = Difficulty(gap=5, similar=0.5, spread=8)
    return (Stage("all layers", 100, 16, 512, mix, 0.015, warm_up=15, mtp_weight=0.0),
            Stage("what the indexer picks", 160, 16, 512, mix, 0.015, difficulty=hard, mtp_weight=0.0, index_phase="sparse"),
            Stage("all entries, two tokens ahead", 200, 16, 512, fetching, 0.012, difficulty=rare),
            Stage("longer rows, picked entries", 220, 4, 2048, fetching, 0.012, 0.003, decay_steps=160, difficulty=rare,
                  index_phase="sparse"),
            Stage("in 4 and 8 bits", 100, 4, 2048, fetching, 0.003, 0.0003, decay_steps=100, difficulty=rare, mtp_weight=0.1,
                  index_phase="sparse", quantise="released"),
            Stage("how long the text is", 180, 4, 2048, counting, 0.005, 0.0015, warm_up=5, decay_steps=80, difficulty=rare,
                  mtp_weight=0.2, index_phase="sparse", first_use=True, sink_rate=10.0),
            Stage("all of it, in 4 and 8 bits", 120, 4, 2048, everything, 0.002, 0.0001, decay_steps=110, difficulty=rare,
                  mtp_weight=0.2, index_phase="sparse", quantise="released", sink_rate=10.0),
            Stage("keys that are near each other", 100, 4, 2048, {"facts": 0.5, "text": 0.36, "lengths": 0.14}, 0.002, 0.0001,
                  warm_up=5, decay_steps=90, difficulty=replace(rare, similar=0.7), mtp_weight=0.2, index_phase="sparse",
                  quantise="released", sink_rate=10.0))
