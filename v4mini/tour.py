"""What `v4mini tour` says, paragraph by paragraph. Not here: printing (cli/)."""

import numpy as np

from v4mini.config import Config
from v4mini.inference.generate import generate
from v4mini.inference.load import load
from v4mini.inspection import describe_layers
from v4mini.planning.counts import total
from v4mini.planning.memory import cache_bytes, plain_cache_bytes
from v4mini.shapes import Refused
from v4mini.text.tokenizer import StreamDecoder, Tokenizer
from v4mini.trace import Trace
from v4mini.viz.tables import human_bytes, human_count, text_table
from v4mini.weights.store import open_store

KINDS = {"window": "window", "csa": "CSA", "hca": "HCA"}
SENTENCE = "def needle(haystack):\n    return haystack.index('needle')\n"
WHAT_V4_IS = """\
DeepSeek-V4 in ten lines
 1. A token becomes four copies of one vector: four residual streams instead of one.
 2. Each layer reads a mix of the streams, works, writes back, and mixes them by a doubly stochastic matrix (mHC).
 3. Attention has one key per token for all heads, and the key is the value too.
 4. Every layer looks back 128 tokens, row by row: the window.
 5. Some layers also keep one entry per 128 tokens, and read all of them (HCA).
 6. Others keep one entry per 4 tokens; a small indexer picks the few hundred worth reading (CSA).
 7. A softmax may put its weight nowhere: each head has a sink.
 8. Then experts: a gate sends each token to 6 of 256, and one more is shared. The first layers choose by token id.
 9. Experts are stored in 4 bits, the other matrices in 8.
10. So a million tokens of context fit where others keep a hundred thousand."""


def tour(path, backend="auto"):                         # yields str
    """Open a small checkpoint and look around. Raises Refused if it is not there."""
    if not path.exists():
        raise Refused(f"tour: no checkpoint in {path}. Run it from an installation made with pip install -e in a checkout.")
    yield WHAT_V4_IS + "\n"
    model = load(path, backend)
    tokenizer = Tokenizer.load(path)
    yield _bundled(path, model) + "\n"
    ids = [model.config.bos_id, *tokenizer.encode(SENTENCE * 12)]
    trace = Trace("attn.weights")
    model.logits(ids, trace)
    yield _where_layers_look(model.config, trace, len(ids)) + "\n"
    yield _experts(model.config, tokenizer, ids, trace) + "\n"
    yield _memory() + "\n"
    yield _speech(model, tokenizer) + "\n"
    yield ("Next: v4mini lab opens the lessons at 00. v4mini verify proves that this is V4. "
           "v4mini inspect flash shows the real one's size.")


def is_random(path):                                    # -> bool: weights that nobody has trained
    with open_store(path) as store:
        return store.metadata.get("weights", "").startswith("random")


def _bundled(path, model):
    count = total(model.config)
    note = "Its weights are trained."
    if is_random(path):
        note = "Its weights are random, not trained: what it shows is the machine, not sense."
    return (f"The bundled model: {human_count(count.total)} parameters, {human_count(count.active)} of them active per token, "
            f"in the released format.\n{describe_layers(model.config)}.\n{note}")


def _where_layers_look(config, trace, T):
    rows = []
    for layer in range(config.n_layers):
        shares = (part[-1].sum(-1).mean() if part.ndim == 3 else part[-1].mean()     # last token, mean of heads
                  for part in trace[f"layers.{layer}.attn.weights"])
        kind = config.layer_kind(layer)
        far = "-" if kind == "window" else _far(config, kind, trace, layer, T // config.ratio(layer))
        rows.append([layer, KINDS[kind], f"last {min(T, config.window_size)} tokens", far, *[f"{share:.0%}" for share in shares]])
    head = ["layer", "kind", "rows", "entries read", "on rows", "on entries", "on the sink"]
    return f"Where the last of {T} tokens looks, mean of {config.n_heads} heads\n" + text_table(head, rows)


def _far(config, kind, trace, layer, finished):
    if kind == "hca":
        return f"all {finished}, each 128 tokens" if config.ratio(layer) == 128 else f"all {finished}"
    picks = trace[f"layers.{layer}.attn.index_picks"][-1]
    return f"{int((picks >= 0).sum())} of {finished}, chosen by the indexer"


def _experts(config, tokenizer, ids, trace, shown=12):
    head = ["token", *[f"{'hash' if config.is_hash_layer(i) else 'layer'} {i}" for i in range(config.n_layers)]]
    rows = []
    for t in range(1, 1 + shown):
        chosen = [trace[f"layers.{i}.ffn.experts"][t] for i in range(config.n_layers)]
        rows.append([tokenizer.piece(ids[t]), *[" ".join(map(str, np.sort(c))) for c in chosen]])
    return (f"Which {config.n_activated_experts} of {config.n_routed_experts} experts the first tokens go to, layer by layer\n"
            + text_table(head, rows))


def _memory():
    rows = []
    for name, config in (("V4-Flash", Config.flash()), ("V4-Pro", Config.pro())):
        n = 1 << 20
        ours = (cache_bytes(config, 2 * n, "released") - cache_bytes(config, n, "released")) / n
        theirs = plain_cache_bytes(1, config.n_layers)
        rows.append([name, round(ours), theirs, f"{ours / theirs:.1%}", human_bytes(ours * n), human_bytes(theirs * n)])
    head = ["model", "bytes per token", "plain transformer's", "share", "1,048,576 tokens", "plain transformer's"]
    return ("What a token of context costs in memory, against a plain transformer with as many layers\n"
            "(8 key-value heads of 128, BF16)\n" + text_table(head, rows))


def _speech(model, tokenizer, prompt="import ", tokens=24):
    stream = StreamDecoder(tokenizer)
    ids = [model.config.bos_id, *tokenizer.encode(prompt)]
    text = "".join(stream.put(token) for token in generate(model, ids, tokens, temperature=0.8)) + stream.end()
    return f"It continues {prompt!r} with\n  {text!r}"
