"""Lesson 10: rows that are kept for good, bytes per token of context, and where the past begins to cost."""

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


def crossing(flat, slope):                  # FLOPs, FLOPs per token of context -> int
    return int(flat // slope) + 1


def _crossing_cases(rng):
    yield "10 flat, 4 a token: 12 is more than 10", (10, 4)
    yield "equal is not more", (12, 4)
    yield "slope above flat", (3, 7)
    yield "nothing flat: from the first token", (0, 5)
    yield "large numbers", (27_000_000_000, 110_000)


def _crossing_by_halving(flat, slope):
    low, high = 0, 1
    while slope * high <= flat:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if slope * middle > flat else (middle, high)
    return high


def _crossing_early(flat, slope):
    return int(flat // slope)


def _crossing_equal_counts(flat, slope):
    return -int(-flat // slope) or 1


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
    Exercise("cache.crossing", _crossing_cases, ours=crossing, differently=_crossing_by_halving, tolerance=0,
             wrong=(_crossing_early, _crossing_equal_counts),
             hints=("slope * n > flat holds from n = flat / slope on, if that were a whole number plus a little.",
                    "flat // slope is the last n for which slope * n is not yet more than flat.")),
    Exercise("cache.bytes_per_token", _byte_cases, ours=bytes_per_token, differently=_bytes_by_difference,
             wrong=(_bytes_without_keys, _bytes_keys_everywhere),
             hints=("A layer of ratio r adds a row every r tokens: bytes / r for each token.",
                    "A CSA layer's row is an entry and an index key; an HCA layer's is an entry. Window layers do not grow.")),
]
