"""What every engine must answer to: a list of calls of each operation, chosen to be hard.

A case is a function of (ops, rng): it makes its inputs, hands them over by ops.place (any part of a tree of weights, an array
too) and calls one operation. What it gives is compared with what the same function gives on NumPy's engine, whose formulas
tests/ops compares with others. Integers that come from the host stay NumPy arrays, as the contract has them.
"""

import ml_dtypes
import numpy as np
from tolerances import OP, OP_LARGE, PRODUCT, ROTATED, SOFTMAX_LARGE

from v4mini.backend import BESIDE, OPERATIONS
from v4mini.config import Config
from v4mini.numerics import blocks
from v4mini.numerics.matrix import Matrix
from v4mini.ops.attention import window_starts
from v4mini.ops.rope import frequencies
from v4mini.weights.tree import Expert, HyperConnection

CASES = {}                      # "operation: what is hard" -> (function, tolerance; None: equal)
RELEASED = {}                   # the same for simulate="released"
EXACT = None


def case(operation, hard, tolerance=OP, into=CASES):
    """Register a case."""
    def keep(function):
        into[f"{operation}: {hard}"] = function, tolerance
        return function
    return keep


def normal(rng, *shape, size=1.0):                      # -> float32
    return (rng.standard_normal(shape) * size).astype(np.float32)


def whole(rng, *shape, most=3):                         # -> float32: whole numbers, whose sums are exact in any order
    return rng.integers(-most, most + 1, shape).astype(np.float32)


# ---- attend ----

def attention(ops, rng, T, P, W, size=1.0, sink=None, first=None, entries=None, operation="attend", damage=(), **far):
    H, q, rows = 3, normal(rng, T, 3, 8, size=size), normal(rng, P + T, 8, size=size)
    rows[list(damage)] = np.nan
    sink = normal(rng, H) if sink is None else np.full(H, sink, np.float32)
    first = window_starts(T, P + T, W) if first is None else first
    if entries is not None:
        far["entries"] = ops.place(entries) if isinstance(entries, np.ndarray) else entries
    if "picks" in far:
        far["picks"] = ops.place(far["picks"])
    return getattr(ops, operation)(ops.place(q), ops.place(rows), first, ops.place(sink), W, 0.3, **far)


for hard, sizes in {"no past": (5, 0, 4), "a past": (9, 3, 4), "a window of one": (5, 0, 1), "one token": (1, 3, 4),
                    "a window larger than the text": (7, 0, 128), "one token and no past": (1, 0, 4), "no token": (0, 3, 4),
                    "many tokens": (300, 15, 16)}.items():
    case("attend", hard)(lambda ops, rng, sizes=sizes: attention(ops, rng, *sizes))

case("attend", "windows that begin later", OP)(lambda ops, rng: attention(ops, rng, 6, 3, 5, first=np.array([3, 2, 5, 6, 3, 8])))
case("attend", "large numbers", SOFTMAX_LARGE)(lambda ops, rng: attention(ops, rng, 6, 3, 5, size=40))
case("attend", "a sink above everything")(lambda ops, rng: attention(ops, rng, 6, 3, 5, sink=200))
case("attend", "a sink below everything")(lambda ops, rng: attention(ops, rng, 6, 3, 5, sink=-200))
case("attend", "NaN before the window")(lambda ops, rng: attention(ops, rng, 4, 8, 3, damage=(0, 1, 5)))


case("attend", "NaN in a row that some read")(lambda ops, rng: attention(ops, rng, 6, 3, 3, damage=(4,)))


def picked(rng, T, N, K):                               # -> [T, K] int64, rising, then -1
    picks = np.stack([np.sort(rng.choice(N, K, replace=False)) for _ in range(T)])
    for t in range(T):
        picks[t, K - t % (K + 1):] = -1
    return picks


@case("attend", "picks, and none")
def _(ops, rng):
    return attention(ops, rng, 9, 2, 3, entries=normal(rng, 11, 8), picks=picked(rng, 9, 11, 4))


