"""The sweep against Hugging Face transformers: random configs, the same weights, float32, many lengths.

Needs the extra [parity]. Not here: DeepSeek's own numbers (golden.py).
"""

import numpy as np

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.engines import choose_backend
from v4mini.inference.cached import CachedModel
from v4mini.proof import Verdict
from v4mini.shapes import Refused
from v4mini.weights.names import HfSlice, to_hf
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

LENGTHS = (*range(1, 10), 31, 32, 33, 127, 128, 129, 255, 256, 257, 511, 512, 513, *range(2047, 2054))
LARGEST = 2e-4              # float32, sums in another order, through up to 7 layers
# At 2,000 tokens Hugging Face's own rounding now and then reaches 2.4e-4 where ours is 1.5e-5 (both against float64).
# So a difference up to DOUBTFUL is put before float64: it must be at least NEARER times nearer to us.
DOUBTFUL, NEARER = 5e-4, 5
# Where the last entry that an indexer chose and the first one it left out are NEAR_TIE apart, Hugging Face's rounding may choose
# the other one, and logits differ by much from that token on. Then our run must be the one that float64 agrees with.
NEAR_TIE = 1e-4
CACHED = 2e-5               # our cached decode against our stateless logits
TIE = 1e-5                  # index scores closer than this may be ranked either way


def verify_huggingface(configs=5, lengths=LENGTHS, backend="auto", seed=1):      # yields Verdict
    """Logits of random models at every length, and cached decode in random splits. Raises Refused without torch."""
    transformers_model([])
    done = 0
    rng = np.random.default_rng(seed)
    while done < configs:
        config = random_config(rng, n_hash_layers=done % 4)
        tensors = random_tensors(config, seed=int(rng.integers(1 << 30)))
        ids = rng.integers(0, config.vocab_size, max(lengths))
        model = CachedModel(config, build(config, tensors.get), choose_backend(backend))
        if closest_ranks(model, ids) < TIE:
            continue        # a draw between two entries: both answers are right, and no comparison would mean anything
        done += 1
        yield from _compare(f"config {done}: {describe(config)}", model, transformers_model(tensors, config), ids, lengths, rng)


def _compare(case, ours, theirs, ids, lengths, rng):
    import torch

    for length in lengths:
        with torch.no_grad():
            wanted = theirs(torch.tensor(ids[None, :length])).logits[0].numpy()
        yield compare_logits(case, ours, ids[:length], wanted)
    whole = ours.logits(ids)
    cache = ours.new_cache()
    worst = 0.0
    while cache.length < len(ids):
        some = ids[cache.length: cache.length + int(rng.choice([1, 1, 2, 3, 5, 64, 130, 400]))]
        worst = max(worst, float(np.abs(ours.prefill(some, cache) - whole[cache.length - 1]).max()))
    yield Verdict(f"{case}; cached, random splits", len(ids), worst, CACHED, "largest")


def compare_logits(case, model, ids, wanted):           # wanted: transformers' logits [T, V] -> Verdict
    """Largest difference; where it is too large for a reason of the other side's rounding, a float64 run of ours decides."""
    logits = model.logits(ids)
    apart = np.abs(logits - wanted).max(axis=-1)
    difference = float(apart.max())
    if not difference > LARGEST:
        return Verdict(case, len(ids), difference, LARGEST, "largest")
    gap = rank_gaps(model, ids)[np.argmax(apart > LARGEST)]     # of the first token that differs
    if difference > DOUBTFUL and gap >= NEAR_TIE:
        return Verdict(case, len(ids), difference, LARGEST, "largest")
    exact = CachedModel(model.config, model.weights, Float64()).logits(ids)
    mine, theirs = float(np.abs(logits - exact).max()), float(np.abs(wanted - exact).max())
    if gap < NEAR_TIE:
        reason = f"HF took another entry at a near tie ({gap:.0e})"
        return Verdict(case, len(ids), mine, LARGEST, f"to float64; {reason}, {theirs:.1e} off")
    return Verdict(case, len(ids), mine, theirs / NEARER, f"to float64; HF is {theirs:.1e} off")


class Float64(Backend):
    """The same formulas on float64 activations: NumPy promotes all that follows the embedding."""

    def embed(self, ids, table):
        return super().embed(ids, table).astype(np.float64)


