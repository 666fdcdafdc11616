"""One training step: losses and gradients of a batch. The door between a loop and everything that differentiates.

Not here: what is done with gradients (the optimisers), batches (batch.py).
"""

from dataclasses import dataclass, replace

import numpy as np

from v4mini.model import Model
from v4mini.shapes import Refused
from v4mini.training.gradients import choose_gradients
from v4mini.training.parameters import check_parameters, leaves
from v4mini.training.tape import PositionedSequence, Tape


@dataclass(frozen=True)
class Settings:
    """What a step minimises, and how. Defaults: V4 report 4.2; index_weight is this project's choice."""

    mtp_weight: float = 0.3             # of the MTP block's loss; 0: the block does not run
    balance_weight: float = 1e-4        # of the sequence-wise balance loss of learned routers
    index_weight: float = 1.0           # of the indexers' loss; 0: they do not learn
    index_phase: str = "dense"          # CSA layers read all visible entries ("dense") or the indexer's picks ("sparse")
    quantise: str | None = None         # "released": the forward rounds weights and activations as the release does
    recall: bool = True                 # in the dense phase, measure how well indexers predict attention
    engine: str = "auto"                # "numba", "numpy"; auto takes the fastest

    def __post_init__(self):
        if self.index_phase not in ("dense", "sparse"):
            raise Refused(f"index_phase: expected 'dense' or 'sparse', got {self.index_phase!r}.")
        if self.quantise not in (None, "released"):
            raise Refused(f"quantise: expected None or 'released', got {self.quantise!r}.")


@dataclass(frozen=True)
class Step:
    """What one step found. `loss` of losses is their weighted sum, the one that gradients belong to.

    gradients: by tensor name, float32; zeros for an expert that nobody chose. Tensors that took no part are absent: a learned
    router's bias always, the indexers if index_weight is 0, the MTP block if mtp_weight is 0.
    load: tokens per expert of each learned router; recall: of each indexer, 0 to 1 (losses.recall). The MTP block is layer
    n_layers.
    """

    losses: dict[str, float]
    gradients: dict[str, np.ndarray]
    load: dict[int, np.ndarray]
    recall: dict[int, float]


def loss_and_gradients(config, params, batch, settings=None, routes=None):      # {released name: float32 array}, Batch -> Step
    """Run the batch forward and backward. Params are only read. Raises Refused for what does not fit the config.

    routes: from `routes_of`, to be asked instead of those that learned routers choose now (anticipatory routing).
    """
    settings = settings or Settings()
    tape, found, model = _ready(config, params, batch, settings, routes)
    losses = _forward(model, tape, batch, settings) | _side_losses(tape, settings)
    tape.backward()
    weights = {"next": 1.0, "mtp": settings.mtp_weight, "balance": settings.balance_weight, "index": settings.index_weight}
    losses["loss"] = sum(weights[name] * loss for name, loss in losses.items())
    gradients = {name: value.gradient for name, value in found.items() if value.gradient is not None}
    recall = {layer: sum(hits) / sum(masses) for layer, pairs in tape.recall.items()
              for hits, masses in [zip(*pairs)] if sum(masses)}
    return Step(losses, gradients, tape.load, recall)


def routes_of(config, params, batch, settings=None):    # -> {layer: [T, K] int64}
    """Which experts learned routers choose for a batch: its way forward, and nothing more.

    Anticipatory routing asks this some steps before the batch is learnt from. A router and the experts it sends tokens to then no
    longer answer to each other within one step, which is how V4 came through spikes of its loss. Source: V4 report 4.2.
    """
    settings = replace(settings or Settings(), index_weight=0.0, recall=False)
    tape, _, model = _ready(config, params, batch, settings)
    _forward(model, tape, batch, settings)
    return tape.chosen


def _ready(config, params, batch, settings, routes=None):               # -> Tape, {name: Value}, Model
    check_parameters(config, params)
    check_batch(config, batch)
    engine, gradients = choose_gradients(settings.engine)
    tape = Tape(engine, gradients, settings.quantise, settings.index_phase == "sparse", settings.index_weight > 0,
                settings.recall, routes)
    tree, found = leaves(config, params, tape, settings.quantise)
    return tape, found, Model(config, tree, tape)