@case("attend", "picks of many tokens")
def _(ops, rng):
    return attention(ops, rng, 200, 2, 3, entries=normal(rng, 60, 8), picks=picked(rng, 200, 60, 20))


@case("attend", "NaN in an entry that nobody picks")
def _(ops, rng):
    entries, picks = normal(rng, 11, 8), picked(rng, 9, 10, 4)
    entries[10] = np.nan
    entries[0] = np.inf
    return attention(ops, rng, 9, 2, 3, entries=entries, picks=np.where(picks == 0, 1, picks))


@case("attend", "entries, the first so many")
def _(ops, rng):
    return attention(ops, rng, 9, 2, 3, entries=normal(rng, 11, 8), visible=np.array([0, 0, 1, 3, 3, 7, 10, 11, 11]))


@case("attend", "more entries than anybody sees, the rest NaN")
def _(ops, rng):
    entries = normal(rng, 40, 8)
    entries[6:] = np.nan
    return attention(ops, rng, 5, 2, 3, entries=entries, visible=np.array([0, 1, 2, 5, 6]))


@case("attend", "no entries yet, to be picked")
def _(ops, rng):
    return attention(ops, rng, 3, 0, 4, entries=np.zeros((0, 8), np.float32), picks=np.zeros((3, 0), np.int64))


@case("attend", "no entries yet, to be seen")
def _(ops, rng):
    return attention(ops, rng, 3, 0, 4, entries=np.zeros((0, 8), np.float32), visible=np.zeros(3, np.int64))


def stored(ops, rng, storage, kind, count):             # rows of a cache, in two pieces, as operations get them
    config = Config.tiny().replace(head_dim=96, rope_head_dim=32, index_head_dim=32)
    format = getattr(ops.formats(config, storage), kind)
    codes = format.encode(ops.place(normal(rng, count, format.width)))
    return format.joined([codes[:3], codes[3:]])


def over_stored(ops, rng, storage, **far):
    T, q, rows, sink = 5, normal(rng, 5, 2, 96), normal(rng, 7, 96), normal(rng, 2)
    if "picks" in far:
        far["picks"] = ops.place(far["picks"])
    entries = stored(ops, rng, storage, "row", 9)
    return ops.attend(ops.place(q), ops.place(rows), window_starts(T, 7, 3), ops.place(sink), 3, 0.1, entries=entries, **far)


PICKS = np.array([[0, 2, 8], [1, 3, -1], [-1, -1, -1], [4, 5, 6], [2, 3, 4]])
for storage in ("float32", "bfloat16", "released"):
    case("attend", f"picks of rows stored as {storage}")(lambda ops, rng, s=storage: over_stored(ops, rng, s, picks=PICKS))
    case("attend", f"rows stored as {storage}")(
        lambda ops, rng, s=storage: over_stored(ops, rng, s, visible=np.array([0, 3, 4, 9, 9])))


@case("attention_weights", "a window longer than the past")
def _(ops, rng):
    return attention(ops, rng, 5, 2, 9, operation="attention_weights")


@case("attention_weights", "picks")
def _(ops, rng):
    more = {"entries": normal(rng, 11, 8), "picks": picked(rng, 9, 11, 4)}
    return attention(ops, rng, 9, 2, 3, operation="attention_weights", **more)


@case("attention_weights", "entries")
def _(ops, rng):
    more = {"entries": normal(rng, 11, 8), "visible": np.array([0, 0, 1, 3, 3, 7, 10, 11, 11])}
    return attention(ops, rng, 9, 2, 3, operation="attention_weights", **more)


# ---- index_topk: whole numbers, so that every engine has the same scores and all ties are ties ----

