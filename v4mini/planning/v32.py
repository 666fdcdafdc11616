"""DeepSeek-V3.2 in numbers, for comparison: the model that the headlines about V4 are measured against.

MLA keeps a latent row of 512 + 64 numbers a token and layer; an indexer picks 2,048 of all rows, and every row has its key.
Source: the released config.json of deepseek-ai/DeepSeek-V3.2 (transformers' deepseek_v32 defaults); V3's layout of weights,
arXiv:2412.19437; the indexer, arXiv:2512.02556. Row layouts of the cache: memory.v32_cache_bytes.
Not here: V4 (models.py), running it.
"""

from v4mini.planning.memory import v32_cache_bytes

DIM, LAYERS, DENSE_LAYERS, HEADS = 7168, 61, 3, 128
Q_LORA, KV_LORA, NOPE, ROPE, V_HEAD = 1536, 512, 128, 64, 128
FFN, EXPERT, EXPERTS, CHOSEN, VOCAB = 18432, 2048, 256, 8, 129280
INDEX_HEADS, INDEX_DIM, INDEX_TOPK = 64, 128, 2048
LONGEST = 163_840               # tokens
TILE, SCALE = 128, 4            # FP8: one float32 scale per 128 x 128


def matrices():                                         # -> [(group, format, out, in, copies, copies one token meets)]
    """Every matrix of the main model; norms and biases (1.3 M numbers) are left out."""
    moe = LAYERS - DENSE_LAYERS
    rows = [("embedding", "bf16", VOCAB, DIM, 1, 1 / VOCAB), ("output head", "bf16", VOCAB, DIM, 1, 1)]
    for out, width in ((Q_LORA, DIM), (HEADS * (NOPE + ROPE), Q_LORA), (KV_LORA + ROPE, DIM),
                       (HEADS * (NOPE + V_HEAD), KV_LORA), (DIM, HEADS * V_HEAD)):
        rows.append(("attention", "fp8", out, width, LAYERS, LAYERS))
    rows += [("indexer", "fp8", INDEX_HEADS * INDEX_DIM, Q_LORA, LAYERS, LAYERS),
             ("indexer", "fp8", INDEX_DIM, DIM, LAYERS, LAYERS), ("indexer", "bf16", INDEX_HEADS, DIM, LAYERS, LAYERS),
             ("gates", "bf16", EXPERTS, DIM, moe, moe), ("dense FFN", "fp8", FFN, DIM, 3 * DENSE_LAYERS, 3 * DENSE_LAYERS),
             ("routed experts", "fp8", EXPERT, DIM, 3 * EXPERTS * moe, 3 * CHOSEN * moe),
             ("shared experts", "fp8", EXPERT, DIM, 3 * moe, 3 * moe)]
    return rows


def _mtp():                                             # one more MoE layer, and two DIM x DIM matrices in one
    attention = [row for row in matrices() if row[0] in ("attention", "indexer")]
    layer = [(*row[:4], row[4] // LAYERS, row[5] // LAYERS) for row in attention]
    return [*layer, ("gates", "bf16", EXPERTS, DIM, 1, 1), ("experts", "fp8", EXPERT, DIM, 3 * (EXPERTS + 1), 0),
            ("projection", "fp8", DIM, 2 * DIM, 1, 1)]


def parameters():
    """Numbers of the main model."""
    return sum(out * width * copies for _, _, out, width, copies, _ in matrices())


def active():
    """Numbers that one token meets, the output head included."""
    return round(sum(out * width * met for _, _, out, width, _, met in matrices()))


def stored_bytes(weights="released", mtp=False):        # -> {group: bytes}
    """released: FP8 with float32 scales, and BF16. bf16: 2 bytes a number."""
    groups = {}
    for group, format, out, width, copies, _ in matrices():
        groups[group] = groups.get(group, 0) + copies * _bytes(format, out, width, weights)
    if mtp:
        groups["MTP block"] = sum(copies * _bytes(format, out, width, weights) for _, format, out, width, copies, _ in _mtp())
    return groups


def _bytes(format, out, width, weights):
    if format == "bf16" or weights == "bf16":
        return 2 * out * width
    return out * width + SCALE * -(-out // TILE) * -(-width // TILE)


def step_weights(batch, weights="released"):            # -> {"experts", "rest"}: bytes; see models.V4Model.step_weights
    """What one step of `batch` texts reads."""
    groups = stored_bytes(weights)
    touched = 1 - (1 - CHOSEN / EXPERTS) ** batch
    rest = sum(size for group, size in groups.items() if group not in ("embedding", "routed experts"))
    return {"experts": groups["routed experts"] * touched, "rest": rest}


def dense(weights="released", head=True):               # -> {arithmetic: FLOPs of one token}
    """2 per weight and token."""
    found = {}
    for group, format, out, width, _, met in matrices():
        if group == "embedding" or (group == "output head" and not head):
            continue
        arithmetic = "bf16" if weights == "bf16" else format
        found[arithmetic] = found.get(arithmetic, 0) + 2 * out * width * met
    return found


def growing(context):                                   # -> {part: (FLOPs of one token, arithmetic)}
    """Index: 64 heads of 128 against every key. Core: each of 128 heads scores a row of 576 and sums its 512, 2 FLOPs each.

    MLA is counted absorbed, as it is served: queries go to the latent space, rows are never unfolded.
    """
    index = 2 * LAYERS * INDEX_HEADS * INDEX_DIM * context
    core = 2 * LAYERS * HEADS * min(context, INDEX_TOPK) * (2 * KV_LORA + ROPE)
    return {"index": (index, "fp8"), "core": (core, "bf16")}


def cache_rows(storage="released"):                     # -> bytes of a latent row, of an index key
    """From memory.v32_cache_bytes: 1152 and 256 in BF16, 656 and 132 as released."""
    key = {"float32": 4 * INDEX_DIM, "bfloat16": 2 * INDEX_DIM, "released": INDEX_DIM + SCALE}[storage]
    return v32_cache_bytes(1, storage, layers=1) - key, key
