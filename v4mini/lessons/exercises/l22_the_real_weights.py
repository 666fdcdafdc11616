"""Lesson 22: is a header sound, one weight from two bytes, few ranges for many tensors, what a token reads."""

import math
import re

import ml_dtypes
import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.numerics import e4m3

TILE = 128
WIDTHS = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "F8_E8M0": 1, "I8": 1, "U8": 1}     # bytes a number


def first_fault(fields, nbytes):                            # {name: dtype, shape, data_offsets}, bytes after the header -> text
    """The first tensor, by its place, that begins or ends elsewhere than it must; "the end" if the file does; or ""."""
    at = 0
    for name, field in sorted(fields.items(), key=lambda item: item[1]["data_offsets"]):
        if field["data_offsets"] != [at, at + math.prod(field["shape"]) * WIDTHS[field["dtype"]]]:
            return name
        at = field["data_offsets"][1]
    return "" if at == nbytes else "the end"


def weight_at(raw, codes, scales, columns, row, column):    # bytes, int, int, int, int, int -> float
    """One FP8 weight of a matrix with so many columns: its code and the scale of its tile, one byte each."""
    code = raw[codes + row * columns + column]
    tiles = -(-columns // TILE)
    scale = raw[scales + row // TILE * tiles + column // TILE]
    return float(e4m3.TABLE[code]) * 2.0 ** (scale - 127)


def merge_ranges(ranges):                                   # [(start, stop)] -> [(start, stop)], sorted, none touching another
    """The fewest ranges that bring the same bytes."""
    merged = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def token_bytes(stored, asked):                             # {name: (shape, bytes)}, experts a token asks -> int
    """Bytes that one token makes the machine read: some experts, one row of the tables, all the rest once."""
    experts = 1 + max(int(found[1]) for found in (re.search(r"\.experts\.(\d+)\.", name) for name in stored) if found)
    total = 0
    for name, (shape, nbytes) in stored.items():
        if name.startswith("mtp."):
            continue
        if ".experts." in name:
            total += nbytes * asked / experts
        elif name == "embed.weight" or name.endswith(".tid2eid"):
            total += nbytes / shape[0]
        else:
            total += nbytes
    return round(total)


# ---- is a header sound? ----

def _fields(*tensors):                                      # (name, dtype, shape, start, stop) ... -> a header
    return {name: {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]} for name, dtype, shape, start, stop in tensors}


def _fault_cases(rng):
    sound = ("a", "F32", [2], 0, 8), ("b", "BF16", [3], 8, 14), ("c", "I8", [5], 14, 19)
    yield "three tensors, all well", (_fields(*sound), 19)
    yield "the same in another order", (_fields(*sound[::-1]), 19)
    yield "the second is a byte short for its shape", (_fields(sound[0], ("b", "BF16", [3], 8, 13), ("c", "I8", [6], 13, 19)), 19)
    yield "a gap before the last", (_fields(*sound[:2], ("c", "I8", [5], 15, 20)), 20)
    yield "two share a byte", (_fields(sound[0], ("b", "BF16", [4], 7, 15)), 15)
    yield "the file is longer than its tensors", (_fields(*sound), 20)
    yield "the file was cut short", (_fields(*sound), 18)
    yield "one of no numbers, and one number without axes", (_fields(("e", "F32", [0, 7], 8, 8), *sound[1:],
                                                                     ("d", "F32", [], 0, 4), ("f", "F32", [1], 4, 8)), 19)
    yield "no tensor", ({}, 0)


def _fault_by_sums(fields, nbytes):                         # where a tensor must begin is what all before it take
    names = sorted(fields, key=lambda name: tuple(fields[name]["data_offsets"]))
    sizes = [math.prod(fields[name]["shape"]) * WIDTHS[fields[name]["dtype"]] for name in names]
    for number, name in enumerate(names):
        if tuple(fields[name]["data_offsets"]) != (sum(sizes[:number]), sum(sizes[:number + 1])):
            return name
    return "" if sum(sizes) == nbytes else "the end"


def _fault_in_the_order_given(fields, nbytes):
    at = 0
    for name, field in fields.items():
        size = math.prod(field["shape"]) * WIDTHS[field["dtype"]]
        if field["data_offsets"] != [at, at + size]:
            return name
        at += size
    return "" if at == nbytes else "the end"


def _fault_without_the_end(fields, nbytes):
    found = first_fault(fields, nbytes)
    return "" if found == "the end" else found


def _fault_of_lengths_alone(fields, nbytes):
    for name, field in sorted(fields.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = field["data_offsets"]
        if stop - start != math.prod(field["shape"]) * WIDTHS[field["dtype"]]:
            return name
    return "" if max((field["data_offsets"][1] for field in fields.values()), default=0) == nbytes else "the end"


# ---- one weight ----

def _weights(rng, rows, columns, gap=0):                    # -> bytes, where codes begin, where scales begin, columns
    codes = rng.integers(0, 256, (rows, columns), np.uint8)
    codes[codes & 127 == e4m3.NAN] = 1
    scales = rng.integers(100, 135, (-(-rows // TILE), -(-columns // TILE)), np.uint8)
    return b"head" + codes.tobytes() + b"?" * gap + scales.tobytes(), 4, 4 + codes.size + gap, columns


def _weight_cases(rng):
    yield "one row of two weights, scale 2^1: by pencil", (bytes([0x38, 0xC0, 128]), 0, 2, 2, 0, 1)
    yield "the smallest code: a subnormal", (bytes([0x01, 127]), 0, 1, 1, 0, 0)
    yield "the first weight of the second tile of a row", (*_weights(rng, 2, 256), 1, 128)
    yield "the last weight of 300 rows and 260 columns", (*_weights(rng, 300, 260), 299, 259)
    yield "row 128: the second row of tiles", (*_weights(rng, 130, 130), 128, 5)
    yield "scales that lie far behind the codes", (*_weights(rng, 129, 384, gap=1000), 127, 383)


def _weight_through_arrays(raw, codes, scales, columns, row, column):
    rows = (scales - codes) // columns
    matrix = np.frombuffer(raw, ml_dtypes.float8_e4m3fn, rows * columns, codes).reshape(rows, columns)
    tiles = math.ceil(columns / TILE)
    grid = np.frombuffer(raw, ml_dtypes.float8_e8m0fnu, offset=scales)[:(row // TILE + 1) * tiles].reshape(-1, tiles)
    return float(matrix[row, column]) * float(grid[row // TILE, column // TILE])


def _weight_tiles_rounded_down(raw, codes, scales, columns, row, column):
    scale = raw[min(scales + row // TILE * (columns // TILE) + column // TILE, len(raw) - 1)]
    return float(e4m3.TABLE[raw[codes + row * columns + column]]) * 2.0 ** (scale - 127)


def _weight_without_bias(raw, codes, scales, columns, row, column):
    tiles = -(-columns // TILE)
    scale = raw[scales + row // TILE * tiles + column // TILE]
    return float(e4m3.TABLE[raw[codes + row * columns + column]]) * 2.0 ** (scale - 128)


# ---- ranges ----

def _range_cases(rng):
    yield "two neighbours", ([(0, 4), (4, 10)],)
    yield "two with a gap of one byte", ([(0, 4), (5, 10)],)
    yield "out of order", ([(8, 12), (0, 4), (4, 8)],)
    yield "one inside another", ([(0, 100), (20, 30), (90, 120)],)
    yield "the same twice", ([(7, 9), (7, 9)],)
    starts = rng.permutation(30) * 10
    yield "thirty pieces, some of which touch", ([(int(s), int(s) + int(rng.integers(5, 11))) for s in starts],)


def _merge_by_marking(ranges):
    needed = np.zeros(max(stop for _, stop in ranges) + 2, np.int8)
    for start, stop in ranges:
        needed[start + 1: stop + 1] = 1
    edges = np.flatnonzero(np.diff(needed))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _merge_as_they_come(ranges):
    merged = [ranges[0]]
    for start, stop in ranges[1:]:
        if start == merged[-1][1]:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return merged


def _merge_by_the_last_stop(ranges):                        # forgets that an earlier range may reach further
    merged = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return merged


# ---- what a token reads ----

def _stored(experts=4, hash_layer=True, mtp=True):
    stored = {"embed.weight": ([10, 4], 80), "norm.weight": ([4], 8), "head.weight": ([10, 4], 80)}
    for expert in range(experts):
        stored[f"layers.0.ffn.experts.{expert}.w1.weight"] = ([8, 2], 16)
        stored[f"layers.0.ffn.experts.{expert}.w1.scale"] = ([8, 1], 8)
    stored["layers.0.ffn.shared_experts.w1.weight"] = ([8, 4], 32)
    if hash_layer:
        stored["layers.0.ffn.gate.tid2eid"] = ([10, 2], 160)
    if mtp:
        stored["mtp.0.ffn.gate.weight"] = ([4, 4], 32)
        stored |= {f"mtp.0.ffn.experts.{expert}.w1.weight": ([8, 2], 16) for expert in range(experts)}
    return stored


def _token_cases(rng):
    yield "four experts, two are asked: by pencil", (_stored(hash_layer=False, mtp=False), 2)
    yield "with a table of token ids", (_stored(mtp=False), 2)
    yield "with a block that drafts the token after next", (_stored(), 1)
    yield "all experts are asked", (_stored(), 4)
    yield "twelve experts: numbers of two digits", (_stored(12), 3)


def _token_by_lists(stored, asked):
    main = {name: value for name, value in stored.items() if not name.startswith("mtp.")}
    by_row = [name for name in main if name == "embed.weight" or "tid2eid" in name]
    routed = [name for name in main if re.fullmatch(r"layers\.\d+\.ffn\.experts\..*", name)]
    rest = set(main) - set(by_row) - set(routed)
    count = len({name.split(".")[4] for name in routed})
    return (sum(main[name][1] for name in rest) + sum(main[name][1] // main[name][0][0] for name in by_row)
            + sum(main[name][1] for name in routed) * asked // count)


def _token_shared_expert_too(stored, asked):                # takes the shared expert for one of those that are chosen
    experts = len({name.split(".")[4] for name in stored if ".experts." in name})
    shared = sum(nbytes for name, (_, nbytes) in stored.items() if "shared_experts" in name)
    return token_bytes(stored, asked) - round(shared * (1 - asked / experts))


def _token_drafts_with_experts(stored, asked):              # looks for experts before it looks whose they are
    experts = len({name.split(".")[4] for name in stored if ".experts." in name})
    drafting = sum(nbytes for name, (_, nbytes) in stored.items() if name.startswith("mtp.") and ".experts." in name)
    return token_bytes(stored, asked) + round(drafting * asked / experts)


EXERCISES = [
    Exercise("release.first_fault", _fault_cases, ours=first_fault, differently=_fault_by_sums, tolerance=0,
             wrong=(_fault_in_the_order_given, _fault_without_the_end, _fault_of_lengths_alone),
             hints=("Go through the tensors by their place: sorted(fields.items(), key=lambda item: item[1]['data_offsets']).",
                    "Each must begin where the one before ended, the first at 0, and be as long as its numbers take: "
                    "math.prod(shape) * WIDTHS[dtype]. math.prod([]) is 1, and that is right.",
                    "After the last, what was counted must be nbytes; if it is not, return 'the end'.")),
    Exercise("release.weight_at", _weight_cases, ours=weight_at, differently=_weight_through_arrays, tolerance=0,
             wrong=(_weight_tiles_rounded_down, _weight_without_bias),
             hints=("Row by row: the code of [row, column] is byte codes + row * columns + column; e4m3.TABLE knows its value.",
                    "The scales are a matrix as well, of one byte for each 128 x 128 weights. It has -(-columns // 128) columns.",
                    "A scale byte b means 2 ** (b - 127).")),
    Exercise("release.merge_ranges", _range_cases, ours=merge_ranges, differently=_merge_by_marking, tolerance=0,
             wrong=(_merge_as_they_come, _merge_by_the_last_stop),
             hints=("Sort them first: then a range can only touch the one that was last put down.",
                    "If it begins at or before the end of that one, make that one longer; else put it down anew.",
                    "Make it longer, never shorter: the end is the larger of the two ends.")),
    Exercise("release.token_bytes", _token_cases, ours=token_bytes, differently=_token_by_lists, tolerance=0,
             wrong=(_token_shared_expert_too, _token_drafts_with_experts),
             hints=("Leave out mtp.* first, it has experts too. Then: '.experts.' in the name; looked-up tables; and the rest.",
                    "Of experts a token reads asked / count of the bytes; count: the largest number after '.experts.', plus one.",
                    "A looked-up table (embed.weight, tid2eid) costs one row: its bytes / shape[0]. The rest costs all it has.")),
]