def topk(ops, rng, T, N, k, visible, most=3, di=8):
    q, keys, weights = whole(rng, T, 3, di, most=most), whole(rng, N, di, most=most), whole(rng, T, 3, most=2)
    return ops.index_topk(ops.place(q), ops.place(keys), ops.place(weights), np.asarray(visible, np.int64), k)


HARD = {
    "clear scores": (5, 60, 7, [60, 60, 30, 8, 7], 90),
    "ties": (40, 60, 9, [60] * 40, 1),
    "fewer seen than wanted": (5, 60, 9, [0, 1, 5, 8, 9], 3),
    "more wanted than there are": (4, 6, 50, [0, 3, 6, 6], 3),
    "no keys": (3, 0, 4, [0, 0, 0], 3),
    "no token": (0, 9, 4, [], 3),
    "one token": (1, 9, 4, [9], 3),
    "all scores zero": (3, 30, 4, [30, 20, 3], 0),
    "none wanted": (2, 9, 0, [9, 4], 3),
    "many keys": (3, 9000, 40, [9000, 8500, 12], 2),
}
for hard, sizes in HARD.items():
    case("index_topk", hard, EXACT)(lambda ops, rng, s=sizes: topk(ops, rng, *s))


@case("index_topk", "keys beyond what is seen are NaN", EXACT)
def _(ops, rng):
    q, keys, weights = whole(rng, 3, 2, 8), whole(rng, 30, 8), whole(rng, 3, 2)
    keys[20:] = np.nan
    return ops.index_topk(ops.place(q), ops.place(keys), ops.place(weights), np.array([3, 11, 20]), 6)


for storage in ("float32", "bfloat16", "released"):
    @case("index_topk", f"keys stored as {storage}", EXACT)
    def _(ops, rng, storage=storage):
        keys = stored(ops, rng, storage, "key", 20)
        q, weights = ops.place(normal(rng, 3, 2, 32)), ops.place(normal(rng, 3, 2))
        return ops.index_topk(q, keys, weights, np.array([3, 11, 20]), 5)


# ---- compress ----

def pooled(ops, rng, n, ratio, C, has_previous, overlap, size=1.0):
    kv, score, ape = normal(rng, n * ratio, C), normal(rng, n * ratio, C, size=size), normal(rng, ratio, C)
    previous = [ops.place(normal(rng, ratio, C)) for _ in range(2)] if has_previous else None
    return ops.compress(ops.place(kv), ops.place(score), ops.place(ape), ratio, previous, overlap)


HARD = {
    "plain": (3, 16, 8, False, False),
    "one block": (1, 4, 8, False, True),
    "overlapping": (3, 4, 16, False, True),
    "overlapping, with a block before": (3, 4, 16, True, True),
    "one block and one before": (1, 4, 16, True, True),
    "long blocks": (2, 128, 8, False, False),
    "large scores": (3, 4, 16, True, True, 60.0),
}
for hard, sizes in HARD.items():
    case("compress", hard)(lambda ops, rng, s=sizes: pooled(ops, rng, *s))


# ---- norms, positions, streams ----

def norms(rng, *shape):
    x = normal(rng, *shape)
    if len(x):
        x[0] *= 1e-3                                    # eps is seen here
        x[-1] = 0
    return x


for name in ("rms_norm", "rms_unit"):
    for hard, shape in {"rows near zero": (5, 24), "three axes": (4, 3, 16), "no row": (0, 16), "one row": (1, 16)}.items():
        @case(name, hard)
        def _(ops, rng, name=name, shape=shape):
            weights = [ops.place(normal(rng, shape[-1]))] if name == "rms_norm" else []
            return getattr(ops, name)(ops.place(norms(rng, *shape)), *weights, 1e-6)
    case(name, "large numbers")(lambda ops, rng, name=name: getattr(ops, name)(
        ops.place(normal(rng, 3, 16, size=1e15)), *([ops.place(normal(rng, 16))] if name == "rms_norm" else []), 1e-6))

