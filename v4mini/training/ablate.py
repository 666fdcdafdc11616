"""Ablations: what a trained model loses when one of its parts is taken away, without training it again.

Each part is a class of one method: the operation of a Backend that it changes. Mixed into the class of any engine, it runs the
same weights without that part. Not here: the measures themselves (evaluate.py), the card (card.py).
"""

import numpy as np

from v4mini.shapes import Refused
from v4mini.training.evaluate import lengths, mtp_agreement, needles, nll

TOKENS, SKIPPED = 8192, 512             # of held-out text, read as one context; the first ones have hardly any entries to read
BLOCK = 256                             # tokens whose mean counts as one observation for the standard error
NEEDLES = 4096                          # tokens of the haystack
ROW = 512                               # tokens read at once to judge the MTP block


class NoHeavyEntries:
    """HCA layers read their window only"""

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        far = {"entries": entries, "picks": picks} if picks is not None else {}
        return super().attend(q, rows, first, sink, window, scale, **far)


class NoPicks:
    """CSA layers read their window only"""

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        far = {"entries": entries, "visible": visible} if picks is None and entries is not None else {}
        return super().attend(q, rows, first, sink, window, scale, **far)


class NoSinks:
    """weights sum to 1 over rows and entries alone"""

    def attend(self, q, rows, first, sink, *rest, **far):
        return super().attend(q, rows, first, sink - np.float32(np.inf), *rest, **far)


class NoWindow:
    """a token reads its own row and entries only"""

    def attend(self, q, rows, first, sink, window, scale, **far):
        own = np.arange(len(rows) - len(q), len(rows))
        return super().attend(q, rows, own, sink, 1, scale, **far)


class NoSharedExpert:
    """the shared expert gives nothing"""

    def expert(self, x, w, limit):
        return x * np.float32(0)


class NoRoutedExperts:
    """the chosen experts give nothing"""

    def experts(self, x, chosen, weights, pool, limit):
        return x * np.float32(0)


class NoHash:
    """hash layers choose by score, as the others do"""

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        if chosen is not None:
            bias = np.zeros(scores.shape[1], np.float32)
        return super().route(scores, route_scale, k, bias=bias)


class NoBias:
    """routers choose by score alone"""

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        return super().route(scores, route_scale, k, bias=None if bias is None else bias * np.float32(0), chosen=chosen)


class NoMixing:
    """streams keep to themselves: comb is the identity"""

    def hc_pre(self, streams, hc, iters, eps, norm_eps):
        u, post, comb = super().hc_pre(streams, hc, iters, eps, norm_eps)
        return u, post, comb * np.float32(0) + self.constant(IDENTITY[comb.shape[-1]])


class NoMTP:
    """its attention and experts give nothing"""

    def at(self, layer):
        engine = super().at(layer)
        return engine if layer < self.n_layers else _mixed(engine, _Silent, self.n_layers)


class _Silent:
    def hc_post(self, y, streams, post, comb):
        return streams


class _Identities(dict):                                # a constant has to be the same object at every call
    def __missing__(self, M):
        self[M] = np.eye(M, dtype=np.float32)
        return self[M]


IDENTITY = _Identities()
PARTS = {"HCA entries": NoHeavyEntries, "CSA picks": NoPicks, "sinks": NoSinks, "window": NoWindow,
         "shared expert": NoSharedExpert, "routed experts": NoRoutedExperts, "hash tables": NoHash, "router bias": NoBias,
         "mHC mixing": NoMixing, "MTP block": NoMTP}


def without(model, part):               # a Model, a name of PARTS -> the same weights without that part
    """Raises Refused for another name."""
    if part not in PARTS:
        raise Refused(f"without: expected one of {', '.join(PARTS)}, got {part!r}.")
    engine = _mixed(model.ops, PARTS[part], model.config.n_layers)
    return type(model)(model.config, model.weights, engine)


def _mixed(engine, part, n_layers):
    kind = type(part.__name__, (part, type(engine)), {})
    mixed = kind(engine.simulate)
    mixed.n_layers = n_layers
    return mixed


def ablations(model, tokenizer, texts, questions=128, tokens=TOKENS, haystack=NEEDLES, progress=None):      # -> dict
    """Loss on held-out text and needles of the whole model, then without each part that it has.

    loss: mean of -log p in nats over tokens SKIPPED to `tokens` of the texts, one behind the other. cost: how much more that is
    than the whole model's; error: the standard error of the cost, over blocks of BLOCK tokens. right: share of `questions` facts
    fetched from a haystack of that many tokens; lengths: share of twice as many texts whose length is told; both not there for 0
    questions. mtp: share of the MTP block's guesses that are the model's own next choice; for the MTP block alone, since no next
    token depends on it.
    """
    ids = _ids(tokenizer, texts, tokens)
    told = progress or (lambda what: None)
    told("the whole model")
    own = nll(model, ids)[SKIPPED:]
    whole = {"loss": float(own.mean()), **_right(model, tokenizer, ids, haystack, questions)}
    parts = [part for part in PARTS if _has(model.config, part)]
    if "MTP block" in parts:
        whole["mtp"] = _mtp(model, ids)
    found = []
    for part in parts:
        told(f"without {part}")
        less = without(model, part)
        extra = nll(less, ids)[SKIPPED:] - own
        row = {"part": part, "what": PARTS[part].__doc__, "operation": _operation(part), "loss": float((own + extra).mean()),
               "cost": float(extra.mean()), "error": _standard_error(extra), **_right(less, tokenizer, ids, haystack, questions)}
        found.append(row | ({"mtp": _mtp(less, ids)} if part == "MTP block" else {}))
    return {"tokens": len(ids) - 1 - SKIPPED, "skipped": SKIPPED, "haystack": haystack, "questions": questions, "whole": whole,
            "without": found}


def _ids(tokenizer, texts, tokens):
    ids = []
    for text in texts:
        ids += [tokenizer.bos_id, *tokenizer.encode(text)]
        if len(ids) > tokens:
            return np.array(ids[: tokens + 1])
    raise Refused(f"ablations: expected at least {tokens:,} tokens of held-out text, got {len(ids):,}.")


def _right(model, tokenizer, ids, haystack, questions):
    if not questions:
        return {}
    return {"right": needles(model, tokenizer, ids, haystack, questions)["right"],
            "lengths": lengths(model, tokenizer, ids, 2 * questions)["right"]}


def _mtp(model, ids):
    return mtp_agreement(model, [ids[start: start + ROW] for start in range(0, len(ids) - ROW + 1, ROW)])


def _has(config, part):
    kinds = {config.layer_kind(layer) for layer in range(config.n_layers)}
    there = {"HCA entries": "hca" in kinds, "CSA picks": "csa" in kinds, "hash tables": config.n_hash_layers > 0,
             "router bias": config.n_hash_layers < config.n_layers, "MTP block": config.n_mtp_layers > 0}
    return there.get(part, True)


def _operation(part):                   # the one method of its class
    return next(name for name in vars(PARTS[part]) if not name.startswith("_"))


def _standard_error(extra):             # [n] -> float
    blocks = extra[: len(extra) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=1)
    return float(blocks.std(ddof=1) / np.sqrt(len(blocks)))