def check_batch(config, batch):
    """Refuse ids outside the vocabulary, positions outside the context, and jumps inside a block that becomes an entry."""
    if batch.ids.min() < 0 or batch.ids.max() >= config.vocab_size:
        raise Refused(f"batch: expected ids 0 to {config.vocab_size - 1}, got {batch.ids.min()} to {batch.ids.max()}.")
    if batch.positions.max() >= config.max_seq_len:
        raise Refused(f"batch: expected positions below {config.max_seq_len} (max_seq_len), got {batch.positions.max()}.")
    for ratio in sorted({*config.compress_ratios} - {0}):
        for span in batch.spans:
            order = np.arange(span.stop - span.start)
            at = batch.positions[span]
            whole = at[order // ratio * ratio] + order % ratio == at
            if not whole.all() or (at[::ratio] % ratio).any():
                raise Refused(f"batch: expected each block of {ratio} tokens on {ratio} neighbouring positions that start at "
                              f"a multiple of {ratio}. Let sequences start and jump by multiples of 128.")


def _forward(model, tape, batch, settings):             # -> {"next": ..., "mtp": ...}; seeds the gradients of the logits
    tape.spans = batch.spans
    streams = model.streams(batch.ids, [(span, PositionedSequence(batch.positions[span])) for span in batch.spans])
    tokens, targets = batch.after(1)
    logits = model.head(streams, model.weights.head)
    losses = {"next": _next_token_loss(tape, logits, tokens, batch.ids[targets], batch.weights[tokens])}
    if settings.mtp_weight and model.weights.mtp is not None:
        losses["mtp"] = _mtp(model, tape, batch, streams, settings.mtp_weight)
    return losses


def _next_token_loss(tape, logits, rows, targets, weights, share=1.0):         # -> loss; seeds the gradient of the logits
    """Cross entropy of those rows of logits [T, V], which predict targets; `share` of it counts. Other rows weigh nothing."""
    of, weigh = np.zeros(len(logits), np.int64), np.zeros(len(logits), weights.dtype)
    of[rows], weigh[rows] = targets, weights
    loss, g = tape.gradients.cross_entropy(logits.data, of, weigh)
    if share != 1:
        g *= g.dtype.type(share)
    logits.add_gradient(g)
    return loss


def _mtp(model, tape, batch, streams, share):           # -> loss; seeds the gradient of its logits
    """Position t reads its streams and token t + 1, and predicts token t + 2: so its weight is that of token t + 1."""
    tokens, nexts = batch.after(1)
    lengths = [n for n in np.diff(batch.ends, prepend=0) - 1 if n]
    tape.spans = [slice(int(end - n), int(end)) for end, n in zip(np.cumsum(lengths), lengths)]
    sequences = [(span, PositionedSequence(batch.positions[tokens[span]])) for span in tape.spans]
    streams = model.mtp_streams(tape.take(streams, tokens), batch.ids[nexts], sequences)
    logits = model.head(streams, model.weights.mtp.head)
    rows = np.flatnonzero(np.isin(tokens, batch.after(2)[0]))
    at = tokens[rows]
    return _next_token_loss(tape, logits, rows, batch.ids[at + 2], batch.weights[at + 1], share)


def _side_losses(tape, settings):                       # -> {"balance": ..., "index": ...}; seeds their gradients
    losses = {}
    for name, weight, sides in (("balance", settings.balance_weight, tape.balance), ("index", settings.index_weight, tape.index)):
        mass = {}
        for side in sides:
            mass[side.layer] = mass.get(side.layer, 0.0) + side.mass
        for side in sides:
            if mass[side.layer] > 0 and weight:
                side.value.add_gradient(weight / mass[side.layer])
            losses[name] = losses.get(name, 0.0) + side.value.data / max(mass[side.layer], np.finfo(np.float32).tiny)
    return losses

