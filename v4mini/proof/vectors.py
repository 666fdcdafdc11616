"""Golden numbers for other runtimes: judges an .npz of theirs, and shows by wrong variants that the numbers can tell.

A runtime loads data/golden/official_exact, reads its `ids` and saves `logits`, and if it has them `decode_logits` and
`mtp_logits`, shaped as in cases.npz. Of data/golden/dspark it saves `logits_0` and the other arrays of drafts.py that it has, in
the same file or another. Each wrong variant is a V4 with one thing wrong that people have got wrong; every one of them is
further off than the bound allows.
Not here: our own comparison (golden.py), what the arrays are (data/golden/README.md).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from v4mini.config import Config
from v4mini.engines import choose_backend
from v4mini.inference.cached import CachedModel
from v4mini.proof import Verdict
from v4mini.proof.drafts import ARRAYS as OF_ROUNDS
from v4mini.proof.drafts import compare, golden_rounds, nearest_mistake
from v4mini.proof.golden import EXACT
from v4mini.shapes import Refused
from v4mini.weights.store import open_store
from v4mini.weights.tree import build

ARRAYS = ("logits", "decode_logits", "mtp_logits")
DRAFTS = tuple(f"{name}_{number}" for number in range(3) for name in OF_ROUNDS)
LARGEST_FILE = 1 << 30                                  # bytes


def judge_vectors(folder, path):                        # folder of the golden cases, .npz -> yields Verdict
    """Compare another runtime's arrays with the exact case and the rounds of DSpark. Raises Refused for files that hold none."""
    theirs = _arrays(path)
    golden = np.load(Path(folder) / "official_exact" / "cases.npz")
    if not theirs:
        raise Refused(f"vectors: expected one of {', '.join(ARRAYS)}, or of DSpark's logits_0 and so on, in {path}, got none. "
                      "See data/golden/README.md.")
    for name in [name for name in ARRAYS if name in theirs]:
        value = _expected(name, theirs[name], golden[name], "One row a token of `ids`.")
        wanted = golden[name]
        yield Verdict(f"exact {name}", len(wanted), float(np.abs(value.astype(np.float64) - wanted).max()), EXACT, "largest")
    yield from _judge_rounds(folder, {name: value for name, value in theirs.items() if name in DRAFTS})


def _judge_rounds(folder, theirs):                      # yields Verdict; one that fails names the mistake that gives its numbers
    golden = golden_rounds(Path(folder) / "dspark") if theirs else {}
    for name, value in theirs.items():
        value = _expected(name, value, golden[name], "See data/golden/dspark/README.md.")
        verdict = compare(f"DSpark {name}", value, golden[name])
        mistake = "" if verdict.passed else nearest_mistake(golden, name, value)
        yield replace(verdict, case=f"{verdict.case}: as with `{mistake}`") if mistake else verdict


def _expected(name, value, wanted, hint):
    if value.shape != wanted.shape or value.dtype.kind not in "fiu":
        raise Refused(f"vectors: {name}: expected numbers of shape {list(wanted.shape)}, got {value.dtype} "
                      f"{list(value.shape)}. {hint}")
    return value


def _arrays(path):                                      # -> {name: array}; nothing in the file is run
    try:
        if Path(path).stat().st_size > LARGEST_FILE or not Path(path).is_file():
            raise Refused(f"vectors: expected an .npz file of at most {LARGEST_FILE:,} bytes, got {path}.")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:      # np.load leaves a damaged file open
            return {name: found[name] for name in (*ARRAYS, *DRAFTS) if name in found.files}
    except Refused:
        raise
    except FileNotFoundError:
        raise Refused(f"vectors: no file {path}. Save logits with numpy.savez.") from None
    except Exception as error:                          # zipfile and NumPy raise what they like on damaged files
        raise Refused(f"vectors: cannot read {path} ({error!s:.80}). Save logits with numpy.savez.") from None


# ---- wrong on purpose ----

def _config(**changes):                                 # a V4 of another config, same weights
    return lambda config, tensors: (config.replace(**changes), tensors)


def _weights(change, *endings):                         # the same config, some tensors changed
    def wrong(config, tensors):
        changed = {name: change(value) if name.endswith(endings) else value for name, value in tensors.items()}
        return config, changed
    return wrong


WRONG = {                                               # name: (Config, {name: array}) -> the same, with one thing wrong
    "no attention sink": _weights(lambda sink: np.full_like(sink, -1e30), "attn_sink"),
    "no positions in compressed blocks (ape)": _weights(np.zeros_like, ".ape"),
    "no correction bias in the gate": _weights(np.zeros_like, "gate.bias"),
    "no norm of keys (kv_norm)": _weights(np.ones_like, "kv_norm.weight"),
    "the shared expert's gate and up exchanged": None,  # below: two tensors change places
    "experts' outputs not scaled": _config(route_scale=1.0),
    "one Sinkhorn round of 20": _config(hc_sinkhorn_iters=1),       # 19 of 20 are 1e-5 off: these numbers cannot tell
    "window one token short": lambda config, tensors: (config.replace(window_size=config.window_size - 1), tensors),
    "one pick fewer": lambda config, tensors: (config.replace(index_topk=config.index_topk - 1), tensors),
    "one rotation base for all layers": lambda config, tensors: (config.replace(compress_rope_theta=config.rope_theta), tensors),
    "no YaRN": _config(original_seq_len=0),
    "experts not clamped": _config(swiglu_limit=1e9),
}


def _exchanged(config, tensors):
    swap = {"w1": "w3", "w3": "w1"}
    found = dict(tensors)
    for name in tensors:
        parts = name.split(".")
        if "shared_experts" in parts and parts[-2] in swap:
            found[name] = tensors[".".join([*parts[:-2], swap[parts[-2]], parts[-1]])]
    return config, found


WRONG["the shared expert's gate and up exchanged"] = _exchanged


def wrong_variants(folder, backend="numpy"):            # yields name, Verdict that must not pass
    """The golden ids through each wrong model."""
    folder = Path(folder) / "official_exact"
    golden = np.load(folder / "cases.npz")
    with open_store(folder) as store:
        tensors = {name: np.array(store[name]) for name in store}
    config = Config.load(folder)
    for name, wrong in WRONG.items():
        changed, weights = wrong(config, tensors)
        model = CachedModel(changed, build(changed, weights.get), choose_backend(backend))
        difference = float(np.abs(model.logits(golden["ids"]) - golden["logits"]).max())
        yield name, Verdict(f"wrong: {name}", len(golden["ids"]), difference, EXACT, "largest")


def right_model(folder, backend="numpy"):               # -> CachedModel
    """The same way round with nothing wrong: what the variants are to be compared with."""
    folder = Path(folder) / "official_exact"
    with open_store(folder) as store:
        tensors = {name: np.array(store[name]) for name in store}
    config = Config.load(folder)
    return CachedModel(config, build(config, tensors.get), choose_backend(backend))
