"""Lesson 10: rows that are kept for good, bytes per token of context, and what reading a whole text costs."""

import numpy as np

from v4mini.config import Config
from v4mini.lessons.exercise import Exercise
from v4mini.planning.memory import cache_breakdown, entry_bytes, index_key_bytes


def kept_rows(ratios, tokens):              # (0, 4, 128, ...), int -> int
    return sum((2 if ratio == 4 else 1) * (tokens // ratio) for ratio in ratios if ratio)


def _row_cases(rng):
    yield "one CSA layer, two blocks", ((4,), 8)
    yield "one HCA layer, a block not full", ((128,), 255)
    yield "window layers keep nothing for good", ((0, 0), 1000)
    yield "no token yet", ((0, 4, 128), 0)
    yield "the 12M model, a thousand tokens", ((0, 0, 4, 128, 4, 128), 1000)
    yield "Flash, one million", (Config.flash().compress_ratios[:43], 1 << 20)


def _rows_by_kind(ratios, tokens):
    return 2 * ratios.count(4) * (tokens // 4) + ratios.count(128) * (tokens // 128)


def _rows_without_keys(ratios, tokens):
    return sum(tokens // ratio for ratio in ratios if ratio)


def _rows_rounded_up(ratios, tokens):
    return sum((2 if ratio == 4 else 1) * -(-tokens // ratio) for ratio in ratios if ratio)


def work_of_a_text(tokens, window, per_row, per_key, per_entry):       # ints -> FLOPs, an int
    """Each token reads the rows of its window, a key for each 4 tokens so far, and an entry for each 128; it counts itself."""
    seen = np.arange(1, tokens + 1, dtype=object)       # Python's whole numbers: these sums pass 2^63
    return int((np.minimum(seen, window) * per_row + seen // 4 * per_key + seen // 128 * per_entry).sum())


def _work_cases(rng):
    yield "five tokens, a window of 2: 1 + 2 + 2 + 2 + 2 rows", (5, 2, 1, 0, 0)
    yield "nine tokens, keys alone: 4 of one key, 1 + 1 of two", (9, 1, 0, 1, 0)
    yield "no token", (0, 128, 5, 7, 9)
    yield "a text shorter than the window", (100, 128, 3, 5, 7)
    yield "around the end of a heavy block", (257, 128, 2, 3, 1000)
    yield "half a million tokens of Flash's layers", (1 << 19, 128, 131_072, 16_384, 131_072)


def _sum_of_blocks(tokens, ratio):                      # 1 // ratio + 2 // ratio + ... + tokens // ratio
    full, rest = tokens // ratio, tokens % ratio
    return ratio * full * (full - 1) // 2 + full * (rest + 1)


def _work_by_formula(tokens, window, per_row, per_key, per_entry):
    near = min(tokens, window)
    rows = near * (near + 1) // 2 + (tokens - near) * window
    return rows * per_row + _sum_of_blocks(tokens, 4) * per_key + _sum_of_blocks(tokens, 128) * per_entry


def _work_of_the_last_token(tokens, window, per_row, per_key, per_entry):
    return tokens * (min(tokens, window) * per_row + tokens // 4 * per_key + tokens // 128 * per_entry)


def _work_a_token_late(tokens, window, per_row, per_key, per_entry):
    return sum(min(seen, window) * per_row + seen // 4 * per_key + seen // 128 * per_entry for seen in range(tokens))


def _work_without_rounding(tokens, window, per_row, per_key, per_entry):
    pairs = tokens * (tokens + 1) / 2
    near = min(tokens, window)
    return int((near * (near + 1) / 2 + (tokens - near) * window) * per_row + pairs / 4 * per_key + pairs / 128 * per_entry)


def bytes_per_token(config, storage):       # -> bytes, not rounded
    E, I, total = entry_bytes(config, storage), index_key_bytes(config, storage), 0.0
    for layer in range(config.n_layers):
        kind = config.layer_kind(layer)
        if kind != "window":
            total += (E + (I if kind == "csa" else 0)) / config.ratio(layer)
    return total


def _byte_cases(rng):
    yield "the 12M model, float32", (Config.bench(), "float32")
    yield "Flash as released", (Config.flash(), "released")
    yield "Flash in bfloat16", (Config.flash(), "bfloat16")
    yield "Pro as released", (Config.pro(), "released")
    yield "windows only", (Config.bench().replace(compress_ratios=(0,) * 6), "released")


def _bytes_by_difference(config, storage):
    near, far = (cache_breakdown(config, n, storage) for n in (0, 1 << 20))
    return sum(far[kind] - near[kind] for kind in near) / (1 << 20)


def _bytes_without_keys(config, storage):
    return sum(entry_bytes(config, storage) / config.ratio(layer) for layer in range(config.n_layers) if config.ratio(layer))


def _bytes_keys_everywhere(config, storage):
    both = entry_bytes(config, storage) + index_key_bytes(config, storage)
    return sum(both / config.ratio(layer) for layer in range(config.n_layers) if config.ratio(layer))


EXERCISES = [
    Exercise("cache.kept_rows", _row_cases, ours=kept_rows, differently=_rows_by_kind, tolerance=0,
             wrong=(_rows_without_keys, _rows_rounded_up),
             hints=("Only full blocks count: tokens // ratio. Layers of ratio 0 keep nothing for good.",
                    "A CSA layer (ratio 4) keeps two rows a block: the entry, and the indexer's key.")),
    Exercise("cache.work_of_a_text", _work_cases, ours=work_of_a_text, differently=_work_by_formula, tolerance=0,
             wrong=(_work_of_the_last_token, _work_a_token_late, _work_without_rounding),
             hints=("Add up over the tokens: the first has seen 1 token, itself, the last `tokens`.",
                    "One that has seen n reads min(n, window) rows, n // 4 keys and n // 128 entries.",
                    "A loop over half a million tokens is fine. With NumPy mind the size: these sums need 64 bits or more.")),
    Exercise("cache.bytes_per_token", _byte_cases, ours=bytes_per_token, differently=_bytes_by_difference,
             wrong=(_bytes_without_keys, _bytes_keys_everywhere),
             hints=("A layer of ratio r adds a row every r tokens: bytes / r for each token.",
                    "A CSA layer's row is an entry and an index key; an HCA layer's is an entry. Window layers do not grow.")),
]
