"""One text as a router has read it: tokens, every layer's choice, and what follows from them. From a model, or from a file.

Not here: running a model (what_if.py), what a page is sent (packed.py).
"""

import os
from dataclasses import dataclass

import numpy as np

from v4mini.inference.routing_trace import RoutingTrace, read_trace
from v4mini.inference.sampling import distribution
from v4mini.shapes import Refused
from v4mini.untrusted import parse_json, read_file
from v4mini.viz.routing import load
from v4mini.widgets.what_if import AS_IT_IS, Routes, read_routing

MOST_TOKENS = 512           # what is read of a long text; each change runs the model once on it
MOST_BYTES = 64 << 20       # of an answer in JSON


@dataclass(frozen=True)
class Reading:
    """Tokens and their routes, layer by layer."""

    source: str                     # where it is from, in words
    ids: list                       # [T] int
    pieces: list                    # [T] texts
    layers: list                    # [Routes]
    n_experts: int
    logits: np.ndarray | None = None        # [T, V]
    left_out: int = 0               # tokens of the text that were not read

    @property
    def load(self):                                     # -> [L, E] int
        """How many tokens each expert of each layer works on."""
        return np.array([load(_worked(own), self.n_experts) for own in self.layers])

    def together(self, layer):                          # -> [E, E] int, symmetric; the diagonal is the load
        """How many tokens ask two experts of a layer at once."""
        asked = np.zeros((len(self.pieces), self.n_experts), np.int64)
        asked[np.arange(len(asked))[:, None], self.layers[layer].chosen] = 1
        return asked.T @ asked

    def probabilities(self):                            # -> float64 [T, V]; None without logits
        """The distribution of the next token behind each token."""
        if self.logits is None:
            return None
        return np.stack([self.probability(token) for token in range(len(self.logits))])

    def probability(self, token):                       # -> float64 [V]
        """That behind one token."""
        return distribution(self.logits[token], temperature=1, top_p=1)


def read_text(model, tokenizer, text, what_if=AS_IT_IS, most=MOST_TOKENS):
    """Run `model` on the first `most` tokens of `text`, BOS in front of them. -> Reading"""
    encoded = tokenizer.encode(text)
    ids = [tokenizer.bos_id, *encoded[: most - 1]]
    layers, logits = read_routing(model, ids, what_if)
    pieces = ["BOS", *(tokenizer.piece(i) for i in ids[1:])]
    return Reading("this text", ids, pieces, layers, model.config.n_routed_experts, logits, len(encoded) + 1 - len(ids))


def read_recording(trace, tokenizer=None):
    """A file of `v4mini generate --trace`, or the RoutingTrace that it holds. Without a tokenizer tokens are ids. -> Reading"""
    source = "a RoutingTrace"
    if not isinstance(trace, RoutingTrace):
        source, trace = os.path.basename(trace), read_trace(trace)
    tokens, layers = trace.layers()
    if not len(tokens):
        tokens, layers = trace.layers(all_tokens=True)
    if not len(tokens):
        raise Refused(f"{source}: expected tokens that a whole layer worked on, got none. Record a longer run.")
    tokens = tokens[:MOST_TOKENS]
    ids = trace.ids[tokens].tolist()
    return Reading(source, ids, _pieces(ids, tokenizer), [_recorded(own, len(tokens)) for own in layers],
                   trace.config.n_routed_experts, None, len(trace.ids) - len(tokens))


def read_experts(experts, n_experts, ids=None, tokenizer=None, source="an array"):      # [T, L, K] int -> Reading
    """Expert numbers alone, as vLLM returns them: routed_experts and prompt_routed_experts, [tokens, MoE layers, K] of int16.

    Form: https://docs.vllm.ai/en/v0.21.0/training/routed_experts_replay/. No scores and no weights are in it.
    experts: an array, or lists as its JSON has them. Refused for other shapes and for experts that are not there.
    """
    experts = np.asarray(experts)
    if experts.ndim != 3 or 0 in experts.shape or experts.dtype.kind not in "iu":
        raise Refused(f"experts: expected int [tokens, layers, K], got {experts.dtype} {list(experts.shape)}.")
    if not 0 <= experts.min() <= experts.max() < n_experts:
        raise Refused(f"experts: expected 0 to {n_experts - 1}, got {experts.min()} to {experts.max()}. "
                      "How many experts has a layer of that model?")
    if ids is not None and len(ids) != len(experts):
        raise Refused(f"ids: expected {len(experts)}, one a token, got {len(ids)}.")
    shown = experts[:MOST_TOKENS].astype(np.int64)
    layers = [Routes("gate", None, None, None, None, shown[:, layer], None) for layer in range(shown.shape[1])]
    ids = list(range(len(shown))) if ids is None else [int(i) for i in ids[:MOST_TOKENS]]
    return Reading(source, ids, _pieces(ids, tokenizer), layers, n_experts, None, len(experts) - len(shown))


def read_vllm(path, n_experts, tokenizer=None):
    """A file with the JSON answer of vLLM's /v1/completions: the prompt's routing, then that of the first choice. -> Reading"""
    answer = parse_json(read_file(path, MOST_BYTES, "an answer of vLLM", "Save the JSON of /v1/completions."), path)
    try:
        parts = [answer.get("prompt_routed_experts"), answer["choices"][0].get("routed_experts")]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Refused(f"{path}: expected an answer of vLLM's /v1/completions, got JSON without choices.") from None
    if not any(parts):
        raise Refused(f"{path}: expected routed_experts, got none. Start vLLM with --enable-return-routed-experts.")
    try:
        experts = np.concatenate([np.asarray(part) for part in parts if part])
    except ValueError:
        raise Refused(f"{path}: expected lists [tokens, layers, K], got lists of different lengths.") from None
    return read_experts(experts, n_experts, None, tokenizer, os.path.basename(path))


def _worked(own):                                       # where the weight is 0 because the expert is off, nobody works
    return own.chosen if own.weights is None else own.chosen[own.weights != 0]


def _recorded(own, T):                                  # -> Routes
    return Routes(own["kind"], None, own["affinities"][:T], own["bias"], None, own["chosen"][:T], own["weights"][:T])


def _pieces(ids, tokenizer):
    return [str(i) if tokenizer is None else tokenizer.piece(i) for i in ids]
