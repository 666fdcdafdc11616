"""Bytes of a cache, before there is one: per kind of row, for any config, length and way of storing.

    storage      a row (window, entries)                                   Flash    an index key             Flash
    float32      4 bytes a number                                           2048    4 bytes a number           512
    bfloat16     2 bytes a number                                           1024    2 bytes a number           256
    released     FP8 with a scale per 64; rotated dims BF16; scales         584     FP4, a scale per 32         68
                 take whole words of 8 bytes

Not here: the cache itself (inference/cache.py), the bytes of weights (counts.py).
"""

from v4mini.numerics.blocks import KV_GROUP
from v4mini.numerics.matrix import BLOCK
from v4mini.numerics.rows import SCALE_WORD
from v4mini.shapes import Refused

STORAGES = ("float32", "bfloat16", "released")
RESERVE = 8                     # tokens a cache can be rewound by: more than any draft that speculation makes


def cache_bytes(config, tokens, storage="float32", reserve=RESERVE, unfinished=True, layers=None):      # -> bytes
    """What inference.Cache(config, storage, reserve, layers=layers).nbytes will be after `tokens` tokens, to the byte.

    The sum of cache_breakdown. unfinished=False leaves the unfinished blocks out: with reserve=0 as well this is how
    published tables count. Flash at 2^20 tokens: 6.724 GiB in bfloat16, 3.688 GB as released; Pro 9.625 GiB, 5.280 GB.
    """
    kinds = cache_breakdown(config, tokens, storage, reserve, layers)
    return sum(kinds.values()) - (0 if unfinished else kinds["unfinished"])


def cache_breakdown(config, tokens, storage="float32", reserve=RESERVE, layers=None):       # -> {kind: bytes}
    """The same, kind by kind. With E bytes a row and I bytes an index key:

        window        every layer                              (window_size + 2 reserve) E
        csa           CSA layers, one entry per 4 tokens       floor(tokens / 4) E
        index_keys    CSA layers, one key per 4 tokens         floor(tokens / 4) I
        hca           HCA layers, one entry per ratio tokens   floor(tokens / ratio) E
        unfinished    CSA layers: 2 blocks of 4 tokens         (8 + 2 reserve) (2 hd + 2 di) 2 numbers of 4 bytes
                      HCA layers: 1 block of ratio tokens      (ratio + 2 reserve) hd 2 numbers of 4 bytes

    window and unfinished do not grow. `reserve` rows more let a rewind look further back, and as many again let a step
    write without moving the others; with reserve 0 they are the reference's rings and float32 states. An unfinished token
    leaves a value and a score in each channel, twice as many channels in CSA, where each block is pooled into two entries.
    layers: which ones, by default those of the main model. Source: V4 report 2.3.4; reference inference/model.py, Compressor.
    """
    check_storage(storage, reserve)
    if not isinstance(tokens, int) or tokens < 0:
        raise Refused(f"tokens: expected 0 or more, got {tokens!r}. Say how long the text is.")
    E, I = entry_bytes(config, storage), index_key_bytes(config, storage)
    kinds = dict.fromkeys(("window", "csa", "index_keys", "hca", "unfinished"), 0)
    for layer in range(config.n_layers) if layers is None else layers:
        kind, ratio = config.layer_kind(layer), config.ratio(layer)
        kinds["window"] += (config.window_size + 2 * reserve) * E
        if kind == "csa":
            kinds["csa"] += tokens // ratio * E
            kinds["index_keys"] += tokens // ratio * I
            kinds["unfinished"] += (2 * ratio + 2 * reserve) * (2 * config.head_dim + 2 * config.index_head_dim) * 2 * 4
        elif kind == "hca":
            kinds["hca"] += tokens // ratio * E
            kinds["unfinished"] += (ratio + 2 * reserve) * config.head_dim * 2 * 4
    return kinds


def entry_bytes(config, storage):                       # -> bytes
    """One row of head_dim numbers: keys and values at once, so it counts once. Flash: 448 + 2 * 64 + 8 = 584."""
    if storage != "released":
        return _number_bytes(storage) * config.head_dim
    nope = config.head_dim - config.rope_head_dim
    scales = -(-nope // KV_GROUP)
    return nope + 2 * config.rope_head_dim + -(-scales // SCALE_WORD) * SCALE_WORD


def index_key_bytes(config, storage):                   # -> bytes
    """One key of index_head_dim numbers. Flash: 64 bytes of FP4 pairs and 4 of scales."""
    if storage != "released":
        return _number_bytes(storage) * config.index_head_dim
    return -(-config.index_head_dim // 2) + -(-config.index_head_dim // BLOCK)


def v32_cache_bytes(tokens, storage="bfloat16", layers=61, latent=512, rope=64, index_head_dim=128):     # -> bytes
    """What DeepSeek-V3.2 keeps, for comparison: in each layer, for each token, a latent row and an index key.

    bfloat16: 2 (512 + 64) + 2 * 128 = 1152 + 256. released: 512 FP8, 4 float32 scales of 128 each, 64 rotated numbers in
    BF16, 656 in all, and 128 FP8 with one float32 scale, 132. At 2^20 tokens 83.875 GiB and 50.403 GB.
    Source: V3.2 report, arXiv:2512.02556; the row layouts are FlashMLA's and vLLM's.
    """
    check_storage(storage)
    if storage != "released":
        return tokens * layers * _number_bytes(storage) * (latent + rope + index_head_dim)
    return tokens * layers * (latent + 4 * (latent // 128) + 2 * rope + index_head_dim + 4)


def plain_cache_bytes(tokens, layers, storage="bfloat16", heads=8, head_dim=128):       # -> bytes
    """What a plain transformer keeps, for comparison: a key and a value for each token, layer and key-value head.

    8 heads of 128 are usual where query heads share them (GQA, arXiv:2305.13245). released: bfloat16, for nothing was released.
    """
    check_storage(storage)
    return tokens * layers * 2 * heads * head_dim * _number_bytes("float32" if storage == "float32" else "bfloat16")


def check_storage(storage, reserve=RESERVE):
    """Raise Refused unless a cache can be stored this way."""
    if storage not in STORAGES:
        raise Refused(f"storage: expected {', '.join(STORAGES)}, got {storage!r}. float32 keeps every bit.")
    if type(reserve) is not int or not 0 <= reserve <= 2**20:
        raise Refused(f"reserve: expected 0 to {2**20:,} tokens, got {reserve!r}. It is how far rewind can go back.")


def _number_bytes(storage):
    return {"float32": 4, "bfloat16": 2}[storage]