HARD = {
    "rows": ((5, 24), [0, 1, 5, 200, 300], False),
    "heads": ((3, 4, 24), [0, 7, 255], False),
    "back": ((3, 4, 24), [1, 7, 255], True),
    "all of a row": ((3, 8), [2, 1, 0], False),
    "no token": ((0, 4, 8), [], False),
    "one token": ((1, 4, 24), [129], False),
}
for hard, (shape, positions, inverse) in HARD.items():
    @case("rope", hard, ROTATED)
    def _(ops, rng, shape=shape, positions=positions, inverse=inverse):
        freqs = ops.constant(frequencies(8, 10000.0))
        return ops.rope(ops.place(normal(rng, *shape)), np.array(positions, np.int64), freqs, inverse=inverse)


@case("rope", "a million tokens on", OP)
def _(ops, rng):                                        # angles are float32 products; whole frequencies make them exact
    freqs = ops.constant(np.array([1, 0.5, 0.25], np.float32))
    return ops.rope(ops.place(normal(rng, 3, 6)), np.array([1_000_000, 1_048_575, 999_999]), freqs)


def mixed(ops, rng, T, operation, iters=20, size=0.3, M=4, D=16):
    rows = M if operation == "hc_head" else (2 + M) * M
    hc = HyperConnection(normal(rng, rows, M * D, size=size), normal(rng, rows), normal(rng, 1 if operation == "hc_head" else 3))
    streams = ops.place(normal(rng, T, M, D))
    more = () if operation == "hc_head" else (iters,)
    return getattr(ops, operation)(streams, ops.place(hc), *more, 1e-2, 1e-6)


for operation in ("hc_pre", "hc_head"):
    for hard, T in {"some tokens": 6, "one token": 1, "no token": 0}.items():
        case(operation, hard)(lambda ops, rng, o=operation, T=T: mixed(ops, rng, T, o))
    case(operation, "large logits", OP_LARGE)(lambda ops, rng, o=operation: mixed(ops, rng, 6, o, size=5.0))
case("hc_pre", "a softmax and one step")(lambda ops, rng: mixed(ops, rng, 6, "hc_pre", iters=1))
case("hc_expand", "copies", EXACT)(lambda ops, rng: ops.hc_expand(ops.place(normal(rng, 3, 8)), 4))
for hard, T in {"some tokens": 5, "one token": 1, "no token": 0}.items():
    case("hc_post", hard)(lambda ops, rng, T=T: ops.hc_post(
        *map(ops.place, (normal(rng, T, 16), normal(rng, T, 4, 16), normal(rng, T, 4), normal(rng, T, 4, 4)))))


# ---- products with weights ----

def matrix(rng, out, width, format="f32", keep=False, name="w"):
    w = normal(rng, out, width) * np.exp2(rng.integers(-6, 2, (out, 1))).astype(np.float32)     # scales differ by row and tile
    made = {"f32": Matrix, "bf16": lambda w: Matrix(w.astype(ml_dtypes.bfloat16)), "fp8": blocks.quantise_fp8,
            "fp4": blocks.quantise_fp4}[format](w)
    return Matrix(made.codes, made.scale, keep, name)


for format in ("f32", "bf16", "fp8", "fp4"):
    for hard, T in {"one token": (1,), "some tokens": (7,), "many tokens": (70,), "no token": (0,), "three axes": (3, 4)}.items():
        for keep in (False, True):
            case("linear", f"{format}{', kept' if keep else ''}, {hard}", PRODUCT)(
                lambda ops, rng, f=format, T=T, keep=keep: ops.linear(
                    ops.place(normal(rng, *T, 160)), ops.place(matrix(rng, 200, 160, f, keep))))
    case("embed", f"{format}, ids that repeat", EXACT)(lambda ops, rng, f=format: ops.embed(
        np.array([199, 0, 0, 130, 127, 128]), ops.place(matrix(rng, 200, 160, f))))
    for groups in (1, 2, 4):
        case("grouped_linear", f"{format}, {groups} groups", PRODUCT)(lambda ops, rng, f=format, g=groups: ops.grouped_linear(
            ops.place(normal(rng, 5, g * 64)), ops.place(matrix(rng, g * 40, 64, f)), g))


