"""The routing of a whole run in one file: recorded while a model speaks, read by the explorer's pictures and by replay.

    experts    int16   [T, L, K]     who worked; -1 where nobody did: the last layer of all but the last token of a chunk
    weights    float32 [T, L, K]     with what weight
    scores     float32 [S, L, E]     the gate's logits, of the first SCORED tokens
    bias       float32 [L, E]        NaN where a table chooses
    ids, calls int64   [T], [C + 1]  the tokens in the order in which they ran; call c ran tokens calls[c] .. calls[c + 1] - 1
    about      JSON                  config, prompt length

L counts the MTP block too, last. Watching changes no number. Not here: replaying it (streaming/replay.py).
"""

import copy
import io
import json
import math
import os
import stat
import struct
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from v4mini.config import Config
from v4mini.inference.streaming.replay import steps_of
from v4mini.ops.route import affinity
from v4mini.shapes import Refused
from v4mini.trace import Trace
from v4mini.untrusted import kind_of, parse_json
from v4mini.writing import write_whole

SCORED = 1024           # tokens of which all scores are kept: 43 x 256 of them a token in Flash
MAX_ABOUT = 1 << 20     # bytes
UNPACKED = 64 << 20     # bytes that a trace may take at least
MOST_RATIO = 200        # how many times its file it may take
_DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


@dataclass(frozen=True)
class RoutingTrace:
    """What was routed where; see the table above."""

    config: Config
    prompt: int                     # tokens of the prompt
    ids: np.ndarray
    calls: np.ndarray
    experts: np.ndarray
    weights: np.ndarray
    scores: np.ndarray
    bias: np.ndarray

    def steps(self):                                    # -> [Step], for streaming.replay.replay
        """What each layer asked for in each call."""
        used = []
        for start, stop in zip(self.calls, self.calls[1:]):
            chosen = self.experts[start:stop]
            used.append({layer: chosen[:, layer][chosen[:, layer] >= 0].tolist() for layer in range(chosen.shape[1])
                         if (chosen[:, layer] >= 0).any()})
        return steps_of(used)

    def decoding(self):                                 # -> [call]
        """The calls behind the prompt."""
        return [call for call, start in enumerate(self.calls[:-1]) if start >= self.prompt]

    def layers(self, all_tokens=False):                 # -> tokens [n], [{kind, affinities, bias, chosen, weights}] by layer
        """For viz.routing.draw_explorer: tokens that every layer worked on. all_tokens: all of them, in the layers that did."""
        shown = slice(0, len(self.scores))
        worked = (self.experts[shown, : self.config.n_layers] >= 0).all(axis=2)         # [S, L]
        tokens = np.flatnonzero(worked.any(axis=1) if all_tokens else worked.all(axis=1))
        return tokens, [self._layer(layer, tokens) for layer in range(self.config.n_layers) if worked[tokens, layer].all()]

    def _layer(self, layer, tokens):
        by_table = self.config.is_hash_layer(layer)
        return {"kind": "table" if by_table else "gate", "affinities": affinity(self.scores[tokens, layer]),
                "bias": None if by_table else self.bias[layer], "chosen": self.experts[tokens, layer].astype(np.int64),
                "weights": self.weights[tokens, layer]}

    def save(self, path):
        """Write the file; it takes its name when it is complete."""
        about = json.dumps({"config": self.config.to_dict(), "prompt": self.prompt})
        file = io.BytesIO()
        np.savez_compressed(file, about=np.array(about), **{name: getattr(self, name) for name in _ARRAYS})
        write_whole(path, file.getvalue())


_ARRAYS = {"ids": (np.int64, 1), "calls": (np.int64, 1), "experts": (np.int16, 3), "weights": (np.float32, 3),
           "scores": (np.float32, 3), "bias": (np.float32, 2)}


def recorded(model, scored=SCORED):                     # -> a model that does the same and is watched, Recorder
    """The same weights, caches and engine; what its routers do is written down, pass by pass. `model` itself stays as it is."""
    recorder = Recorder(model, scored)
    watched = copy.copy(model)

    class Watched(type(model)):
        """The model that it was, with an eye on its passes."""

        def streams(self, ids, sequences, trace=None, logits_to_keep=None, taps=None):
            with recorder.watching(ids, trace) as own:
                return super().streams(ids, sequences, own, logits_to_keep, taps)

        def mtp_streams(self, streams, next_ids, sequences, trace=None):
            with recorder.watching(next_ids, trace) as own:
                return super().mtp_streams(streams, next_ids, sequences, own)
    watched.__class__ = Watched
    return watched, recorder


