"""A receipt of a verification: what was compared with what, on which machine, and how far apart; made to be checked again.

A receipt carries digests of the numbers it was compared with and of the code that ran. Whoever has the same files can run the
same comparison (`v4mini verify --against RECEIPT`). Its own digest finds a slip of the hand, not a forger: it is no signature,
so what decides is that the comparison is made again.
Not here: the comparisons (golden.py, huggingface.py), printing.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from v4mini.shapes import Refused

FORMAT = "v4mini receipt 1"
PACKAGES = ("numpy", "numba", "ml_dtypes", "tokenizers", "torch", "transformers")
FIELDS = {"format": str, "made": str, "v4mini": str, "code": str, "options": dict, "inputs": dict, "versions": dict,
          "machine": dict, "compared": list, "largest": dict, "holds": bool, "does_not_claim": list, "digest": str}
VERDICT = {"case": str, "length": int, "difference": float, "bound": float, "measure": str, "passed": bool}
DOES_NOT_CLAIM = (
    "that the released weights of 160 GB or 865 GB were run: the models compared are tiny and random",
    "that every config, length or input agrees: only those listed were compared",
    "that rounding to FP8 and FP4 gives the same last bits elsewhere: those cases are held to the script's own spread",
    "anything about speed, memory, or the quality of answers",
    "who made it: the digest is a checksum, not a signature",
)


def make_receipt(verdicts, options, golden):            # [Verdict], {name: plain value}, folder -> dict of plain values
    """What `verify --json` prints. options: how the comparison was asked for, so that it can be asked for again."""
    largest = {}
    for verdict in verdicts:
        if verdict.difference >= largest.get(verdict.measure, verdict).difference:
            largest[verdict.measure] = verdict
    found = {
        "format": FORMAT, "made": datetime.now(UTC).isoformat(timespec="seconds"), **_here(golden), "options": dict(options),
        "compared": [{**vars(verdict), "passed": verdict.passed} for verdict in verdicts],
        "largest": {measure: {"case": one.case, "difference": one.difference, "bound": one.bound}
                    for measure, one in largest.items()},
        "holds": all(verdict.passed for verdict in verdicts), "does_not_claim": list(DOES_NOT_CLAIM)}
    return found | {"digest": digest(found)}


def digest(receipt):                                    # -> sha256 of all other fields, in one spelling
    """JSON with sorted keys and no spaces."""
    rest = {name: value for name, value in receipt.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_form(receipt):
    """Raise Refused unless it is a receipt of this format whose digest fits."""
    for name, kind in FIELDS.items():
        if type(receipt.get(name)) is not kind:
            raise Refused(f"receipt: expected {name} as {kind.__name__}, got {receipt.get(name)!r:.60}. "
                          "Name a file that `v4mini verify --json` wrote.")
    unknown = set(receipt) - set(FIELDS)
    if receipt["format"] != FORMAT or unknown:
        raise Refused(f"receipt: expected format {FORMAT!r} and its fields, got {receipt['format']!r:.40}, {sorted(unknown)}.")
    for row in receipt["compared"]:
        if not isinstance(row, dict) or {name: type(value) for name, value in row.items()} != VERDICT:
            raise Refused(f"receipt: expected rows of {', '.join(VERDICT)} in compared, got {row!r:.80}. Was it edited?")
    if digest(receipt) != receipt["digest"]:
        raise Refused("receipt: expected the digest of its own fields, got another. It was changed after it was made.")


def options_of(receipt):                                # -> {"backend", "hf", "configs"}
    """How to ask for the same comparison. Raises Refused for others."""
    found = receipt["options"]
    kinds = {"backend": str, "hf": bool, "configs": int}
    if set(found) != set(kinds) or any(type(found[name]) is not kind for name, kind in kinds.items()):
        raise Refused(f"receipt: expected options {', '.join(kinds)}, got {found!r:.80}. Was it edited?")
    if not 1 <= found["configs"] <= 1000:
        raise Refused(f"receipt: expected 1 to 1,000 configs, got {found['configs']!r}.")
    return found


def differences(receipt, own):                          # two receipts -> [sentence] against it, [sentence] told
    """A receipt beside one made here and now by the same options.

    Against it: other inputs, other cases, other bounds, a verdict that its own numbers deny, a case that fails there or here,
    and, where code, versions and machine are the same, other differences. Other versions or machines are only told.
    """
    against, told = [], []
    for name in sorted(set(receipt["inputs"]) | set(own["inputs"])):
        if receipt["inputs"].get(name) != own["inputs"].get(name):
            against.append(f"{name}: its digest is another one here")
    same = True
    for name in ("v4mini", "code", "versions", "machine"):
        if receipt[name] != own[name]:
            same = False
            told.append(f"{name}: {_short(receipt[name])} there, {_short(own[name])} here")
    theirs, ours = ({(row["case"], row["length"], row["measure"]): row for row in one["compared"]} for one in (receipt, own))
    if len(theirs) != len(receipt["compared"]):
        against.append("compared: a case stands there twice")
    for key in sorted(theirs.keys() ^ ours.keys()):
        against.append(f"{key[0]}: compared {'there' if key in theirs else 'here'} only")
    for key in sorted(theirs.keys() & ours.keys()):
        against += [f"{key[0]}: {words}" for words in _speaks_against(theirs[key], ours[key], same)]
    if receipt["holds"] != all(row["passed"] for row in receipt["compared"]):
        against.append("holds: not what its own rows say")
    again = make_largest(receipt["compared"])
    if receipt["largest"] != again:
        against.append("largest: not what its own rows say")
    return against, told


def make_largest(rows):                                 # rows of compared -> as in "largest"
    """The largest difference by each measure; of equal ones the last."""
    found = {}
    for row in rows:
        if row["difference"] >= found.get(row["measure"], row)["difference"]:
            found[row["measure"]] = row
    return {measure: {name: row[name] for name in ("case", "difference", "bound")} for measure, row in found.items()}


def _speaks_against(theirs, ours, same):                # yields words
    if theirs["bound"] != ours["bound"] and not ours["measure"].startswith("to float64"):
        yield f"its bound is {theirs['bound']:.3g}, ours {ours['bound']:.3g}"
    if not (math.isfinite(theirs["difference"]) and theirs["difference"] >= 0):
        yield f"its difference is {theirs['difference']}"
    if theirs["passed"] != (theirs["difference"] <= theirs["bound"]):
        yield "its verdict is not what its numbers say"
    if not theirs["passed"]:
        yield "it failed there"
    if not ours["passed"]:
        yield "it fails here"
    if same and theirs["difference"] != ours["difference"]:
        yield f"off by {theirs['difference']:.3g} there, {ours['difference']:.3g} here, with the same code, versions and machine"


def _here(golden):                                      # what a comparison depends on, of this installation
    golden = Path(golden)
    inputs = {path.relative_to(golden).as_posix(): _file_digest(path) for path in sorted(golden.rglob("*"))
              if path.suffix in (".npz", ".json", ".safetensors")}
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {"v4mini": importlib.metadata.version("v4mini"), "code": _code_digest(), "inputs": inputs, "versions": versions,
            "machine": {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count() or 0}}


def _code_digest():                                     # of all of the package's sources
    root = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()


def _file_digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _processor():                                       # its name where the system tells it
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _short(value):
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else json.dumps(value)