# ---- experts ----

def routed(ops, rng, T, E, k, bias=True, chosen=None, size=1.0):
    scores, b = normal(rng, T, E, size=size), ops.place(normal(rng, E)) if bias else None
    return ops.route(ops.place(scores), 1.5, k, bias=b, chosen=None if chosen is None else ops.place(chosen))


case("route", "scores with a bias")(lambda ops, rng: routed(ops, rng, 9, 8, 3))
case("route", "all experts")(lambda ops, rng: routed(ops, rng, 4, 5, 5))
case("route", "one token")(lambda ops, rng: routed(ops, rng, 1, 8, 2))
case("route", "large scores")(lambda ops, rng: routed(ops, rng, 9, 8, 3, size=40.0))
case("route", "a table of experts")(
    lambda ops, rng: routed(ops, rng, 3, 6, 2, bias=False, chosen=np.array([[5, 0], [2, 2], [1, 4]])))


@case("route", "ties")
def _(ops, rng):
    bias = np.array([0, 1, 0, 1, 1, 0, 1, 1, 0], np.float32)
    return ops.route(ops.place(np.ones((3, 9), np.float32)), 1.5, 4, bias=ops.place(bias))


@case("route", "a score that is NaN")
def _(ops, rng):
    scores = normal(rng, 3, 8)
    scores[1, 5] = np.nan
    return ops.route(ops.place(scores), 1.5, 3, bias=ops.place(normal(rng, 8)))


def one_expert(rng, D=32, inter=64, format="f32"):
    return Expert(*(matrix(rng, *shape, format, name=name) for name, shape in
                    (("w1", (inter, D)), ("w2", (D, inter)), ("w3", (inter, D)))))


for limit in (0.0, 1.5):
    case("expert", f"cut at {limit}" if limit else "not cut", PRODUCT)(lambda ops, rng, limit=limit: ops.expert(
        ops.place(normal(rng, 6, 32)), ops.place(one_expert(rng)), limit))


def pooled_experts(ops, rng, chosen, format="f32", limit=1.5):
    chosen = np.asarray(chosen, np.int64)
    pool = ops.place(tuple(one_expert(rng, format=format) for _ in range(6)))
    weights = rng.random(chosen.shape).astype(np.float32)
    return ops.experts(ops.place(normal(rng, len(chosen), 32)), ops.place(chosen), ops.place(weights), pool, limit)


TABLES = {"in any order": [[5, 0], [1, 5], [0, 1], [5, 2]], "one token": [[4, 1]], "one token, one expert twice": [[3, 3]],
          "one expert twice": [[3, 3], [3, 0], [0, 3]], "all to one": [[2]] * 70, "no token": np.zeros((0, 2))}
for format in ("f32", "fp4", "fp8"):
    for hard, chosen in TABLES.items():
        case("experts", f"{format}, {hard}", PRODUCT)(lambda ops, rng, f=format, c=chosen: pooled_experts(ops, rng, c, f))


# ---- arrays: moved or marked ----

case("take", "rows that repeat", EXACT)(lambda ops, rng: ops.take(ops.place(normal(rng, 5, 3)), np.array([4, 0, 0, 2])))
case("take", "of three axes", EXACT)(lambda ops, rng: ops.take(ops.place(normal(rng, 5, 3, 2)), np.array([4])))
case("take", "none", EXACT)(lambda ops, rng: ops.take(ops.place(normal(rng, 5, 3)), np.zeros(0, np.int64)))
case("take", "of a table of integers", EXACT)(
    lambda ops, rng: ops.take(ops.place(np.arange(12).reshape(6, 2)), np.array([5, 1, 1])))
