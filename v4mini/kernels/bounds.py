"""Upper bounds of the indexer's scores from eight-bit codes: a quarter of the memory and less than half the work of float32.

A key is k = s c + rest, a query q = r d + rest, with codes c and d, whole numbers from -63 to 63. By Cauchy and Schwarz

    |q . k - r s (d . c)|  <=  |r d| |rest of k| + |rest of q| |k|  <=  r s |d| (e + f n)

with e = |rest of k| / s and n = |k| / s of the key, and f the largest |rest of q| / |r d| of the token's heads. relu keeps the
order, so what a head of weight w adds to the score is at most

    s w r relu(d . c + |d| (e + f n))  for w > 0,      s w r relu(d . c - |d| (e + f n))  for w < 0

The sum of these is computed here. float32 rounds too: B n and C, added to the sum, are for that. Where something is not finite
no bound is either, and nothing is ruled out. Rows of FP4 are whole numbers of a power of two: their rest is zero.
Not here: who is chosen (candidates.py), where codes are kept (keys.py).
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from v4mini.kernels.compiled import njit
from v4mini.kernels.emit import F32, emit_blocks, emit_call, emit_fma, emit_load, emit_spread
from v4mini.kernels.vector import processor_has

GROUP, STEP = 8, 8              # keys whose codes lie together, and how many numbers of each make 64 bytes, two registers
MOST = 63                       # then four products of two codes fit in 16 bits: 4 * 63 * (63 + 64) = 32,004
SHIFT = 64                      # keys are stored as code + 64: the instruction wants one side without a sign
HUGE, TINY = np.float32(1e18), np.float32(1e-30)        # beyond these no code is tried: products of two stay finite
I8, I16, I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
BYTES, SHORTS, WORDS, FLOATS = (ir.VectorType(kind, n) for kind, n in ((I8, 32), (I16, 16), (I32, GROUP), (F32, GROUP)))
HEADS_AT_ONCE, GROUPS_AT_ONCE = (4, 1), (2, 1)          # of which all sums stay in registers


def is_there():                                         # -> whether this processor has the instructions
    """Plain Python has them too: it adds whole numbers."""
    return config.DISABLE_JIT or processor_has("avx2")


@njit(error_model="numpy")
def encode(x, codes):                                   # float32 [n], out int8 [n] -> scale, |x - scale codes|, |x|
    """The nearest codes, and lengths not below the true ones. All codes are 0 where x is tiny, or too large, or not finite: then
    the lengths are infinite.
    """
    top, squares = np.float32(0), 0.0
    for i in range(len(x)):
        top = max(top, abs(x[i])) if x[i] == x[i] else np.float32(np.inf)
        squares += np.float64(x[i]) * x[i]
    length = np.sqrt(squares) * (1 + 1e-9) if top < HUGE else np.inf
    if not TINY <= top < HUGE:
        for i in range(len(x)):
            codes[i] = 0
        return np.float32(1), length, length
    power = np.float32(2.0 ** np.ceil(np.log2(top / np.float32(MOST))))
    scale = power if _are_whole(x, np.float32(1) / power) else top / np.float32(MOST)
    rest, inverse = 0.0, np.float32(1) / scale
    for i in range(len(x)):
        code = min(max(np.rint(x[i] * inverse), np.float32(-MOST)), np.float32(MOST))
        codes[i] = np.int8(code)
        left = np.float64(x[i]) - np.float64(scale) * code
        rest += left * left
    return scale, np.sqrt(rest) * (1 + 1e-9), length


@njit
def _are_whole(x, inverse):
    broken = 0
    for i in range(len(x)):
        broken += x[i] * inverse != np.rint(x[i] * inverse)
    return broken == 0


@njit(error_model="numpy")
def encode_keys(rows, start, stop, codes, lengths):     # float32 [N, di] -> uint8 [groups, steps, 2, 8, 4], [groups, 3, 8]
    """Keys start..stop; lengths holds s, e and n of each, float32."""
    own = np.zeros(codes.shape[1] * STEP, np.int8)
    for j in range(start, stop):
        group, lane = j // GROUP, j % GROUP
        scale, rest, length = encode(rows[j], own[: rows.shape[1]])
        lengths[group, 0, lane], lengths[group, 1, lane], lengths[group, 2, lane] = scale, _up(rest / scale), _up(length / scale)
        for i in range(len(own)):
            codes[group, i // STEP, i // 4 % 2, lane, i % 4] = np.uint8(own[i] + SHIFT)


@njit(error_model="numpy")
def encode_query(q, weights, codes, start, heads):      # float32 [Hi, di], [Hi] -> int8 [Hi, steps * 8], int32 [Hi], [2, Hi]
    """One token's queries. -> f, B, C, and what no score exceeds: 0 where no weight is above 0. All float32.

    start is what the shift of the keys adds to each product, with its sign turned; heads are w r, and |d| with the sign of w.
    """
    rounding = (2 * q.shape[1] + 4 * len(q) + 64) * 2.0**-23
    f, b, c, most = 0.0, 0.0, 0.0, np.float32(0)
    for h in range(len(q)):
        scale, rest, length = encode(q[h], codes[h, : q.shape[1]])
        weight, total, squares = np.float64(weights[h]), 0, 0
        for i in range(q.shape[1]):
            code = np.int64(codes[h, i])
            total, squares = total + code, squares + code * code
        norm = np.sqrt(np.float64(squares))
        start[h], heads[0, h] = -SHIFT * total, weight * scale
        heads[1, h] = _up(norm) if weight > 0 else -_up(norm)
        if squares:
            f = max(f, rest / scale / norm)
        b += abs(weight) * (rounding * (length + rest) + (0 if squares else rest))
        c += (abs(weight) + 1) * q.shape[1] * 2.0**-140           # numbers too small for their digits
        most = most if weights[h] <= 0 else np.float32(np.inf)  # NaN is above all
    if not b < HUGE:                                    # NaN too: no number rules anything out
        heads[:] = 0
        b = c = np.inf
    return _up(f * (1 + 1e-9)), _up(b), _up(c), most


@njit
def _up(x):                                             # float64 -> the float32 above
    return np.float32(x * (1 + 2.0**-22))


@intrinsic
def tile_bounds(typingctx, codes, lengths, first, stop, q, start, heads, limits, bar, out):
    """One token, and the keys of groups first..stop: a bit in out[group - first] for each whose bound is not at most `bar`.

    uint8 codes [groups, steps, 2, 8, 4], float32 lengths [groups, 3, 8], int32 q [Hi, steps * 2] (four codes in each),
    int32 start [Hi], float32 heads [2, Hi], limits [>= 3] (f, B, C), bar, uint8 out -> whether there is a bit
    """
    names = "codes", "lengths", "first", "stop", "q", "start", "heads", "limits", "bar", "out"

    def generate(context, builder, sig, args):
        given = dict(zip(names, args))
        for name, kind in zip(names, sig.args):
            if isinstance(kind, types.Array):
                given[name] = context.make_array(kind)(context, builder, given[name])
        found, count = cgutils.alloca_once_value(builder, I8(0)), cgutils.unpack_tuple(builder, given["q"].shape, 2)[0]
        f, b, c = (_one(builder, given["limits"], count.type(i), FLOATS) for i in range(3))
        for group, G in emit_blocks(builder, given["stop"], GROUPS_AT_ONCE, given["first"]):
            groups = [builder.add(group, group.type(g)) for g in range(G)]
            keys = [_lengths(builder, given["lengths"], group) for group in groups]
            slacks = [emit_fma(builder, f, n, e) for _, e, n in keys]
            sums = [cgutils.alloca_once_value(builder, ir.Constant(FLOATS, [0.0] * GROUP)) for _ in groups]
            for head, H in emit_blocks(builder, count, HEADS_AT_ONCE):
                products = _products(builder, given, groups, [builder.add(head, head.type(h)) for h in range(H)])
                for h, of_groups in enumerate(products):
                    _add_head(builder, given["heads"], builder.add(head, head.type(h)), count, of_groups, slacks, sums)
            for group, (s, _, n), total in zip(groups, keys, sums):
                bound = emit_fma(builder, s, emit_fma(builder, b, n, builder.load(total)), c)
                above = builder.bitcast(builder.fcmp_unordered(">", bound, emit_spread(builder, given["bar"], FLOATS)), I8)
                builder.store(above, builder.gep(given["out"].data, [builder.sub(group, given["first"])]))
                builder.store(builder.or_(builder.load(found), above), found)
        return builder.icmp_unsigned("!=", builder.load(found), I8(0))

    return types.boolean(codes, lengths, first, stop, q, start, heads, limits, bar, out), generate


def _lengths(builder, lengths, group):                  # -> s, e, n of eight keys
    first = builder.mul(group, group.type(3))
    return [emit_load(builder, lengths.data, builder.add(first, first.type(i)), FLOATS, 4) for i in range(3)]


def _products(builder, given, groups, heads):           # -> d . c for each head and group, in 8 lanes of 32 bits
    word = groups[0].type
    halves = builder.udiv(cgutils.unpack_tuple(builder, given["codes"].strides, 5)[0], word(32))        # registers in a group
    totals = [[cgutils.alloca_once_value(builder, _one(builder, given["start"], head, WORDS)) for _ in groups] for head in heads]
    with cgutils.for_range(builder, builder.udiv(halves, word(2))) as loop:
        at = [builder.add(builder.mul(loop.index, word(2)), word(half)) for half in range(2)]
        own = [[emit_load(builder, given["codes"].data, builder.add(builder.mul(group, halves), place), BYTES, 1) for place in at]
               for group in groups]
        for head, of_groups in zip(heads, totals):
            row = builder.mul(head, halves)
            theirs = [builder.bitcast(_one(builder, given["q"], builder.add(row, place), WORDS), BYTES) for place in at]
            for total, mine in zip(of_groups, own):
                fours = [emit_call(builder, "llvm.x86.avx2.pmadd.ub.sw", SHORTS, pair) for pair in zip(mine, theirs)]
                eights = emit_call(builder, "llvm.x86.avx2.pmadd.wd", WORDS, [builder.add(*fours), ir.Constant(SHORTS, [1] * 16)])
                builder.store(builder.add(builder.load(total), eights), total)
    return [[builder.load(total) for total in of_groups] for of_groups in totals]


def _add_head(builder, heads, head, count, products, slacks, sums):     # sum += w r relu(d . c +- |d| slack)
    factor, size = _one(builder, heads, head, FLOATS), _one(builder, heads, builder.add(head, count), FLOATS)
    for product, slack, total in zip(products, slacks, sums):
        most, zero = emit_fma(builder, size, slack, builder.sitofp(product, FLOATS)), ir.Constant(FLOATS, [0.0] * GROUP)
        most = builder.select(builder.fcmp_ordered(">", most, zero), most, zero)
        builder.store(emit_fma(builder, factor, most, builder.load(total)), total)


def _one(builder, array, index, kind):                  # array.flat[index] in all lanes
    return emit_spread(builder, builder.load(builder.gep(array.data, [index])), kind)


if config.DISABLE_JIT:
    def tile_bounds(codes, lengths, first, stop, q, start, heads, limits, bar, out):
        """As above, in plain Python."""
        d = q.view(np.int8).reshape(len(q), -1).astype(np.int32)
        keys = codes[first:stop].transpose(0, 3, 1, 2, 4).reshape(-1, d.shape[1]).astype(np.int32)
        s, e, n = lengths[first:stop].transpose(1, 0, 2).reshape(3, -1)
        f, b, c = limits[:3]
        with np.errstate(invalid="ignore", over="ignore"):  # an infinite bound passes, as compiled
            most = (d @ keys.T + start[:, None]).astype(np.float32) + heads[1][:, None] * (e + f * n)
            above = ~(s * (heads[0] @ np.where(most > 0, most, 0) + b * n) + c <= bar)
        out[: stop - first] = np.packbits(above.reshape(-1, GROUP), axis=1, bitorder="little")[:, 0]
        return bool(above.any())
