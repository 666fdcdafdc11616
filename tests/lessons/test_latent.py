"""Lesson 04's attention equals transformers' and torch's, and MLA is the same in both orders of multiplication."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.lessons import latent
from v4mini.lessons.latent import MLA, Indexer, causal, grouped_attention, mla_absorbed, mla_decompressed, mla_layer
from v4mini.ops.rope import frequencies

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


# ---- by ourselves ----

def one_head(q, k, v, scale, may_read):                 # [T, d], [S, d], [S, dv] -> [T, dv], in float64, token by token
    out = []
    for t in range(len(q)):
        seen = np.flatnonzero(may_read[t])
        raised = np.exp([scale * float(q[t].astype(np.float64) @ k[s]) for s in seen])
        out.append(sum(share * v[s] for share, s in zip(raised / raised.sum(), seen)))
    return np.array(out)


@pytest.mark.parametrize("H, G", [(4, 4), (4, 2), (4, 1), (6, 3), (1, 1)])
def test_each_head_reads_its_own_group(rng, H, G):
    q, k, v = (rng.standard_normal(shape) for shape in ((3, H, 5), (7, G, 5), (7, G, 2)))
    may_read = causal(3, 7)
    got = grouped_attention(q, k, v, 0.5, may_read)
    for h in range(H):
        np.testing.assert_allclose(got[:, h], one_head(q[:, h], k[:, h // (H // G)], v[:, h // (H // G)], 0.5, may_read))


def test_logits_of_a_thousand_do_not_overflow(rng):
    q = 1000 * rng.standard_normal((3, 2, 4)).astype(np.float32)
    assert np.isfinite(grouped_attention(q, q, q, 1.0, causal(3, 3))).all()


def test_who_may_read_whom():
    assert causal(2, 4).astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert latent.is_picked(np.array([[0, -1], [0, 2], [-1, -1]]), 3).astype(int).tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_absorbed_equals_decompressed(data):
    """Any sizes, any rows to be read, a past or none."""
    T, past, H, nope, v, c = (data.draw(st.integers(low, high), name) for name, low, high in (
        ("tokens", 1, 6), ("past", 0, 9), ("heads", 1, 5), ("nope", 1, 9), ("v", 1, 9), ("latent", 1, 12)))
    turned = 2 * data.draw(st.integers(0, 4), "pairs")
    S = T + past
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), "seed"))
    q, rows, wkv_b = (rng.standard_normal(shape) for shape in ((T, H, nope + turned), (S, c + turned), (H * (nope + v), c)))
    may_read = causal(T, S) & (rng.random((T, S)) < 0.6)
    may_read[:, 0] = True
    a, b = (form(q, rows, wkv_b, 0.3, may_read) for form in (mla_absorbed, mla_decompressed))
    assert a.shape == b.shape == (T, H, v)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sizes", [(512, 64, 128, 128), (4, 2, 2, 3), (1, 1, 1, 1), (8, 4, 100, 100), (6, 0, 6, 5)])
def test_break_even_is_the_first_number_of_queries_for_which_unpacking_is_cheaper(sizes):
    c, turned, nope, v = sizes

    def unpacking_is_cheaper(n):
        return c * (nope + v) + n * (nope + turned + v) < n * (2 * c + turned)
    found = latent.break_even(*sizes)
    if found:
        assert unpacking_is_cheaper(found) and not unpacking_is_cheaper(found - 1)
    else:
        assert not any(unpacking_is_cheaper(n) for n in (1, 10, 10**9))


def test_v3_unpacks_from_171_queries_on():
    assert latent.break_even(latent=512, turned=64, nope=128, v=128) == 171


def test_random_weights_have_the_shapes_of_the_sizes_asked_for(rng):
    w = latent.random_mla(rng, dim=9, n_heads=2, nope=3, turned=4, v=5, latent=6, q_lora=7)
    x = rng.standard_normal((3, 9))
    absorbed, decompressed = (mla_layer(x, w, 2, 0.4, frequencies(4, 100.0), absorbed=way) for way in (True, False))
    assert absorbed.shape == (3, 9)
    np.testing.assert_allclose(absorbed, decompressed, rtol=1e-6, atol=1e-6)


# ---- beside others ----

SIZES = {"q_lora_rank": 24, "kv_lora_rank": 20, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10}
INDEX = {"index_n_heads": 6, "index_head_dim": 16, "index_topk": 5}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 64,
        "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
NAMES = {"wq_a": "q_a_proj", "q_norm": "q_a_layernorm", "wq_b": "q_b_proj", "wkv_a": "kv_a_proj_with_mqa",
         "kv_norm": "kv_a_layernorm", "wkv_b": "kv_b_proj", "wo": "o_proj"}


def theirs(name, rope, heads=4, dim=32):                # "V3" or "V32" -> a module of transformers, its rotation, its config
    from importlib import import_module

    import transformers

    config = getattr(transformers, f"Deepseek{name}Config")(
        hidden_size=dim, num_attention_heads=heads, num_key_value_heads=heads, num_hidden_layers=1, rope_parameters=dict(rope),
        max_position_embeddings=4096, attn_implementation="eager", **SIZES, **(INDEX if name == "V32" else {}))
    module = import_module(f"transformers.models.deepseek_{name.lower()}.modeling_deepseek_{name.lower()}")
    attention = getattr(module, f"Deepseek{name}Attention")(config, 0).eval()
    return attention, getattr(module, f"Deepseek{name}RotaryEmbedding")(config)


def filled(attention, rng):                             # -> MLA, Indexer or None: the same random weights on both sides
    import torch

    def fill(module, name):
        parameter = module.get_parameter(name)
        values = rng.standard_normal(tuple(parameter.shape)).astype(np.float32) * parameter.shape[-1]**-0.5
        values += name.endswith("norm.weight")
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))
        return values
    w = MLA(**{ours: fill(attention, f"{name}.weight") for ours, name in NAMES.items()})
    if not hasattr(attention, "indexer"):
        return w, None
    i = attention.indexer
    return w, Indexer(fill(i, "wq_b.weight"), fill(i, "wk.weight"), fill(i, "k_norm.weight"), fill(i, "k_norm.bias"),
                      fill(i, "weights_proj.weight"))


def their_answer(attention, rotation, x):               # [T, D] -> [T, D]
    import torch

    T = len(x)
    states, positions = torch.from_numpy(x)[None], torch.arange(T)[None]
    mask = torch.full((T, T), -torch.inf).triu(1)[None, None]
    with torch.no_grad():
        out, _ = attention(states, rotation(states, positions), mask, position_ids=positions)
    return out[0].numpy()


def freqs_of(rope):
    stretched = () if rope is PLAIN else (rope["original_max_position_embeddings"], rope["factor"])
    return frequencies(SIZES["qk_rope_head_dim"], rope["rope_theta"], *stretched)


def scale_of(rope):                                     # V3 with YaRN raises its scores by a temperature, squared
    temperature = 1.0 if rope is PLAIN else 0.1 * rope["mscale_all_dim"] * np.log(rope["factor"]) + 1
    return (SIZES["qk_nope_head_dim"] + SIZES["qk_rope_head_dim"])**-0.5 * temperature**2


@pytest.mark.parity
@pytest.mark.parametrize("absorbed", [True, False], ids=["absorbed", "decompressed"])
@pytest.mark.parametrize("rope", [PLAIN, YARN], ids=["plain", "yarn"])
@pytest.mark.parametrize("T", [1, 2, 17, 130])
def test_mla_is_v3s_attention_of_transformers(rng, T, rope, absorbed):
    attention, rotation = theirs("V3", rope)
    w, _ = filled(attention, rng)
    x = rng.standard_normal((T, 32)).astype(np.float32)
    ours = mla_layer(x, w, 4, scale_of(rope), freqs_of(rope), absorbed=absorbed)
    np.testing.assert_allclose(ours, their_answer(attention, rotation, x), **CLOSE)


@pytest.mark.parity
@pytest.mark.parametrize("T", [1, 5, 6, 90])
def test_with_an_indexer_it_is_v32s(rng, T):
    attention, rotation = theirs("V32", PLAIN)
    w, indexer = filled(attention, rng)
    x = rng.standard_normal((T, 32)).astype(np.float32)
    ours = mla_layer(x, w, 4, scale_of(PLAIN), freqs_of(PLAIN), indexer, INDEX["index_topk"])
    np.testing.assert_allclose(ours, their_answer(attention, rotation, x), **CLOSE)
    if INDEX["index_topk"] < T:                         # then some rows go unread, and that can be seen
        assert np.abs(ours - mla_layer(x, w, 4, scale_of(PLAIN), freqs_of(PLAIN))).max() > 1e-3


@pytest.mark.parity
@pytest.mark.parametrize("H, G", [(8, 8), (8, 2), (8, 1)], ids=["MHA", "GQA", "MQA"])
def test_grouped_attention_is_torchs(rng, H, G):
    import torch

    q, k, v = (rng.standard_normal(shape).astype(np.float32) for shape in ((9, H, 16), (9, G, 16), (9, G, 24)))
    heads_first = [torch.from_numpy(a).transpose(0, 1)[None] for a in (q, k, v)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True, scale=0.25, enable_gqa=True)
    np.testing.assert_allclose(grouped_attention(q, k, v, 0.25, causal(9, 9)), wanted[0].transpose(0, 1).numpy(), **CLOSE)
