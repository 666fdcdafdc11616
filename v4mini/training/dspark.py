"""Learning to draft: the DSpark blocks learn from what a finished model wants, and the model itself stays as it is.

One text, read once by the model, is many rounds: after any token p (an anchor's predecessor) a block of G tokens is put, reads
the main rows up to p and itself, and must predict what the model says at p + 1 .. p + G. All rounds of a text share its main rows
and go through the blocks together.

    loss = 0.1 cross entropy + 0.9 distance + 1.0 confidence,   draft k weighs exp(-(k - 1) / decay)

distance is the total variation 1/2 sum |q - p| of draft q and model p, which is the chance of a refusal; the confidence of draft
k is held by binary cross entropy to 1 minus it. Source: arXiv:2607.05147, section 3.
Inferred: decay = G - 1 scaled as DeepSpec's (4 at a block of 7), the same main rows for all rounds, texts written by people
instead of the model's own, gradients of the confidence loss run into the blocks. Not known: what DeepSeek's drafter was trained
on. Not here: the blocks (layers/dspark.py), optimisers (optimisers.py).
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from v4mini.layers.dspark import beside, confidence, markov, parallel_stage
from v4mini.layers.sequences import NoMemory
from v4mini.model import Model
from v4mini.training.gradients import choose_gradients
from v4mini.training.optimisers import Optimisers, clip
from v4mini.training.parameters import leaves
from v4mini.training.tape import Tape
from v4mini.training.value import Value
from v4mini.weights.tree import build

DECAY_SHARE = 4 / 7             # of the block size


@dataclass(frozen=True)
class Rounds:
    """Many rounds over one text, side by side. R rounds of G tokens: A = R G rows, a round's tokens one after the other."""

    taps: np.ndarray            # [T, n D]
    ids: np.ndarray             # [A], what the blocks read: an anchor, then noise
    positions: np.ndarray       # [A]
    picks: np.ndarray           # [A, W + G - 1], -1 for none
    previous: np.ndarray        # [A], the token before the one to predict
    targets: np.ndarray         # [A], that token
    wanted: np.ndarray          # [A, V], the model's own distribution there
    weights: np.ndarray         # [A]


def rounds_of(model, ids, anchors):                     # Model, [T] int, [R] int: places of anchors -> Rounds
    """Let the model read a text and put a round at each anchor; 1 <= anchor <= T - 1 - G, as the text must go on."""
    c = model.config
    G = c.dspark_block_size
    taps = []
    ids, (span,) = model.flatten([ids])
    streams = model.streams(ids, [(span, NoMemory())], taps=taps)
    taps = model.ops.host(beside(model.ops, taps))
    places = (np.asarray(anchors)[:, None] + np.arange(G)).ravel()                      # [A], where each row stands
    block = np.full((len(anchors), G), c.dspark_noise_token_id)
    block[:, 0] = ids[anchors]
    logits = model.ops.host(model.head(model.ops.take(streams, places), model.weights.head))
    picks = _picks(np.asarray(anchors), len(ids), G, c.window_size)
    return Rounds(taps, block.ravel(), places, picks, ids[places], ids[places + 1], softmax(logits),
                  np.tile(np.exp(-np.arange(G) / (DECAY_SHARE * G)), len(anchors)).astype(np.float32))


def _picks(anchors, T, G, window):                      # -> [A, W + G - 1]: main rows before the anchor, the round's other tokens
    before = anchors[:, None] - 1 - np.arange(window)                                   # [R, W]
    before = np.where(before >= 0, before, -1).repeat(G, axis=0)                        # [A, W]
    own = np.arange(G)
    others = np.array([own[own != i] for i in own]).reshape(G, G - 1)
    first = T + G * np.arange(len(anchors))
    return np.hstack([before, (first[:, None, None] + others).reshape(len(anchors) * G, G - 1)])


