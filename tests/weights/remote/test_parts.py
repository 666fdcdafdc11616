"""Which tensors a word means, and what is offered when it means none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weights.misbehaving import SIX_LAYERS

from v4mini.shapes import Refused
from v4mini.weights.remote.parts import choose
from v4mini.weights.spec import tensors

NAMES = [name for spec in tensors(SIX_LAYERS) for name, _, _ in spec.stored()]
FILES = ["config.json", "tokenizer.json", "inference/model.py", "LICENSE"]


@pytest.mark.parametrize("part, found", [
    ("embed", ["embed.weight"]),
    ("layers.3.ffn.gate", ["layers.3.ffn.gate.weight", "layers.3.ffn.gate.bias"]),
    ("layers.0.ffn.gate.tid2eid", ["layers.0.ffn.gate.tid2eid"]),
    ("layers.2.ffn.experts.1.w2", ["layers.2.ffn.experts.1.w2.weight", "layers.2.ffn.experts.1.w2.scale"]),
    ("layers.*.gate.bias", [f"layers.{i}.ffn.gate.bias" for i in (2, 3, 4, 5)]),
    ("hc_head_*", ["hc_head_fn", "hc_head_base", "hc_head_scale"])])
def test_a_word_means_these(part, found):
    assert choose(part, NAMES, FILES) == (found, [])


def test_a_number_is_not_the_beginning_of_a_longer_one():
    names = ["layers.1.x", "layers.10.x", "layers.100.x"]
    assert choose("layers.1", names, [])[0] == ["layers.1.x"] and choose("layers.10", names, [])[0] == ["layers.10.x"]


def test_files_and_all():
    assert choose("tokenizer.json", NAMES, FILES) == ([], ["tokenizer.json"])
    assert choose("all", NAMES, FILES) == (NAMES, ["config.json", "tokenizer.json"])


@pytest.mark.parametrize("part, offered", [
    ("gate", "Did you mean layers.0.ffn.gate?"), ("layer.3", "Did you mean layers.3?"),
    ("layers.99.ffn.gate", "layers.5.ffn.gate?"),
    ("layers.3.ffn.gates", "Did you mean layers.3.ffn.gate?"), ("layers.0.ffn.gate.tid2aid", "layers.0.ffn.gate.tid2eid?"),
    ("layers.3.ffn.experts.17", "layers.3.ffn.experts.7?"), ("tokeniser.json", "Did you mean tokenizer.json?"),
    ("layers.1.xyz", "layers.1.attn_norm or layers.1.hc_attn_fn"), ("embed.weights", "Did you mean embed.weight?"),
    ("qqq", "v4mini inspect --tensors lists them"), ("", "lists them"), ("[", "lists them"), ("layers.[", "Did you mean")])
def test_a_word_that_means_none_gets_the_nearest(part, offered):
    with pytest.raises(Refused) as refusal:
        choose(part, NAMES, FILES)
    assert offered in str(refusal.value) and "\n" not in str(refusal.value)


@given(st.text(max_size=30))
def test_any_word_means_something_or_is_refused(word):
    try:
        found, files = choose(word, NAMES, FILES)
    except Refused:
        return
    assert (found or files) and set(found) <= set(NAMES) and set(files) <= set(FILES)
