"""The card: it says what was measured and nothing else, and comes back from disk as it was."""

import pytest

from v4mini import Config, Refused
from v4mini.planning.counts import total
from v4mini.training import card
from v4mini.training.loop import read_log, train
from v4mini.weights.random import random_tensors

NEEDLES = {"tokens": 4096, "haystacks": 3, "questions": 64, "right": 0.984375, "by_depth": [1.0, 1.0, 0.95, 1.0],
           "others": 0, "similar": 0.0, "prefill_seconds": 1.5, "question_seconds": 0.0123, "cache_bytes": 1000,
           "indexers": "trained"}
MEASURED = {"held_out": {"bits_per_byte": 2.34567, "bytes": 12345, "tokens": 4000, "nats": 20000.0, "xz": 2.1},
            "router": {"0": 1.25, "1": 2.5}, "mtp_agreement": 0.4321,
            "lengths": {"longest": 2048, "questions": 256, "right": 0.6789, "by_letter": [1.0, 0.5], "commonest": 0.2468},
            "index_recall": {"3": 0.678},
            "needles": [NEEDLES, {**NEEDLES, "right": 0.03125, "others": 40, "similar": 1.0, "indexers": "untrained"}]}


def test_the_model_is_described_from_its_config_alone():
    config = Config.mini()
    found = card.describe("mini", config)
    count = total(config)
    assert (found["parameters"], found["active"], found["experts"]) == (count.total, count.active, [2, 8])
    assert found["layers"] == [config.layer_kind(i) + " (hash)" * (i < config.n_hash_layers) for i in range(config.n_layers)]
    assert found["parameters"] / 2 < found["bytes"] < 2 * found["parameters"]           # FP4, FP8, BF16 and some float32


def test_a_runs_facts_are_sums_of_its_log(run_of, tmp_path):
    run = run_of()
    train(run, tmp_path)
    lines = read_log(tmp_path / "log.jsonl")
    found = card.training_facts(run, lines, "forty small texts")
    assert [(stage["name"], stage["steps"], stage["rows"], stage["length"], stage["layers"]) for stage in found["stages"]] == [
        ("facts", 4, 3, 48, 2), ("all", 6, 3, 64, 4)]
    assert found["steps"] == 10 == sum(stage["steps"] for stage in found["stages"])
    assert found["tokens"] == 4 * 144 + 6 * 192 and found["text_tokens"] == len(run.feed.corpus)
    assert found["stages"][1]["losses"] == lines[-1]["losses"]
    assert found["hours"] * 3600 >= sum(stage["seconds"] for stage in found["stages"]) > 0


def test_a_run_that_stopped_early_tells_of_the_stages_it_saw(run_of, tmp_path):
    run = run_of()
    train(run, tmp_path, most=2)
    found = card.training_facts(run, read_log(tmp_path / "log.jsonl"), "texts")
    assert [stage["name"] for stage in found["stages"]] == ["facts"] and found["steps"] == 2


def measured(model_of, config, tokenizer, haystacks, told=None):
    texts = ["def f(x):\n    return x\n" * 60]
    return card.measurements(model_of(config), tokenizer, texts, random_tensors(config), haystacks, 2, told)


def test_measurements_search_each_haystack_as_it_says(model_of, small_tokenizer, small_recipe):
    told = []
    hays = [{"tokens": 128}, {"tokens": 256, "others": 3, "times": 2}, {"tokens": 128, "random": True}]
    found = measured(model_of, small_recipe.config, small_tokenizer, hays, told.append)
    assert [(n["tokens"], n["haystacks"], n["others"], n["similar"], n["indexers"]) for n in found["needles"]] == [
        (128, 1, 0, 0.0, "trained"), (256, 2, 3, 1.0, "trained"), (128, 1, 0, 0.0, "untrained")]
    assert found["held_out"]["bytes"] == 60 * 23 and set(found["router"]) == {"0", "1", "2", "3"}
    assert all(busiest >= 1 for busiest in found["router"].values()) and 0 <= found["mtp_agreement"] <= 1
    assert told[:3] == ["bits per byte", "router load", "MTP agreement"]
    assert told[-1] == "needles in 128 tokens, untrained indexers"


def test_a_model_without_mtp_is_measured_without(model_of, small_tokenizer, small_recipe):
    found = measured(model_of, small_recipe.config.replace(n_mtp_layers=0, compress_ratios=(4, 0, 16, 4)), small_tokenizer, [])
    assert "mtp_agreement" not in found and found["needles"] == []


def test_the_page_says_each_number_and_nothing_that_was_not_measured():
    model = card.describe("mini", Config.mini())
    bare = card.card_text({"model": model})
    assert bare.startswith("mini: ") and "Trained" not in bare and "Held-out" not in bare and "haystack" not in bare
    page = card.card_text({"model": model, "measured": MEASURED})
    for words in ("12,345 bytes", "2.346 bits per byte", "2.100", "1.25, 2.50", "43.2%", "67.8%", "3 x 64", "98.4%", "3.1%",
                  "12.3", "untrained", "256 texts", "67.9%", "24.7%", "100 50"):
        assert words in page, words
    fewer = {name: value for name, value in MEASURED.items() if name != "mtp_agreement"}
    without = card.card_text({"model": model, "measured": fewer})
    assert "MTP block's guess" in page and "MTP block's guess" not in without
    assert "\nBusiest expert" in page


def test_a_card_comes_back_as_it_was(tmp_path):
    whole = {"model": card.describe("Überschrift", Config.tiny()), "measured": MEASURED}
    card.write_card(tmp_path, whole)
    assert card.read_card(tmp_path) == whole and "Überschrift" in (tmp_path / card.NAME).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [card.NAME]


def test_a_card_quotes_one_of_a_model_that_lacked_something():
    lacking = {"trained": {"without": ["index"], "steps": 875, "tokens": 6_800_000, "seed": 0}, "measured": MEASURED}
    other = card.quoted(lacking)
    assert other == {"without": ["index"], "steps": 875, "tokens": 6_800_000, "measured": MEASURED}
    model = card.describe("mini", Config.mini())
    page = card.card_text({"model": model, "beside": [other]})
    for words in ("875 of its steps", "they stayed random", "2.346 bits per byte", "1.25, 2.50", "98.4%", "3.1%"):
        assert words in page, words
    assert "contrast" not in card.card_text({"model": model, "measured": MEASURED, "beside": []})
    for whole in ({"model": model}, {**lacking, "trained": {"without": []}}, {"trained": lacking["trained"]}):
        with pytest.raises(Refused, match="trained --without something"):
            card.quoted(whole)


@pytest.mark.parametrize("text, words", [(None, "no file"), ("{", "expected JSON"), ("\xff\xfe", "expected UTF-8 text")])
def test_a_card_that_is_none_is_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / card.NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused, match=words):
        card.read_card(tmp_path)
