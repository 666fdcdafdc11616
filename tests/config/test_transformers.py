"""Every config that is read means to transformers what it means here: their logits decide. Needs the extra [parity]."""

import collections
import json

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.proof.huggingface import DOUBTFUL, LARGEST, NEARER, TIE, Float64, closest_ranks
from v4mini.shapes import Refused
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

pytestmark = pytest.mark.parity

TINY = Config.tiny().replace(n_mtp_layers=0, index_topk=2000)       # so many entries that no two compete: no draw can part us
RELEASED = TINY.to_released()
YARN = RELEASED["rope_scaling"]
SHARE = TINY.rope_head_dim / TINY.head_dim
KINDS = ["compressed_sparse_attention", "sliding_attention", "heavily_compressed_attention", "compressed_sparse_attention"]


def spelled(drop=(), yarn_without=(), **changes):
    fields = {name: value for name, value in RELEASED.items() if name not in drop}
    fields["rope_scaling"] = {name: value for name, value in YARN.items() if name not in yarn_without}
    return json.loads(json.dumps({name: value for name, value in (fields | changes).items() if value != "drop"}))


def nested(drop=(), **compress):
    part = {"rope_type": "yarn", **{k: v for k, v in YARN.items() if k != "type"}, "rope_theta": 160000.0,
            "attention_factor": 1.0, "partial_rotary_factor": SHARE} | compress
    return {"main": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": SHARE},
            "compress": {name: value for name, value in part.items() if name not in drop}}


SPELLINGS = {
    "release": spelled(),
    "rope_type": spelled(rope_scaling={**{k: v for k, v in YARN.items() if k != "type"}, "rope_type": "yarn"}),
    "no betas": spelled(yarn_without=("beta_fast", "beta_slow")),
    "betas null": spelled(rope_scaling={**YARN, "beta_fast": None, "beta_slow": None}),
    "other betas": spelled(rope_scaling={**YARN, "beta_fast": 16, "beta_slow": 0.1}),
    "factor from lengths": spelled(rope_scaling={**YARN, "factor": None}, max_position_embeddings=512),
    "original from lengths": spelled(yarn_without=("original_max_position_embeddings",), max_position_embeddings=64),
    "mscale": spelled(rope_scaling={**YARN, "mscale": 2.0, "mscale_all_dim": 1.0}),
    "flat rope_parameters": spelled(rope_scaling="drop", rope_parameters={**YARN, "rope_type": "yarn", "rope_theta": 10000.0}),
    "nested rope_parameters": spelled(rope_scaling="drop", rope_parameters=nested()),
    "nested rope_scaling": spelled(rope_scaling=nested()),
    "nested, other bases": spelled(rope_scaling="drop", rope_parameters=nested(rope_theta=5000.0)),
    "no YaRN": spelled(rope_scaling=None),
    "default": spelled(rope_scaling={"rope_type": "default"}),
    "a share, no qk_rope_head_dim": spelled(drop=("qk_rope_head_dim",), partial_rotary_factor=SHARE),
    "layer_types": spelled(drop=("compress_ratios", "num_hash_layers"), layer_types=KINDS,
                           mlp_layer_types=["hash_moe", "moe", "moe", "moe"],
                           compress_rates={"compressed_sparse_attention": 4, "heavily_compressed_attention": 32}),
    "compress_rate_hca": spelled(drop=("compress_ratios",), layer_types=KINDS, compress_rate_hca=16),
    "second names": spelled(drop=("n_routed_experts", "moe_intermediate_size"), num_local_experts=5, intermediate_size=40),
    "eps, clamp, scaling": spelled(rms_norm_eps=1e-3, hc_eps=1e-2, swiglu_limit=0.5, routed_scaling_factor=3.0),
    "eps left out": spelled(drop=("rms_norm_eps", "hc_eps")),
    "entries for blocks that draft": spelled(compress_ratios=[4, 0, 128, 4, 0, 0, 0], num_nextn_predict_layers=1),
    "eos ids": spelled(eos_token_id=[1, 8]),
}


def theirs(fields, tensors, ids):                       # -> [T, V] float32, or an exception of transformers' own
    import torch
    from transformers import DeepseekV4Config, DeepseekV4ForCausalLM, logging

    from v4mini.proof.huggingface import with_tensors

    logging.set_verbosity(logging.CRITICAL)
    model = DeepseekV4ForCausalLM(DeepseekV4Config(**json.loads(json.dumps(fields)), experts_implementation="eager"))
    model = with_tensors(model.float().eval(), tensors)
    with torch.no_grad():
        return model(torch.tensor(ids[None])).logits[0].numpy()