def random_config(rng, n_hash_layers=0):                                 # -> Config, float32
    """Unequal sizes, the three kinds of layer in a random order."""
    n_layers = int(rng.integers(3, 8))
    kinds = rng.permutation([0, 4, 128, *rng.choice([0, 4, 128], n_layers - 3)])
    groups, experts = int(rng.integers(1, 4)), int(rng.integers(3, 9))
    rope = int(rng.choice([4, 8, 12]))
    return Config(
        vocab_size=int(rng.integers(50, 300)), dim=int(rng.integers(24, 80)), moe_inter_dim=int(rng.integers(16, 60)),
        n_layers=n_layers, n_heads=groups * int(rng.integers(1, 4)), n_routed_experts=experts,
        n_activated_experts=int(rng.integers(1, experts)), route_scale=float(rng.uniform(0.5, 3)),
        q_lora_rank=int(rng.integers(16, 50)), o_groups=groups, o_lora_rank=int(rng.integers(8, 30)),
        index_topk=int(rng.choice([8, 32, 100, 600])), compress_ratios=tuple(map(int, kinds)),
        n_hash_layers=n_hash_layers, n_mtp_layers=0,
        swiglu_limit=float(rng.uniform(0.5, 4)), head_dim=rope + 2 * int(rng.integers(4, 20)), rope_head_dim=rope,
        window_size=int(rng.choice([8, 16, 128])), original_seq_len=int(rng.choice([0, 64, 4096])),
        index_n_heads=int(rng.integers(12, 20)), index_head_dim=rope + 2 * int(rng.integers(2, 12)),
        hc_sinkhorn_iters=int(rng.integers(1, 21)), dtype="f32", expert_dtype=None)


def describe(config):                                   # -> "wCwHC, 2 hash, ...": w window, C CSA, H HCA
    """A random config in a few words."""
    kinds = "".join({"window": "w", "csa": "C", "hca": "H"}[config.layer_kind(i)] for i in range(config.n_layers))
    sizes = f"dim {config.dim}, {config.n_heads} x {config.head_dim}, top-{config.index_topk}"
    return f"{kinds}, {config.n_hash_layers} hash, {sizes}"


def closest_ranks(model, ids, zeros=True):              # -> float, the smallest of rank_gaps
    """How near any indexer choice is to a draw. zeros=False: but for scores that relu made equal, which no rounding parts."""
    gaps = rank_gaps(model, ids)
    return float(gaps[gaps >= (0 if zeros else np.finfo(float).tiny)].min(initial=np.inf))


def rank_gaps(model, ids):                              # -> [T], infinite where nothing had to be left out
    """By how much the worst entry that a token chose is better than the best one that it left out, in its closest layer."""
    ops = _Ranks()
    CachedModel(model.config, model.weights, ops).logits(ids)
    return np.min(ops.gaps, axis=0, initial=np.inf) if ops.gaps else np.full(len(ids), np.inf)


class _Ranks(Backend):
    def __init__(self):
        super().__init__()
        self.gaps = []

    def index_topk(self, q, keys, weights, visible, k):
        from v4mini.ops.index import index_scores

        gaps = np.full(len(q), np.inf)
        if k < len(keys):
            scores = np.where(np.arange(len(keys)) < visible[:, None], index_scores(q, keys, weights), -np.inf)
            ranked = -np.sort(-scores[visible > k], axis=1)
            gaps[visible > k] = ranked[:, k - 1] - ranked[:, k]
        self.gaps.append(gaps)
        return super().index_topk(q, keys, weights, visible, k)


def transformers_model(tensors, config=None):           # -> transformers' DeepseekV4ForCausalLM with these weights, float32
    """Put released tensors (float32) into a model of transformers. Raises Refused if torch or transformers is missing."""
    try:
        import torch  # noqa: F401, transformers imports without it and fails later
        from transformers import DeepseekV4Config, DeepseekV4ForCausalLM, logging
    except ImportError as error:
        raise Refused(f"--hf: {error.name or error} is not installed. Run: python -m pip install -e \".[parity]\"") from None
    if config is None:
        return None
    logging.set_verbosity_error()       # it would comment on every small config's YaRN factor
    fields = config.to_released()
    fields.pop("compress_ratios")
    kinds = {"window": "sliding_attention", "csa": "compressed_sparse_attention", "hca": "heavily_compressed_attention"}
    fields["layer_types"] = [kinds[config.layer_kind(i)] for i in range(config.n_layers)]
    fields["compress_rates"] = {kinds["csa"]: 4, kinds["hca"]: max(128, *config.compress_ratios)}
    # "eager": the plain loop over experts; grouped products demand widths that are multiples of 16 bytes
    model = DeepseekV4ForCausalLM(DeepseekV4Config(**fields, experts_implementation="eager")).float().eval()
    return with_tensors(model, tensors)


def with_tensors(model, tensors):                       # -> the model of transformers
    """Put released tensors (float32) where transformers holds them."""
    import torch

    state = model.state_dict()
    for name, values in tensors.items():
        place = to_hf(name)
        target = state[place.name][place.expert] if isinstance(place, HfSlice) else state[place]
        if isinstance(place, HfSlice) and place.part is not None:
            target = target.chunk(2)[place.part]
        target.copy_(torch.from_numpy(np.array(values)))        # state_dict shares memory with the model
    return model
