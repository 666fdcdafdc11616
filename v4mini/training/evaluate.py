"""What a trained model can do, measured on text it has never seen.

    bits per byte       how well it predicts text, beside what xz makes of the same text
    needles             facts fetched from a haystack of any length
    lengths             texts whose length it tells, in doublings
    agreement           how often the MTP block's guess is the model's own next choice
    recall              how many of the entries that attention weighs most the indexers pick

Not here: training's own losses (loop.py), printing (card.py).
"""

import lzma
import time
from dataclasses import replace
from functools import partial

import numpy as np

from v4mini.inference.cached import CachedModel
from v4mini.layers.finite import finite_logits
from v4mini.shapes import Refused
from v4mini.training.batch import Batch
from v4mini.training.facts import VALUE, Marks, haystack
from v4mini.training.init import initial_values
from v4mini.training.lengths import drawn_length, length_row
from v4mini.training.step import Settings, loss_and_gradients
from v4mini.weights.tree import build

CHUNK = 512                 # tokens read at once
PREFIX = 8                  # a question stands behind fewer tokens of text than that
QUESTION = 16               # tokens of a question with its text and its answer, at most
DEPTHS = 8                  # parts of a haystack, oldest first
LENGTHS, LONGEST = 256, 2048        # texts whose length is asked for, and tokens of the longest


def bits_per_byte(model, tokenizer, texts, progress=None):      # -> {"bits_per_byte", "bytes", "tokens", "nats", "xz"}
    """Bits the model needs for each byte of the texts: each read from its beginning to its end, both predicted.

    "xz" is what `xz -9e` makes of all texts together: it has seen none before, the model was trained on others of their kind.
    """
    texts = list(texts)
    nats, tokens = 0.0, 0
    raw = [text.encode("utf-8") for text in texts]
    nbytes = sum(map(len, raw))
    if not nbytes:
        raise Refused("bits_per_byte: expected some text, got none.")
    for number, text in enumerate(texts):
        ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
        nats += float(nll(model, ids).sum())
        tokens += len(ids) - 1
        if progress:
            progress(number + 1, len(texts))
    packed = len(lzma.compress(b"".join(raw), preset=9 | lzma.PRESET_EXTREME))
    return {"bits_per_byte": nats / np.log(2) / nbytes, "bytes": nbytes, "tokens": tokens, "nats": nats,
            "xz": 8 * packed / nbytes}


def nll(model, ids):                                    # [T] -> [T - 1] float64, nats
    """-log p of each token after the first, given all before it. Reads in chunks, so a text may be of any length."""
    cache = model.new_cache()
    nats = []
    for start in range(0, len(ids) - 1, CHUNK):
        piece = ids[start: start + CHUNK]
        with model.appending([piece], [cache]) as (flat, spans):
            logits = finite_logits(model, partial(_scores, flat, spans)).astype(np.float64)
        targets = np.asarray(ids[start + 1: start + 1 + len(piece)])
        logits = logits[: len(targets)]
        highest = logits.max(axis=1)
        log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
        nats.append(log_sum - logits[np.arange(len(targets)), targets])
    return np.concatenate(nats)


def _scores(ids, spans, model):
    return model.head(model.streams(ids, spans), model.weights.head)


def needles(model, tokenizer, text, tokens, questions=64, others=0, similar=0.0, haystacks=1, progress=None):  # -> dict
    """Read `tokens` of text with facts at all depths once, then ask for each from a copy of that same memory; so many times.

    text [n] ids: repeated where it is shorter than the haystack. Right is an answer of which both tokens are. `others` more
    facts lie around that nobody asks for, `similar` of them one token away from another key. At the config's limit the
    haystack is shorter by the room that a question takes. Questions and seconds are those of one haystack; shares are of all.
    """
    tokens = min(tokens, model.config.max_seq_len - QUESTION)
    found = [_search(model, tokenizer, text, tokens, questions, others, similar, seed, progress) for seed in range(haystacks)]
    right, depth, read, asked, nbytes = (np.array(each) for each in zip(*found))
    by_depth = [float(right[depth == part].mean()) for part in range(DEPTHS) if (depth == part).any()]
    return {"tokens": tokens, "haystacks": haystacks, "questions": right.shape[1], "right": float(right.mean()),
            "others": others, "similar": similar, "by_depth": by_depth, "prefill_seconds": float(np.median(read)),
            "question_seconds": float(np.median(asked)), "cache_bytes": int(nbytes[0])}


