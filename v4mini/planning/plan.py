"""Can I run it? Everything that follows from a model, a context, a number of texts and a machine, as plain data.

Not here: the formulas (storage.py, memory.py, flops.py, roofline.py), printing (cli/plan.py).
"""

from dataclasses import dataclass

from v4mini.planning.machines import find_machine, smallest_that_fit
from v4mini.planning.memory import STORAGES
from v4mini.planning.models import V4Model
from v4mini.planning.offload import gpu_and_host, streamed
from v4mini.planning.roofline import prefill_bound, request_seconds, step_bound
from v4mini.planning.storage import EXPERTS, WEIGHTS, format_bytes
from v4mini.shapes import Refused

CONTEXTS = (4096, 32768, 131072, 524288, 1048576)
SHOWN = 3                       # machines that would do


def plan(model, context, batch=1, machine=None, machines=None, stored="released", storage="released", mtp=False, beside=None):
    """The whole report. machine: None leaves out what needs one; machines: {name: Machine}, to look for others in.

    beside: Beside, what lies beside the machine's memory where the model does not fit into it.
    """
    for name, value in (("context", context), ("batch", batch)):
        if type(value) is not int or value < 1:
            raise Refused(f"{name}: expected a whole number of at least 1, got {value!r}. Say how much is to be held.")
    report = {
        "model": model.name, "parameters": model.parameters, "active": model.active, "layers": model.layers,
        "context": context, "batch": batch, "stored": stored, "storage": storage, "mtp": mtp,
        "beyond": context > model.longest, "longest_made_for": model.longest,
        "weights": weights_table(model, mtp), "formats": formats(model, stored, mtp), "caches": cache_table(model, context),
        "flops": flops_table(model, sorted({*CONTEXTS, context})), "crossover": crossover(model)}
    report["needed"] = needed(model, context, batch, stored, storage, mtp)
    if machine is not None:
        report["machine"] = on_machine(model, context, batch, machine, stored, storage, mtp)
        if not report["machine"]["fits"]:
            report["machine"]["offloaded"] = offloaded(model, context, machine, beside or Beside(), stored, storage)
    if machines is not None:
        others = smallest(machines, report["needed"], machine)
        report["nearest"] = [described(found, report["needed"]) for found in others[:SHOWN]]
    return report


def needed(model, context, batch, stored="released", storage="released", mtp=False):       # -> bytes
    """Weights once, a cache for each text."""
    return sum(model.weights(stored, mtp).values()) + batch * sum(model.cache(context, storage).values())


def weights_table(model, mtp=False):                    # -> [{"stored", "bytes", "experts", "rest"}]
    """Bytes of the weights in every way of storing that this model has."""
    rows = []
    for stored in WEIGHTS if isinstance(model, V4Model) else ("released", "bf16"):
        groups = model.weights(stored, mtp)
        experts = groups.get(EXPERTS, 0)
        total = sum(groups.values())
        rows.append({"stored": stored, "bytes": total, "experts": experts, "rest": total - experts})
    return rows


def formats(model, stored, mtp=False):                  # -> {format: bytes}
    """The chosen weights by number format; V3.2's table is not split that far."""
    return format_bytes(model.config, stored, mtp) if isinstance(model, V4Model) else {}


def cache_table(model, context):                        # -> [{"storage", "kinds", "bytes"}]
    """Bytes that one text of this length leaves behind, by kind of row, in every way of storing."""
    rows = []
    for storage in STORAGES:
        kinds = model.cache(context, storage)
        rows.append({"storage": storage, "kinds": kinds, "bytes": sum(kinds.values())})
    return rows


def flops_table(model, contexts):                       # -> [{"context", "dense", part: FLOPs ..., "total"}]
    """FLOPs of one token behind so many, part by part, plain: a multiply and an add are 2, in whatever format."""
    dense = sum(model.dense().values())
    rows = []
    for context in contexts:
        parts = {part: flops for part, (flops, _) in model.growing(context).items()}
        rows.append({"context": context, "dense": dense, **parts, "total": dense + sum(parts.values())})
    return rows


def crossover(model, most=2**32):                       # -> tokens from which on the past costs more than the weights; or None
    """By bisection: what grows, grows all the way."""
    dense = sum(model.dense().values())

    def past(context):
        return sum(flops for flops, _ in model.growing(context).values())
    return _first(lambda context: past(context) >= dense, most)