class Recorder:
    """Collects passes of a model: their tokens, and each layer's choice."""

    def __init__(self, model, scored=SCORED):
        self.model = model
        self.scored = scored
        self._calls = []
        self._tokens = 0

    @contextmanager
    def watching(self, ids, trace=None):                # gives a Trace for a pass that reads these tokens
        """What the pass notes is kept when it ends well, and what `trace` wants of it is passed on."""
        own = Trace("ffn.experts", "ffn.weights", "ffn.scores", always=() if trace is None else trace.wanted)
        yield own
        self._calls.append((np.array(ids), {name: note for name, note in own.items() if ".ffn." in name}))
        self._tokens += len(ids)
        if trace is not None:
            trace.add(own)

    def trace(self, prompt):                            # -> RoutingTrace
        """All that was seen; `prompt`: how many of the tokens were given rather than drawn."""
        config, weights = self.model.config, self.model.weights
        blocks = {f"layers.{layer}": block for layer, block in enumerate(weights.layers)}
        blocks |= {"mtp.0": weights.mtp.block} if weights.mtp else {}
        shape = (self._tokens, len(blocks))
        S = min(self._tokens, self.scored)
        E, K = config.n_routed_experts, config.n_activated_experts
        experts = np.full((*shape, K), -1, np.int16)
        shares = np.zeros((*shape, K), np.float32)
        scores = np.zeros((S, len(blocks), E), np.float32)
        calls = [0]
        for ids, notes in self._calls:
            calls.append(calls[-1] + len(ids))
            for layer, prefix in enumerate(blocks):
                if f"{prefix}.ffn.experts" in notes:
                    chosen, given, logits = (notes[f"{prefix}.ffn.{name}"] for name in ("experts", "weights", "scores"))
                    mine = slice(calls[-1] - len(chosen), calls[-1])        # the call's last tokens
                    experts[mine, layer], shares[mine, layer] = chosen, given
                    scores[mine, layer] = logits[: max(0, S - mine.start)]
        nothing = np.full(E, np.nan)
        host = self.model.ops.host
        biases = [block.ffn.gate.bias for block in blocks.values()]
        bias = np.array([nothing if bias is None else host(bias) for bias in biases], np.float32)
        ids = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in self._calls)])
        return RoutingTrace(config, prompt, ids, np.array(calls), experts, shares, scores, bias)


def read_trace(path):                                   # -> RoutingTrace
    """Read a file that RoutingTrace.save wrote. Refused for anything else: a trace comes from a stranger."""
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            about = parse_json(str(file["about"]).encode()[:MAX_ABOUT], f"{path}: about")
    except FileNotFoundError:
        raise Refused(f"{path}: there is no such file. Record one with generate --trace.") from None
    except _DAMAGED as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"{path}: expected a routing trace, got something else. Record one with generate --trace.") from None
    config = Config.from_dict(about.get("config"))
    prompt = about.get("prompt")
    _check(path, config, prompt, arrays)
    return RoutingTrace(config, prompt, **arrays)


def _check_sizes(path):
    """Before anything is unpacked: each array is as large as its member says, and none grows beyond all measure."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise Refused(f"{path}: expected a routing trace, got {kind_of(mode)}. Record one with generate --trace.")
    with zipfile.ZipFile(path) as file:
        members = [file.getinfo(f"{name}.npy") for name in (*_ARRAYS, "about")]
        most = UNPACKED + MOST_RATIO * os.path.getsize(path)
        if sum(member.file_size for member in members) > most:
            raise Refused(f"{path}: expected at most {most:,} bytes unpacked, got more. Record one with generate --trace.")
        for member in members:
            with file.open(member) as content:
                version = np.lib.format.read_magic(content)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(content)
                if math.prod(shape) * dtype.itemsize != member.file_size - content.tell():
                    raise ValueError("the array does not fill its member")


def _check(path, config, prompt, arrays):
    T = len(arrays["ids"])
    L = config.n_layers + config.n_mtp_layers
    E = config.n_routed_experts
    K = config.n_activated_experts
    S = len(arrays["scores"])
    shapes = {"ids": (T,), "experts": (T, L, K), "weights": (T, L, K), "scores": (S, L, E), "bias": (L, E)}
    fits = all(array.dtype == _ARRAYS[name][0] and array.shape == shapes.get(name, array.shape) and array.ndim == _ARRAYS[name][1]
               for name, array in arrays.items())
    calls, experts = arrays["calls"], arrays["experts"]
    fits = fits and type(prompt) is int and 0 <= prompt <= T and S <= T and len(calls) > 1 and calls[0] == 0 and calls[-1] == T
    if not fits or (np.diff(calls) < 1).any() or (T and not -1 <= experts.min() <= experts.max() < E):
        raise Refused(f"{path}: expected arrays that fit each other and their config, got others. Is the file damaged?")
