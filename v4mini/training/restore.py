"""A training checkpoint held to the run that would go on with it: every name, type, shape and number.

A checkpoint comes from a disk or from somebody else. What does not fit is one sentence, before anything of the run is changed.
Not here: the file and its checksum (checkpoint.py), going on (run.py).
"""

import math
import re

import numpy as np

from v4mini.shapes import Refused
from v4mini.training.optimisers import learner
from v4mini.training.records import TRAINED, expect_like
from v4mini.untrusted import brief
from v4mini.weights.spec import tensors

FIELDS = {"recipe", "texts", "feed", "adamw_steps", "seconds", "accuracy", "number", "stage_step", "step", "tokens",
          "before"}
BATCH = {"ids": np.int64, "ends": np.int64, "positions": np.int64, "weights": np.float32}
_AHEAD = re.compile(r"ahead\.(0|[1-9]\d{0,5})\.(batch|routes)\.([a-z0-9.]{1,40})", re.ASCII)
_ADVICE = "Was it written by hand? Begin anew in another folder."


def check_state(path, recipe, corpus, state):
    """The numbers: where in the recipe the run stands, what was drawn. Raises Refused for the first that cannot be."""
    _expect(path, "fields", set(state) == FIELDS, sorted(FIELDS), sorted(state))
    number = _whole(path, state, "number", 0, len(recipe.stages) - 1)
    stage = recipe.stages[number]
    done = _whole(path, state, "stage_step", 0, stage.steps)
    before = sum(one.steps for one in recipe.stages[:number])
    step = _whole(path, state, "step", done, done + before)
    _whole(path, state, "adamw_steps", done, step)
    each = [one.rows * one.length for one in recipe.stages[: number + 1]]
    least = done * each[-1]
    most = done * each[-1] + (step - done) * max(each)
    _whole(path, state, "tokens", least, most)
    seconds, accuracy = state["seconds"], state["accuracy"]
    _expect(path, "seconds", _is_number(seconds) and seconds >= 0, "a number of 0 or more", seconds)
    _expect(path, "accuracy", accuracy is None or (_is_number(accuracy) and accuracy <= 1), "null, or 0 to 1", accuracy)
    if state["before"] is not None:
        expect_like(state["before"], TRAINED, f"{path}: before")
    _check_feed(path, recipe, corpus, state["feed"])


def _check_feed(path, recipe, corpus, feed):
    _expect(path, "feed", isinstance(feed, dict) and set(feed) == {"rng", "rows"}, "rng and rows", feed)
    rng, rows = feed["rng"], feed["rows"]
    fits = isinstance(rng, dict) and set(rng) == {"bit_generator", "state", "has_uint32", "uinteger"}
    fits = fits and rng["bit_generator"] == "PCG64" and _in(rng["has_uint32"], 0, 1) and _in(rng["uinteger"], 0, 2**32 - 1)
    inner = rng["state"] if fits else None
    fits = fits and isinstance(inner, dict) and set(inner) == {"state", "inc"}
    fits = fits and all(_in(inner[name], 0, 2**128 - 1) for name in inner) and inner["inc"] % 2 == 1
    _expect(path, "feed.rng", fits, "the state of a PCG64 generator", rng)
    if rows is None:
        return
    _expect(path, "feed.rows", isinstance(rows, dict) and set(rows) == {"length", "seed", "used"}, "length, seed, used", rows)
    lengths = {stage.length for stage in recipe.stages if stage.mix.get("text")}
    _expect(path, "feed.rows.length", type(rows["length"]) is int and rows["length"] in lengths, sorted(lengths), rows["length"])
    most = (len(corpus) - rows["length"] + 1) // rows["length"]
    _expect(path, "feed.rows.used", _in(rows["used"], 0, most), f"0 to {most:,}", rows["used"])
    _expect(path, "feed.rows.seed", _in(rows["seed"], 0, 2**53 - 1), "0 to 2^53 - 1", rows["seed"])


