"""The golden cases: numbers that DeepSeek's released inference script gave for a tiny random model.

data/golden/README.md tells how they were made. Not here: Hugging Face (huggingface.py).
"""

from pathlib import Path

import ml_dtypes
import numpy as np

from v4mini.config import Config
from v4mini.inference.load import load
from v4mini.proof import Verdict
from v4mini.shapes import Refused
from v4mini.trace import Trace
from v4mini.weights.store import open_store

EXACT = 1e-4                # float32 against float32, summed in another order
# Rounding to 8 and 4 bits turns a difference of 1e-7 into a visible one. The script against itself (prefill against
# decode) differs by median 4e-5 (simulated) and 7e-3 (released), with 97.7% of argmax equal in the latter.
MEDIAN = {"simulated": 2e-4, "released": 0.02}
ARGMAX_DIFFERS = {"simulated": 0.0, "released": 0.03}
WEIGHTS_OF = {"exact": "official_exact", "simulated": "official_exact", "released": "official_released"}


def verify_golden(folder, backend="numpy"):             # yields Verdict
    """Compare logits, decoding, MTP, streams, indexer picks and routing of three cases. Raises Refused without the files.

    The engine that runs by default is held to the exact case as well; what FP8 and FP4 rounding makes of a last bit is
    chance, so the other two cases are for one engine.
    """
    folder = Path(folder)
    if not (folder / "official_exact" / "cases.npz").exists():
        raise Refused(f"golden: no {folder / 'official_exact' / 'cases.npz'}. Run from a checkout of the project.")
    for case in WEIGHTS_OF:
        yield from _case(folder, case, backend)
    model = load(folder / "official_exact", "auto")
    if model.ops.name != backend:
        golden = np.load(folder / "official_exact" / "cases.npz")
        ids, start = golden["ids"], int(golden["decode_from"])
        for name, value in (("logits", model.logits(ids)), ("decode_logits", _decode(model, ids, start))):
            yield _largest(f"exact {name}, engine {model.ops.name}", value, golden[name])


def _case(folder, case, backend):
    golden = np.load(folder / f"official_{case}" / "cases.npz")
    model = load(folder / WEIGHTS_OF[case], backend, simulate=None if case == "exact" else "released",
                 config=Config.load(folder / f"official_{case}"))
    trace, ids = Trace(), golden["ids"]
    got = {"logits": model.logits(ids, trace), "decode_logits": _decode(model, ids, int(golden["decode_from"])),
           "mtp_logits": model.mtp_logits(ids)}
    for name, value in got.items():
        if case == "exact":
            yield _largest(f"{case} {name}", value, golden[name])
        elif name == "logits":
            yield from _rounded(case, name, value, golden[name])
    if case == "exact":
        yield from _inside(case, trace, golden)
    if case == "released":
        yield _weights(folder / WEIGHTS_OF[case], model)


def _decode(model, ids, start):                         # -> [T - start + 1, V], as the golden file has it
    cache = model.new_cache()
    return np.stack([model.prefill(ids[:start], cache), *(model.step(token, cache) for token in ids[start:])])


def _largest(case, value, wanted, bound=EXACT):
    return Verdict(case, len(wanted), float(np.abs(value - wanted).max()), bound, "largest")


def _rounded(case, name, value, wanted):
    yield Verdict(f"{case} {name}", len(wanted), float(np.median(np.abs(value - wanted))), MEDIAN[case], "median")
    differs = float(np.mean(value.argmax(1) != wanted.argmax(1)))
    yield Verdict(f"{case} {name}", len(wanted), differs, ARGMAX_DIFFERS[case], "argmax differs")


def _inside(case, trace, golden):                       # streams, picks and routing of every layer
    for key in sorted(golden.files):
        name, _, layer = key.rpartition("_")
        if name == "streams":
            yield _largest(f"{case} streams, layer {layer}", trace[f"layers.{layer}.streams"][golden["stream_rows"]], golden[key])
        if name == "index_picks":
            yield _sets(f"{case} index picks, layer {layer}", trace[f"layers.{layer}.attn.index_picks"], golden[key])
        if name == "route_experts":
            yield _sets(f"{case} experts, layer {layer}", trace[f"layers.{layer}.ffn.experts"], golden[key])


def _sets(case, value, wanted):                         # the same picks, in any order
    differs = float(np.mean(np.any(np.sort(value, 1) != np.sort(wanted, 1), axis=1)))
    return Verdict(case, len(wanted), differs, 0.0, "differs")


def _weights(path, model):                              # every decoded weight against ml_dtypes in float32
    store, differs, count = open_store(path), 0, 0
    for name in store:
        scale = name.removesuffix("weight") + "scale"
        if not name.endswith(".weight") or scale not in store:
            continue
        wanted = by_ml_dtypes(np.asarray(store[name]), np.asarray(store[scale]))
        differs += int(np.sum(_matrix(model.weights, name).dense().view(np.uint32) != wanted.view(np.uint32)))
        count += wanted.size
    return Verdict(f"released weights, {count:,} numbers, bits", 0, float(differs), 0.0, "differs")


def by_ml_dtypes(codes, scale):                         # -> float32 [out, in], with nothing of ours
    """Decode an FP8 or packed FP4 weight by ml_dtypes' own types."""
    if codes.dtype == np.int8:
        nibbles = np.stack([codes.view(np.uint8) & 15, codes.view(np.uint8) >> 4], axis=-1).reshape(len(codes), -1)
        codes, tile = nibbles.astype(np.uint8).view(ml_dtypes.float4_e2m1fn), (1, 32)
    else:
        tile = (128, 128)
    out, width = codes.shape
    scales = scale.astype(np.float32).repeat(tile[0], axis=0)[:out].repeat(tile[1], axis=1)[:, :width]
    return codes.astype(np.float32) * scales


def _matrix(weights, name):                             # the Matrix behind a released name
    path = name.removesuffix(".weight").split(".")
    node = weights.mtp if path[0] == "mtp" else weights
    if path[0] == "mtp":
        path = path[2:]
        node = node if path[0] in ("e_proj", "h_proj") else node.block
    for part in path:
        node = node[int(part)] if part.isdigit() else getattr(node, part)
    return node