def _search(model, tokenizer, text, tokens, questions, others, similar, seed, progress):
    """One haystack -> right [n] bool, depth [n] int, seconds to read it and to answer a question, bytes of its cache."""
    rng = np.random.default_rng([seed, tokens])
    marks = Marks.of(tokenizer)
    ids, facts = haystack(rng, text, marks, tokens, min(questions, tokens // 32), others, similar)
    cache, began = model.new_cache(), time.perf_counter()
    model.prefill(ids, cache, progress)
    read, began = time.perf_counter() - began, time.perf_counter()
    right = [_answers(model, cache, marks, text, fact, rng) for fact in facts]
    asked = (time.perf_counter() - began) / len(facts)
    return right, [fact.place * DEPTHS // tokens for fact in facts], read, asked, cache.nbytes


def _answers(model, cache, marks, text, fact, rng):     # -> bool
    start = int(rng.integers(len(text) - PREFIX))
    question = [*text[start: start + int(rng.integers(PREFIX))].tolist(), marks.ask, *fact.key, marks.is_]
    own = cache.copy()
    logits = model.prefill(question, own)
    for number in range(VALUE):
        if int(logits.argmax()) != fact.value[number]:
            return False
        if number + 1 < VALUE:
            logits = model.step(fact.value[number], own)
    return True


def lengths(model, tokenizer, text, questions=LENGTHS, longest=LONGEST, seed=0):      # text [n] ids -> dict
    """The share of texts, log-uniformly long and at most `longest` tokens, at whose end the model names the right doubling.

    by_letter: the same for each answer there is, the shortest texts first. commonest: what always giving the commonest one gives.
    """
    longest = min(longest, model.config.max_seq_len)
    rng = np.random.default_rng([seed, longest])
    marks = Marks.of(tokenizer)
    rows = [length_row(rng, text, marks, drawn_length(rng, longest))[0] for _ in range(questions)]
    answers = np.array([ids[-1] for ids in rows])
    right = np.array([model.prefill(ids[:-1], model.new_cache()).argmax() for ids in rows]) == answers
    letters = [answers == letter for letter in marks.letters if (answers == letter).any()]
    return {"longest": longest, "questions": questions, "right": float(right.mean()),
            "by_letter": [float(right[own].mean()) for own in letters],
            "commonest": max(float(own.mean()) for own in letters)}


def mtp_agreement(model, sequences):                    # [[T] ids, ...] -> float, 0 to 1
    """How often the MTP block's best guess of the token after next is what the model itself then finds best.

    That is the share of one-token drafts a greedy speculative decoder would accept.
    """
    same = count = 0
    for ids in sequences:
        own = model.logits(ids)[1:].argmax(axis=1)      # row t: after tokens 0 .. t + 1
        drafts = model.mtp_logits(ids).argmax(axis=1)
        same, count = same + int((own == drafts).sum()), count + len(drafts)
    return same / count


def router_load(model, sequences):                      # -> {layer: [E] share of the mean load}
    """How evenly each layer's experts are used on these texts: 1 is the mean."""
    from v4mini.trace import Trace

    loads = {layer: np.zeros(model.config.n_routed_experts) for layer in range(model.config.n_layers)}
    for ids in sequences:
        trace = Trace()
        model.logits(ids, trace)
        for layer, load in loads.items():
            load += np.bincount(trace[f"layers.{layer}.ffn.experts"].ravel(), minlength=len(load))
    return {layer: load / load.mean() for layer, load in loads.items()}


def with_random_indexers(model, seed=0):                # CachedModel -> CachedModel
    """The same model, but its indexers look where untrained ones look."""
    fresh = build(model.config, initial_values(model.config, np.random.default_rng(seed)).get).layers
    layers = tuple(replace(own, attn=replace(own.attn, indexer=new.attn.indexer))
                   for own, new in zip(model.weights.layers, fresh))
    return CachedModel(model.config, replace(model.weights, layers=layers), model.ops)


def index_recall(config, params, sequences, engine="auto"):     # {released name: float32 array}, [[T] ids, ...] -> {layer: float}
    """Of the index_topk entries that attention weighs most when it may read all, the share that the indexer picks.

    Only tokens that see more than index_topk entries count, each as much as it looks at entries (losses.recall); rows too
    short to have one say nothing.
    """
    settings = Settings(mtp_weight=0.0, index_phase="dense", recall=True, engine=engine)
    found = [loss_and_gradients(config, params, Batch.of([ids]), settings).recall for ids in sequences]
    layers = sorted({layer for one in found for layer in one})
    return {layer: float(np.mean([one[layer] for one in found if layer in one])) for layer in layers}
