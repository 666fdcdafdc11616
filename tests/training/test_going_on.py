"""Going on from a model: only from one that had exactly the first stages of the recipe."""

import dataclasses

import pytest

from v4mini import Refused
from v4mini.training.going_on import stages_had
from v4mini.training.recipe import without


@pytest.fixture
def trained(small_recipe):                              # what a card says after the first stage, which may end early
    first = small_recipe.stages[0]
    return {"stages": [{"name": first.name, "rows": first.rows, "length": first.length, "steps": 3}], "without": []}


def test_the_stages_of_a_card_are_counted(small_recipe, trained):
    assert stages_had(small_recipe, small_recipe.config, trained, "m") == 1


@pytest.mark.parametrize("change, words", [
    ({"name": "texts"}, "with texts"), ({"rows": 9}, "first stages of this recipe"), ({"length": 9}, "first stages"),
    ({"steps": 5}, "5 of 4 steps of 'facts'")])
def test_other_stages_are_refused(small_recipe, trained, change, words):
    trained["stages"][0] |= change
    with pytest.raises(Refused, match=words):
        stages_had(small_recipe, small_recipe.config, trained, "m")


def test_an_unfinished_stage_is_refused_unless_it_may_end_early(small_recipe, trained):
    strict = dataclasses.replace(small_recipe.stages[0], until=None)
    with pytest.raises(Refused, match="3 of 4 steps .* --resume"):
        stages_had(dataclasses.replace(small_recipe, stages=(strict, small_recipe.stages[1])), small_recipe.config, trained, "m")


def test_another_config_recipe_or_nothing_left_is_refused(small_recipe, trained):
    config = small_recipe.config
    with pytest.raises(Refused, match="recipe's config"):
        stages_had(small_recipe, config.replace(norm_eps=1e-5), trained, "m")
    with pytest.raises(Refused, match="first stages"):
        stages_had(without(small_recipe, "index"), config, trained, "m")
    with pytest.raises(Refused, match="with none"):
        stages_had(small_recipe, config, {"stages": []}, "m")
    with pytest.raises(Refused, match="had all 1"):
        stages_had(dataclasses.replace(small_recipe, stages=small_recipe.stages[:1]), config, trained, "m")
