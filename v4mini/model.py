"""Model: token ids in, logits out; nothing is remembered.

Not here: caches, prefill, step, sampling (inference/).
"""

import numpy as np

from v4mini.layers.block import block
from v4mini.layers.dspark import tap
from v4mini.layers.finite import finite_logits
from v4mini.layers.sequences import NoMemory, Sequences
from v4mini.shapes import Refused
from v4mini.trace import Note


class Model:
    """A config, its weights, and the engine that runs them.

    Several sequences share one flat token axis, each a slice of it: there is no padding. Logits that are handed out are NumPy
    arrays; what `streams`, `mtp_streams` and `head` give is the engine's own.
    """

    def __init__(self, config, weights, ops):
        self.config, self.weights, self.ops = config, ops.place(weights), ops

    def logits(self, ids, trace=None):                  # [T] int -> [T, V] float32
        """Scores of the next token after each position. Raises Refused for ids that are not tokens, and for scores that are not
        finite, with the layer and tensor where that arose.
        """
        return self.logits_many([ids], trace)[0]

    def logits_many(self, sequences, trace=None):       # [[T1], [T2], ...] -> [[T1, V], [T2, V], ...]
        """The same for several sequences at once, each as if it were alone."""
        ids, spans = self.flatten(sequences)
        pairs = [(span, NoMemory()) for span in spans]
        logits = finite_logits(self, lambda model: model.head(model.streams(ids, pairs, trace), model.weights.head))
        return [logits[span] for span in spans]

    def mtp_logits(self, ids, trace=None):              # [T] int -> [T - 1, V] float32
        """Scores of the token after next: row t has seen tokens 0..t+1 and predicts token t + 2.

        The MTP block reads the main streams at t and token t + 1. Source: reference inference/model.py, MTPBlock.
        """
        if self.weights.mtp is None:
            raise Refused("mtp_logits: this checkpoint has no MTP block (n_mtp_layers = 0). Load one that has.")
        ids, (span,) = self.flatten([ids])
        if len(ids) < 2:
            raise Refused(f"mtp_logits: expected at least 2 tokens, got {len(ids)}. The MTP block reads each next token.")
        every, all_but_one = [(span, NoMemory())], [(slice(0, len(ids) - 1), NoMemory())]

        def run(model):
            streams = model.mtp_streams(model.streams(ids, every, trace)[:-1], ids[1:], all_but_one, trace)
            return model.head(streams, model.weights.mtp.head)
        return finite_logits(self, run)

    # ---- the parts, for those who keep a memory or look inside ----

    def flatten(self, sequences):                       # -> [T] int64, [slice, ...]
        """Several sequences on one token axis. Raises Refused for empty ones and for ids outside the vocabulary."""
        sequences = [self._checked(sequence) for sequence in sequences]
        if not sequences:
            raise Refused("ids: expected at least one sequence, got none. Give a list of token ids.")
        ends = np.cumsum([len(sequence) for sequence in sequences])
        return np.concatenate(sequences), [slice(int(end) - len(s), int(end)) for end, s in zip(ends, sequences)]

    def streams(self, ids, sequences, trace=None, logits_to_keep=None, taps=None):
        """[T] int, [(slice, Memory)] -> [A, M, D], after all blocks.

        logits_to_keep: only the last so many tokens of each sequence are wanted, A in all, which spares the last block the
        others. None: all T. taps: a list that receives [T, D] of each layer that DSpark reads.
        """
        c, ops, every = self.config, self.ops, Sequences(self.config, sequences)
        streams = ops.hc_expand(ops.embed(ids, self.weights.embed), c.hc_mult)
        for layer, w in enumerate(self.weights.layers):
            kept = every.keeping(logits_to_keep) if layer == c.n_layers - 1 else every
            streams = block(ops, streams, ids, w, c, layer, kept, Note(trace, f"layers.{layer}", ops.host))
            if taps is not None and layer in c.dspark_target_layer_ids:
                taps.append(tap(streams))
        return streams

    def mtp_streams(self, streams, next_ids, sequences, trace=None):        # [T, M, D], [T] -> [T, M, D]
        c, ops, w = self.config, self.ops, self.weights.mtp
        e = ops.linear(ops.rms_norm(ops.embed(next_ids, self.weights.embed), w.enorm, c.norm_eps), w.e_proj)
        h = ops.linear(ops.rms_norm(streams, w.hnorm, c.norm_eps), w.h_proj)
        note = Note(trace, "mtp.0", ops.host)
        return block(ops, e[:, None, :] + h, next_ids, w.block, c, c.n_layers, Sequences(c, sequences), note)

    def head(self, streams, w):                         # [T, M, D] -> [T, V]
        c, ops = self.config, self.ops
        h = ops.rms_norm(ops.hc_head(streams, w.hc_head, c.hc_eps, c.norm_eps), w.norm, c.norm_eps)
        return ops.linear(h, w.weight)

    def _checked(self, ids):
        try:
            array = np.asarray(ids)
        except ValueError:                              # lists of unequal lengths
            raise Refused("ids: expected one list of token ids, got lists of unequal lengths. Is it several texts?") from None
        if array.ndim != 1 or array.size == 0:
            raise Refused(f"ids: expected a list of one or more token ids, got shape {list(array.shape)}. Is the prompt empty?")
        if array.dtype.kind not in "iu":
            raise Refused(f"ids: expected integers, got {array.dtype}. Encode text with the tokenizer first.")
        low, high, V = int(array.min()), int(array.max()), self.config.vocab_size
        if low < 0 or high >= V:
            raise Refused(f"ids: expected 0 to {V - 1}, got {low if low < 0 else high}. Is the tokenizer another model's?")
        if len(array) > self.config.max_seq_len:
            most = self.config.max_seq_len
            raise Refused(f"ids: expected at most {most} tokens (max_seq_len), got {len(array)}. Cut the text.")
        return array.astype(np.int64)
