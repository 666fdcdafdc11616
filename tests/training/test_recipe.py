"""Recipes: they fit their configs, say all that decides the numbers, and refuse what cannot be."""

import dataclasses
import json

import pytest

from v4mini import Config, Refused
from v4mini.training.batches import KINDS
from v4mini.training.recipe import Recipe, Stage, general, left_out, mini, recipe_for, without


@pytest.mark.parametrize("name", ["mini", "tiny", Config.bench()], ids=["mini", "tiny", "bench"])
def test_recipes_can_be_written_down_and_told_apart(name):
    recipe = recipe_for(name)
    told = json.loads(json.dumps(recipe.to_dict()))
    assert told["stages"][0]["steps"] == recipe.stages[0].steps and told["config"]["dim"] == recipe.config.dim
    assert told != json.loads(json.dumps(dataclasses.replace(recipe, seed=1).to_dict()))
    for stage in recipe.stages:
        assert set(stage.mix) <= set(KINDS) and stage.rate_at(stage.steps - 1) > 0
        assert recipe.config_of(stage).vocab_size == recipe.config.vocab_size
        stage.settings("numpy")


@pytest.mark.parametrize("part, other", [("index", "balance"), ("balance", "index")])
def test_what_is_left_out_is_all_that_differs(part, other):
    recipe = mini()
    lesser = without(recipe, part)
    assert left_out(recipe) == [] and left_out(lesser) == [part] and left_out(without(lesser, other)) == ["index", "balance"]
    weights = {"index": "index_weight", "balance": "balance_weight"}
    for stage, less in zip(recipe.stages, lesser.stages, strict=True):
        assert getattr(less, weights[part]) == 0 < getattr(stage, weights[part])
        assert dataclasses.replace(less, **{weights[part]: getattr(stage, weights[part])}) == stage
    assert (lesser.bias_speed, recipe.bias_speed) == ((0.0 if part == "balance" else 0.01), 0.01)
    with pytest.raises(Refused, match="without: expected index or balance, got 'mtp'"):
        without(recipe, "mtp")


def test_the_minis_layers_only_ever_grow_and_end_complete():
    stages = mini().stages
    layers = [set(stage.layers or range(mini().config.n_layers)) for stage in stages]
    assert all(before <= after for before, after in zip(layers, layers[1:]))
    assert layers[-1] == set(range(mini().config.n_layers)) and len(layers[0]) < len(layers[-1])


def test_the_rate_is_warm_up_constant_cosine():
    stage = general(Config.tiny(), steps=100).stages[0]
    rates = [stage.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.001) and rates[19:50] == [0.02] * 31 and rates[-1] == pytest.approx(0.002)


@pytest.mark.parametrize("stages, words", [
    ((), "at least one stage"),
    ((Stage("a", 1, 1, 8, {"text": 1}, 0.1), Stage("a", 1, 1, 8, {"text": 1}, 0.1)), "a name of its own"),
    ((Stage("a", 1, 1, 8, {"text": 1}, 0.1, layers=(7,)),), "expected some of 0 to 3")])
def test_what_cannot_be_is_refused(stages, words):
    with pytest.raises(Refused, match=words):
        Recipe(Config.tiny(), stages)