case("concat", "parts of any length", EXACT)(lambda ops, rng: ops.concat([ops.place(normal(rng, n, 3)) for n in (2, 0, 4, 1)]))
case("detach", "the same numbers", EXACT)(lambda ops, rng: ops.detach(ops.place(normal(rng, 2, 3))))
case("constant", "the same numbers", EXACT)(lambda ops, rng: ops.constant(frequencies(8, 10000.0)))
case("round_kv", "nothing", EXACT)(lambda ops, rng: ops.round_kv(ops.place(normal(rng, 3, 96)), 32))
case("round_index", "nothing", EXACT)(lambda ops, rng: ops.round_index(ops.place(normal(rng, 3, 32))))


# ---- the rounding of the released script ----

case("round_kv", "rows, the rotated part not", EXACT, RELEASED)(lambda ops, rng: ops.round_kv(ops.place(normal(rng, 5, 96)), 32))
case("round_index", "rows", OP, RELEASED)(lambda ops, rng: ops.round_index(ops.place(normal(rng, 5, 2, 32))))
case("linear", "a plain weight", PRODUCT, RELEASED)(
    lambda ops, rng: ops.linear(ops.place(normal(rng, 4, 128)), ops.place(matrix(rng, 40, 128))))
case("grouped_linear", "input as it is", PRODUCT, RELEASED)(
    lambda ops, rng: ops.grouped_linear(ops.place(normal(rng, 4, 256)), ops.place(matrix(rng, 40, 128, "fp8")), 2))
for format in ("fp8", "fp4"):
    case("linear", f"{format}, rounded input", PRODUCT, RELEASED)(lambda ops, rng, f=format: ops.linear(
        ops.place(normal(rng, 4, 256)), ops.place(matrix(rng, 40, 256, f))))


@case("experts", "weights before the rounding of w2's input", {"rtol": 0.02, "atol": 0.02}, RELEASED)
def _(ops, rng):                                        # a last bit may round another way, so it is not compared closely
    pool = ops.place(tuple(one_expert(rng, 128, 128, "fp8") for _ in range(2)))
    weights = np.array([[0.37, 0.011], [0.61, 0.9]], np.float32)
    return ops.experts(ops.place(normal(rng, 2, 128)), ops.place(np.array([[0, 1], [1, 0]])), ops.place(weights), pool, 0.0)


def lacking(ops):                                       # -> [names of the contract that an engine does not have]
    """See v4mini/backend.py."""
    return [name for name in (*OPERATIONS, *BESIDE) if not callable(getattr(ops, name, None))]


def answer(ops, name, seed=0, cases=CASES):             # -> [NumPy arrays]
    """What an engine says to a case."""
    function, _ = cases[name]
    given = function(ops, np.random.default_rng([seed, *name.encode()]))
    return [ops.host(part) for part in (given if isinstance(given, tuple) else (given,))]


def compare(got, wanted, tolerance, name=""):
    """Raise AssertionError if shapes, kinds of number or numbers differ."""
    assert len(got) == len(wanted), f"{name}: expected {len(wanted)} arrays, got {len(got)}"
    for a, b in zip(got, wanted):
        assert a.shape == b.shape, f"{name}: expected shape {list(b.shape)}, got {list(a.shape)}"
        assert a.dtype.kind == b.dtype.kind, f"{name}: expected numbers of kind {b.dtype}, got {a.dtype}"
        if b.dtype.kind == "f" and tolerance is not None:
            np.testing.assert_allclose(a, b, err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


def differing(ops, wanted, cases=CASES):                # wanted: {name: NumPy's answer} -> [names of cases answered otherwise]
    """What an engine gets wrong, an exception included; for mistakes that are planted in one."""
    wrong = []
    for name, right in wanted.items():
        try:
            compare(answer(ops, name, cases=cases), right, cases[name][1], name)
        except Exception:                               # whatever a wrong engine dies of
            wrong.append(name)
    return wrong
