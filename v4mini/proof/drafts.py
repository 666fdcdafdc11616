"""The golden rounds of DSpark: a float64 derivation's numbers for three rounds of a drafter, and what likely mistakes give.

data/golden/dspark/README.md tells what the arrays are. Not here: the script's cases (golden.py), who is judged (vectors.py).
"""

from pathlib import Path

import numpy as np

from v4mini.inference.dspark import DSparkDrafter
from v4mini.inference.load import load
from v4mini.inference.speculate import read
from v4mini.proof import Verdict
from v4mini.shapes import Refused

BOUND = 1e-4                    # float32 against float64
ARRAYS = ("main_x", "base", "logits", "confidence", "drafts")       # each with _0, _1 or _2 behind it
TOLD = ("logits", "confidence")                                     # of which the file has what mistakes give, rounds 1 and 2


def verify_drafts(folder, backend="numpy"):             # folder of the golden cases -> yields Verdict
    """Run the rounds on this engine and on the one that runs by default. Raises Refused without the files."""
    folder = Path(folder) / "dspark"
    golden = golden_rounds(folder)
    engines = [load(folder, name) for name in dict.fromkeys((backend, "auto"))]
    for model in {model.ops.name: model for model in engines}.values():
        for number, found in enumerate(rounds(model, golden["ids"], golden["read"])):
            for name, value in found.items():
                yield compare(f"DSpark round {number} {name}, engine {model.ops.name}", value, golden[f"{name}_{number}"])


def golden_rounds(folder):                              # -> {name: array}
    path = Path(folder) / "cases.npz"
    if not path.exists():
        raise Refused(f"golden: no {path}. Run from a checkout of the project.")
    with np.load(path) as file:
        return dict(file)


def rounds(model, ids, reads):                          # yields {"logits", "drafts", "confidence"} of each greedy round
    """Read so many tokens of `ids`, then draft a block behind the next one."""
    cache = model.new_cache()
    drafter = None
    logits = []
    before = 0

    def choose(row):
        logits.append(np.array(row))
        return np.eye(len(row))[row.argmax()]
    for n in reads:
        _, taps = read(model, ids[before:n], cache, 1)
        if drafter is None:
            drafter = DSparkDrafter(model, cache.storage, cache.reserve, taps)
        drafter.waiting, before = taps, n
        drafts, _ = drafter.draft([ids[n]], model.config.dspark_block_size, choose, None)
        size = len(drafts)
        yield {"logits": np.array(logits[-size:]), "drafts": np.array(drafts), "confidence": np.array(drafter.confidences)}


def compare(case, value, wanted):                       # -> Verdict
    """Drafts are tokens and must be the same; all else within BOUND."""
    if wanted.dtype.kind in "iu":
        return Verdict(case, len(wanted), float(np.mean(value != wanted)), 0.0, "differs")
    return Verdict(case, len(wanted), float(np.abs(value.astype(np.float64) - wanted).max()), BOUND, "largest")


def nearest_mistake(golden, array, value):              # "logits_1", array -> name of the mistake that gives just this, or ""
    """Which of the mistakes in the golden file gives this array, within BOUND."""
    for name in golden:
        if name.startswith("wrong/") and name.endswith(f"/{array}") and np.abs(value - golden[name]).max() <= BOUND:
            return name.split("/")[1]
    return ""