def on_machine(model, context, batch, machine, stored, storage, mtp=False):     # -> dict
    """What fits, how long it takes at least, and what would just fit."""
    weights = sum(model.weights(stored, mtp).values())
    found = described(machine, needed(model, context, batch, stored, storage, mtp))
    found["fits_by_weights"] = [
        {"stored": row["stored"], "spare": machine.room - needed(model, context, batch, row["stored"], storage, mtp)}
        for row in weights_table(model, mtp)]
    found["longest"] = longest(model, machine, batch, stored, storage, mtp)
    found["max_batch"] = max(0, int((machine.room - weights) // max(1, sum(model.cache(context, storage).values()))))
    found["arithmetic"] = {wanted: machine.runs(wanted) for wanted in ("fp4", "fp8", "int8", "bf16")}
    found["prefill"] = _times(prefill_bound(model, machine, context, stored, storage), context)
    found["step"] = _times(step_bound(model, machine, context, batch, stored, storage), batch)
    return found


@dataclass(frozen=True)
class Beside:
    """What a machine has beside its memory. The defaults are an ordinary desktop's: DDR5 on two channels, one NVMe disk."""

    disk_rate: float = 5e9      # bytes/s, in reads as large as an expert
    host_memory: float = 128e9  # bytes, where a host's memory lies apart from the row's
    host_rate: float = 80e9     # bytes/s


def offloaded(model, context, machine, beside, stored="released", storage="released"):     # -> [dict], one text
    """What can be done all the same: streamed from the disk; on a GPU also experts in the host's memory."""
    apart = machine.host == "apart"
    memory, rate = (beside.host_memory, beside.host_rate) if apart else (machine.memory, machine.bandwidth)
    rows = [{"way": "streamed", **streamed(model, memory, rate, beside.disk_rate, context, stored, storage)}]
    if apart:
        rows.append({"way": "gpu and host", **gpu_and_host(model, (machine.room, machine.bandwidth),
                                                           (beside.host_memory, beside.host_rate), beside.disk_rate, context,
                                                           stored, storage)})
    return rows


def described(machine, needs):                          # -> dict of plain values
    """A machine beside what is needed: spare is negative where it does not fit."""
    return {"name": machine.label, "title": machine.title, "devices": machine.devices * machine.count,
            "memory": machine.memory, "usable": machine.usable, "room": machine.room, "bandwidth": machine.bandwidth,
            "spare": machine.room - needs, "fits": machine.room >= needs, "source": machine.source,
            "date": machine.date.isoformat(), "sure": machine.sure, "note": machine.note}


def smallest(machines, needs, machine=None):            # -> [Machine], least memory first
    """Machines that hold it; more of the asked-for kind come first."""
    return smallest_that_fit(machines, needs, machine.name if machine else "")


def longest(model, machine, batch, stored="released", storage="released", mtp=False):      # -> tokens; 0: not even the weights
    """The longest context for which weights and `batch` caches fit, at most what the model was made for."""
    over = _first(lambda tokens: needed(model, tokens, batch, stored, storage, mtp) > machine.room, model.longest + 1)
    return model.longest if over is None else over - 1


def measured_beside(runs, machines, model_of):          # yields dict per published run, with our bound and their ratio
    """Published tokens per second beside the least time that a machine needs. model_of: name -> model."""
    for run in runs:
        model, machine = model_of(run["model"]), find_machine(machines, run["machine"]).times(run["count"])
        stored, context, batch = run["weights"], run["context"], run["batch"]
        if run["what"] == "decode":
            least = batch / step_bound(model, machine, context, batch, stored).seconds
        elif run["what"] == "prefill":
            least = context / prefill_bound(model, machine, context, stored).seconds
        else:
            least = (context + run["new"]) / request_seconds(model, machine, context, run["new"], 0, batch, stored)
        yield {**run, "date": run["date"].isoformat(), "label": machine.label, "ceiling": least,
               "share": run["tokens_per_second"] / least}


def _times(found, tokens):                              # Bound -> dict
    return {"seconds": found.seconds, "compute_seconds": found.compute_seconds, "read_seconds": found.read_seconds,
            "binds": found.binds, "tokens_per_second": tokens / found.seconds, "flops": found.flops, "read": found.read}


def _first(is_true, most):                              # -> the least n of 1 .. most for which is_true(n), or None
    if not is_true(most):
        return None
    low, high = 0, most                                 # is_true is false at low (0 is never asked) and true at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_true(middle) else (middle, high)
    return high