def draft_loss_and_gradients(config, params, rounds, engine="auto"):    # -> {loss: float}, {released name: array}, {layer: [E]}
    """One step: losses, the gradients of the drafter's own tensors, and how many tokens each of its experts got."""
    tape = Tape(*choose_gradients(engine))
    tape.sparse = True
    tape.spans = [slice(0, len(rounds.ids))]
    weights, found = leaves(config, params, tape)
    main_positions = np.arange(len(rounds.taps))
    h, base = parallel_stage(tape, Value(rounds.taps, tape), main_positions, rounds.ids, rounds.positions, rounds.picks, weights,
                             config, keep=lambda layer, rows: rows)
    rows, bias = markov(tape, rounds.previous, weights.dspark)
    logits = base + bias
    sure = confidence(tape, h, rows, weights.dspark)
    losses, g_logits, g_sure = draft_losses(logits.data, sure.data[:, 0], rounds.targets, rounds.wanted, rounds.weights)
    logits.add_gradient(g_logits)
    sure.add_gradient(g_sure[:, None])
    tape.backward()
    own = {name: value.gradient for name, value in found.items() if name.startswith("mtp.") and value.gradient is not None}
    return losses, own, dict(tape.load)


def draft_losses(logits, sure, targets, wanted, weights):
    """logits [A, V], sure [A] (logits), targets [A], wanted [A, V], weights [A] -> losses, gradients of logits and of sure."""
    share = (weights / weights.sum()).astype(logits.dtype)
    q = softmax(logits)
    at = np.arange(len(logits))
    apart = 0.5 * np.abs(q - wanted).sum(axis=1)                                        # [A], total variation
    surprise = -np.log(np.maximum(q[at, targets], np.finfo(q.dtype).tiny))
    chance = 1 / (1 + np.exp(-sure))
    kept = 1 - apart
    doubt = np.logaddexp(0, sure) - kept * sure         # binary cross entropy, of the logit
    losses = {"cross entropy": float(surprise @ share), "distance": float(apart @ share), "confidence": float(doubt @ share)}
    losses["loss"] = 0.1 * losses["cross entropy"] + 0.9 * losses["distance"] + losses["confidence"]
    slope = 0.5 * np.sign(q - wanted)                   # of the distance, by q; the confidence's target is taken as given
    g = 0.9 * q * (slope - (q * slope).sum(axis=1, keepdims=True)) + 0.1 * q
    g[at, targets] -= 0.1
    return losses, (g * share[:, None]).astype(logits.dtype), ((chance - kept) * share).astype(logits.dtype)


def softmax(logits):                                    # [n, V] -> [n, V]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def train_drafter(config, params, texts, steps, rate=1e-3, rounds=48, seed=0, engine="auto", report=None):     # -> params
    """Teach the DSpark blocks of `params` what the model in them wants; everything that is not mtp.* stays as it is.

    texts(rng) -> [T] int, one to learn from. rate rises over a tenth of the steps and falls to nothing as a cosine.
    report(step, losses) is called after each.
    """
    params, rng = {name: np.array(value) for name, value in params.items()}, np.random.default_rng(seed)
    run, gradients = choose_gradients(engine)
    alone = {name: value for name, value in params.items() if not name.startswith("mtp.")}
    model = Model(config, dataclasses.replace(build(config.replace(n_dspark_layers=0), alone.get), dspark=None), run)
    optimisers = Optimisers(config, params, newton_schulz=gradients.newton_schulz, update=gradients.adamw)
    for step in range(steps):
        ids = np.asarray(texts(rng))
        places = np.sort(rng.choice(np.arange(1, len(ids) - config.dspark_block_size), rounds, replace=False))
        losses, gradients, load = draft_loss_and_gradients(config, params, rounds_of(model, ids, places), engine)
        gradients, _ = clip(gradients, 1.0)
        warm = min(1.0, (step + 1) / max(1, steps // 10))
        optimisers.step(params, gradients, load, rate * warm * 0.5 * (1 + np.cos(np.pi * step / steps)))
        if report:
            report(step + 1, losses)
    return params
