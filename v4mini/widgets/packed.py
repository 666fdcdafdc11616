"""What the page of an explorer is sent: plain values, and arrays as bytes. The page reads them by the names used here.

Not here: what the arrays mean (reading.py, corpus.py), the page itself (routing.js).
"""

import numpy as np

NEXT = 8                        # next tokens that are shown


def pack(array, dtype):                                 # -> {shape, dtype, bytes}, which ipywidgets sends as one buffer
    array = np.ascontiguousarray(array, dtype)
    return {"shape": list(array.shape), "dtype": np.dtype(dtype).name, "bytes": array.tobytes()}


def pack_reading(reading, tokenizer=None, before=None):         # Reading, ..., the Reading before a change -> dict
    """A reading. before: whose probabilities stand beside those of the next tokens."""
    layers = reading.layers
    packed = {"source": reading.source, "ids": reading.ids, "pieces": reading.pieces, "experts": reading.n_experts,
              "kinds": [own.kind for own in layers], "left_out": reading.left_out,
              "chosen": pack(_padded([own.chosen for own in layers], -1), "int16"),
              "load": pack(reading.load, "int32")}
    for name in ("scores", "affinities", "routed", "shared"):
        if getattr(layers[0], name) is not None:
            packed[name] = pack([getattr(own, name) for own in layers], "float32")
    if layers[0].weights is not None:
        packed["weights"] = pack(_padded([own.weights for own in layers], 0), "float32")
        nothing = np.full(reading.n_experts, np.nan, np.float32)
        packed["bias"] = pack([nothing if own.bias is None else own.bias for own in layers], "float32")
    return packed | _next(reading, tokenizer, before or reading)


def pack_corpus(corpus, n_experts):                     # Corpus -> dict
    """For each layer and expert its load and top tokens: [text, id, times, occurrences, in the first half, in the second]."""
    return {"tokens": len(corpus.ids), "load": pack(corpus.load(n_experts), "int32"),
            "top": [[[[corpus.pieces[id], id, *rest] for id, *rest in corpus.top(layer, expert)] for expert in range(n_experts)]
                    for layer in range(len(corpus.chosen))]}


def _next(reading, tokenizer, before):
    if reading.logits is None or tokenizer is None:
        return {}
    p, was = reading.probabilities(), before.probabilities()
    order = np.argsort(-p, axis=1, kind="stable")[:, :NEXT]
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(was > 0, was * np.log(was / p), 0).sum(axis=1)
    return {"next_ids": pack(order, "int32"), "next_pieces": {int(i): tokenizer.piece(int(i)) for i in np.unique(order)},
            "next_p": pack(np.take_along_axis(p, order, 1), "float32"),
            "next_was": pack(np.take_along_axis(was, order, 1), "float32"),
            "apart": pack(np.maximum(apart, 0), "float32")}


def _padded(arrays, fill):                              # L times [T, K'] -> [L, T, K], K the largest of them
    K = max(array.shape[1] for array in arrays)
    return np.stack([np.pad(array, ((0, 0), (0, K - array.shape[1])), constant_values=fill) for array in arrays])