def check_arrays(path, config, arrays):                 # -> params: {name: array}
    """Parameters and moments: their names, dtypes, shapes, and that all are numbers. Raises Refused for the first that is not."""
    wanted = _wanted(config)
    given = {name for name in arrays if not name.startswith("ahead.")}
    wrong = sorted(given ^ set(wanted))
    if wrong:
        state = "not there" if wrong[0] in wanted else "one of another model"
        raise Refused(f"{path}: expected {len(wanted):,} arrays, got {len(given):,}: {brief(wrong[0])} is {state}. {_ADVICE}")
    for name, (dtype, shape, most) in wanted.items():
        array = arrays[name]
        _expect(path, name, array.dtype == dtype and array.shape == shape, f"{np.dtype(dtype)} {list(shape)}",
                f"{array.dtype} {list(array.shape)}")
        if most is not None:
            _expect(path, name, _all_in(array, most), f"numbers of experts, 0 to {most}", "others")
        else:
            _expect(path, name, np.isfinite(array).all(), "finite numbers", "infinities, or what is no number")
            _expect(path, name, not name.startswith("adamw.square.") or (array >= 0).all(), "squares of 0 or more", "less")
    return {name.removeprefix("params."): values for name, values in arrays.items() if name.startswith("params.")}


def _wanted(config):                                    # -> {name: (dtype, shape, largest whole number or None)}
    wanted = {}
    for spec in tensors(config):
        is_table = spec.format == "i64"
        wanted[f"params.{spec.name}"] = (np.int64, spec.shape, config.n_routed_experts - 1) if is_table else (
            np.float32, spec.shape, None)
        moments = {"muon": ["muon."], "adamw": ["adamw.mean.", "adamw.square."]}.get(learner(spec), [])
        wanted |= {moment + spec.name: (np.float32, spec.shape, None) for moment in moments}
    return wanted


def check_ahead(path, config, stage, done, arrays):
    """Batches that were drawn ahead, after `done` steps of the stage: as many as there must be, ids and routes that exist."""
    found = {}
    for name in sorted(name for name in arrays if name.startswith("ahead.")):
        parts = _AHEAD.fullmatch(name)
        _expect(path, "its arrays", parts, "ahead.N.batch.NAME or ahead.N.routes.LAYER", name)
        found.setdefault(int(parts[1]), {"batch": {}, "routes": {}})[parts[2]][parts[3]] = arrays[name]
    least = stage.anticipate
    count = min(done, max(0, stage.steps - least)) - max(0, done - least) if least else 0
    _expect(path, "batches drawn ahead", sorted(found) == list(range(count)), f"{count}", f"{len(found)}")
    for number, parts in found.items():
        _check_batch(path, f"ahead.{number}", config, stage, parts["batch"], parts["routes"])


def _check_batch(path, where, config, stage, batch, routes):
    _expect(path, where, set(batch) == set(BATCH), sorted(BATCH), sorted(batch))
    for name, dtype in BATCH.items():
        _expect(path, f"{where}.{name}", batch[name].dtype == dtype, str(np.dtype(dtype)), batch[name].dtype)
    T = stage.rows * stage.length
    _expect(path, f"{where}.ids", batch["ids"].shape == (T,) and _all_in(batch["ids"], config.vocab_size - 1), f"{T:,} token ids",
            f"{list(batch['ids'].shape)}")
    _expect(path, f"{where}.positions", _all_in(batch["positions"], config.max_seq_len - 1), "positions of the model", "others")
    learned = {str(layer) for layer in range(config.n_layers) if not config.is_hash_layer(layer)}
    mtp = str(config.n_layers)
    _expect(path, f"{where}.routes", learned <= set(routes) <= learned | {mtp}, sorted(learned), sorted(routes))
    for layer, chosen in routes.items():
        fits = chosen.dtype == np.int64 and chosen.ndim == 2 and chosen.shape[1] == config.n_activated_experts
        fits = fits and (chosen.shape[0] == T or layer == mtp) and _all_in(chosen, config.n_routed_experts - 1)
        _expect(path, f"{where}.routes.{layer}", fits, "experts for each token", f"{chosen.dtype} {list(chosen.shape)}")


def _all_in(array, most):
    return array.size == 0 or (array.min() >= 0 and array.max() <= most)


def _whole(path, state, name, least, most):
    _expect(path, name, _in(state[name], least, most), f"{least:,} to {most:,}", state[name])
    return state[name]


def _in(value, least, most):
    return type(value) is int and least <= value <= most


def _is_number(value):
    return type(value) in (int, float) and value >= 0 and math.isfinite(value)


def _expect(path, what, fits, wanted, got):
    if not fits:
        wanted = wanted if isinstance(wanted, str) else ", ".join(map(str, wanted))
        raise Refused(f"{path}: {brief(what)[1:-1]}: expected {wanted}, got {brief(got)}. {_ADVICE}")
