"""generate: token after token, from a prompt. Not here: text (text/), drafts of several tokens at once (speculate.py)."""

import numpy as np

from v4mini.inference.sampling import Sampling, check_sampling, sample
from v4mini.inference.speculate import Decoding, Stats, check_speculation, check_speeds, speculative_tokens
from v4mini.shapes import Refused


def generate(model, ids, max_new_tokens=64, temperature=1.0, top_p=1.0, seed=0, cache=None, speculate=False, stats=None,
             speeds=None, vocabulary=None):
    """Read `ids`, then yield new tokens (ints) one by one, until one of the config's eos_ids (not yielded) or max_new_tokens.

    With `cache` the prompt continues what it holds, and it goes on to hold all tokens but the last one drawn.
    speculate: how many tokens the MTP block (True: 1) or DSpark's blocks (True: a whole block) guess ahead, so that one pass of
    the model may give several. speeds: of passes with 1, 2, ... tokens, for DSpark to guess only so far as it pays. Tokens
    follow the same distribution as without, but a seed draws another text. At temperature 0 it is the same text, up to
    draws that float32 cannot decide. stats: a speculate.Stats to be filled.
    vocabulary: how many of the head's rows stand for tokens, as the tokenizer has them; padding behind them is never drawn.
    Raises Refused for settings out of range, an empty prompt, or more tokens than the config allows.
    """
    check_sampling(temperature, top_p)
    for name, value, least in (("max_new_tokens", max_new_tokens, 1), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise Refused(f"{name}: expected a whole number, {least} or more, got {value!r}. The defaults are 64 and 0.")
    ids, _ = model.flatten([ids])
    cache = model.new_cache() if cache is None else cache
    wanted = cache.length + len(ids) + max_new_tokens - 1
    if wanted > model.config.max_seq_len:
        raise Refused(f"generate: prompt and new tokens make {wanted}, over this config's {model.config.max_seq_len} "
                      "(max_seq_len). Ask for fewer.")
    drafts = check_speculation(model, cache, speculate)
    check_speeds(model, drafts, speeds)
    sampling = Sampling(temperature, top_p, vocabulary)
    decoding = Decoding(model, cache, sampling, np.random.default_rng(seed), stats or Stats())
    if drafts:
        return speculative_tokens(decoding, ids, max_new_tokens, drafts, speeds)
    return _tokens(decoding, ids, max_new_tokens)


def _tokens(decoding, ids, max_new_tokens):
    model, cache, sampling, rng, stats = decoding
    logits = model.prefill(ids, cache)
    for number in range(max_new_tokens):
        if sampling.temperature == 0:
            stats.compare(logits[None, :sampling.vocabulary])
        token = sample(logits, rng, *sampling)
        if token in model.config.eos_ids:
            return
        yield token
        if number + 1 < max_new_tokens:
            logits = model.step(token, cache)
            stats.add(0, 1)