def apart(config, tensors, ids, wanted):                # -> largest difference, 0 where float64 says that theirs is rounding
    ours = CachedModel(config, build(config, tensors.get), Backend()).logits(ids)
    difference = float(np.abs(ours - wanted).max())
    if LARGEST < difference <= DOUBTFUL:
        exact = CachedModel(config, build(config, tensors.get), Float64()).logits(ids)
        if np.abs(ours - exact).max() * NEARER <= np.abs(wanted - exact).max():
            return 0.0
    return difference if np.isfinite(difference) or np.isfinite(ours).all() != np.isfinite(wanted).all() else 0.0


def test_there_are_enough_spellings_and_none_is_the_same():
    assert len(SPELLINGS) >= 12 and len({json.dumps(fields, sort_keys=True) for fields in SPELLINGS.values()}) == len(SPELLINGS)


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_gives_their_logits_far_beyond_the_original_length(name):
    config = Config.from_dict(SPELLINGS[name]).replace(n_mtp_layers=0, max_seq_len=2**20)    # theirs have no limit
    tensors, ids = random_tensors(config, seed=3), np.random.default_rng(5).integers(0, 97, 5000)
    assert apart(config, tensors, ids, theirs(SPELLINGS[name], tensors, ids)) < LARGEST


def test_a_wrong_reading_would_be_seen():
    config = Config.from_dict(SPELLINGS["release"])
    tensors, ids = random_tensors(config, seed=3), np.random.default_rng(5).integers(0, 97, 300)
    wanted = theirs(SPELLINGS["release"], tensors, ids)
    for wrong in ({"rope_factor": 15.0}, {"beta_slow": 0.1}, {"original_seq_len": 0}, {"norm_eps": 1e-3}, {"swiglu_limit": 1.0},
                  {"route_scale": 1.4}, {"rope_theta": 9000.0}, {"compress_rope_theta": 10000.0}):
        assert apart(config.replace(**wrong), tensors, ids, wanted) > LARGEST, wrong


VALUES = [None, True, False, 0, 1, 2, 3, 4, 5, 8, 16, 24, 64, 97, -1, 0.25, 0.5, 1.0, 1.5, 1e-3, 1e-6, 100.0, 1e4, 1e300, "yarn",
          "default", "linear", "silu", "sigmoid", "float32", [], [1], [4, 0, 128, 4], [0, 0, 0, 0], {}, {"rope_type": "yarn"}]


def mutated(rng):
    """One published spelling with one to three fields changed, dropped, or brought in from another spelling."""
    names = sorted(SPELLINGS)
    fields = json.loads(json.dumps(SPELLINGS[names[rng.integers(len(names))]]))
    for _ in range(rng.integers(1, 4)):
        place = fields
        inner = [value for value in fields.values() if isinstance(value, dict) and value]
        inner += [part for value in inner for part in value.values() if isinstance(part, dict) and part]
        if inner and rng.random() < 0.4:
            place = inner[rng.integers(len(inner))]
        name = sorted(place)[rng.integers(len(place))]
        how = rng.random()
        if how < 0.3:
            place.pop(name)
            if not place:
                return mutated(rng)
        elif how < 0.85:
            place[name] = VALUES[rng.integers(len(VALUES))]
        else:
            other = SPELLINGS[names[rng.integers(len(names))]]
            name = sorted(other)[rng.integers(len(other))]
            fields[name] = json.loads(json.dumps(other[name]))
    return fields


def outcome(fields, ids):                               # -> "same", "refused here", "refused there", "a draw", or what differs
    try:
        config = Config.from_dict(fields).replace(n_mtp_layers=0, n_dspark_layers=0, max_seq_len=2**20)
    except Refused as refused:
        assert "\n" not in str(refused)
        return "refused here"
    if config.dtype != "f32":                           # as f32: how it is stored is the checkpoint's affair
        config = config.replace(dtype="f32", expert_dtype=None)
    ids, tensors = ids % config.vocab_size, random_tensors(config, seed=3)
    try:
        wanted = theirs(fields, tensors, ids)
    except Exception as error:                          # theirs may be anything
        return "refused there" if "shape" not in str(error) or "size of tensor" in str(error) else f"other shapes: {error}"
    gap = apart(config, tensors, ids, wanted)
    if gap >= LARGEST and closest_ranks(CachedModel(config, build(config, tensors.get), Backend()), ids) < TIE:
        return "a draw"                                 # two entries with equal scores: both answers are right
    return "same" if gap < LARGEST else f"{gap:.2g} apart"


@pytest.mark.slow
def test_a_thousand_changed_configs_are_read_as_they_read_them_or_refused():
    rng, counts, wrong = np.random.default_rng(11), collections.Counter(), []
    for number in range(1000):
        fields = mutated(rng)
        said = outcome(fields, np.random.default_rng(5).integers(0, 2**30, 200))
        right = ("same", "refused here", "refused there", "a draw")
        counts[said if said in right else "different"] += 1
        if said not in right:
            wrong.append((number, said, fields))
    print(dict(counts))
    assert not wrong and counts["same"] >= 150, wrong[:5]
