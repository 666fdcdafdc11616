"""A run: the same bits every time, stopped or not; what is not finite stops it by name."""

import dataclasses

import numpy as np
import pytest

from v4mini import Refused
from v4mini.training.corpus import Corpus
from v4mini.training.recipe import Recipe, Stage, anticipating
from v4mini.training.step import loss_and_gradients, routes_of


def advance(run, steps):                                # -> log lines without times
    lines = []
    for _ in range(steps):
        if run.is_stage_over:
            run.enter_next_stage()
        line = run.learn(recall=True)
        if run.stage.until is not None:
            line["accuracy"] = run.check()
        lines.append({name: value for name, value in line.items() if name != "seconds"})
    return lines


def same_bits(one, two):
    assert one.params.keys() == two.params.keys()
    for mine, other in ((one.params, two.params), (one.optimisers.state(), two.optimisers.state())):
        for name in mine:
            assert mine[name].tobytes() == other[name].tobytes(), name


def test_going_on_from_a_checkpoint_is_never_having_stopped(run_of, tmp_path):
    """The stage changes, and the model grows, after step 4: saved before, at and after it."""
    whole = run_of()
    lines = []
    for step in range(1, 11):
        lines += advance(whole, 1)
        if step in (1, 4, 8):
            whole.save(tmp_path / f"{step}.safetensors")
    for step in (1, 4, 8):
        again = run_of()
        again.restore(tmp_path / f"{step}.safetensors")
        assert again.step == step and advance(again, 10 - step) == lines[step:]
        same_bits(whole, again)
    assert whole.is_over and again.is_over and again.tokens == whole.tokens == 4 * 144 + 6 * 192


def test_a_run_that_begins_at_a_stage_is_one_that_came_there(run_of, small_recipe):
    """With the parameters that the stages before gave, the next stage begins alike, but for what was drawn before."""
    came, begun = run_of(), run_of()
    advance(came, 4)
    came.enter_next_stage()
    params = {name: values.copy() for name, values in came.params.items()}
    before = {"steps": 4, "tokens": 4 * 144, "hours": 0.5, "stages": [{"name": "facts"}]}
    begun.begin_at(1, before, params)
    assert begun.seconds == 1800
    begun.feed.restore(came.feed.state())
    assert advance(begun, 6) == advance(came, 6)
    same_bits(came, begun)
    with pytest.raises(Refused, match="params: .* is (missing|unknown)"):
        run_of().begin_at(0, before, came.params)


def test_a_stage_of_first_use_begins_with_sinks_that_take_weight(run_of, small_recipe):
    first, last = small_recipe.stages
    stages = dataclasses.replace(first, layers=None), dataclasses.replace(last, first_use=True, sink_rate=10.0)
    run = run_of(dataclasses.replace(small_recipe, stages=stages))
    advance(run, 4)
    run.enter_next_stage()
    sinks = {name: values.copy() for name, values in run.params.items() if name.endswith("attn_sink")}
    assert all((np.abs(values) > 0.1).any() for name, values in sinks.items() if name.startswith("layers."))
    assert run.optimisers.adamw.steps == 0
    advance(run, 1)
    moved = max(float(np.abs(run.params[name] - values).max()) for name, values in sinks.items())
    plain = run.recipe.vector_rate * last.rate
    assert moved == pytest.approx(10 * plain, rel=1e-3)         # AdamW's first step is as long as its rate


def test_the_loss_falls(run_of, small_recipe):
    run = run_of(Recipe(small_recipe.config, (Stage("text", 20, 3, 64, {"text": 1.0}, 0.03, warm_up=3),)))
    losses = [line["losses"]["next"] for line in advance(run, 20)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 1


def test_every_tensor_that_can_learn_has_moved_at_the_end(run_of):
    run = run_of()
    advance(run, 5)
    before = {name: values.copy() for name, values in run.params.items()}
    advance(run, 5)
    still = {name for name, values in run.params.items() if np.array_equal(values, before[name])}
    assert {name for name in still if not name.endswith("tid2eid")} == set()


@pytest.mark.parametrize("name, words", [
    ("layers.0.attn.wkv.weight", "the loss 'next' is nan, layers.0.attn.wkv.weight itself holds numbers"),
    ("norm.weight", "the loss 'next' is nan, norm.weight itself"), (None, "the gradient of layers.1.attn.wkv.weight")])
def test_a_number_that_is_none_stops_the_run_and_is_named(run_of, monkeypatch, name, words):
    from v4mini.training import run as module

    run = run_of()
    advance(run, 2)
    if name:
        run.params[name].flat[5] = np.nan
    else:                                               # a gradient that overflows although all losses are fine
        def spoilt(*given):
            found = loss_and_gradients(*given)
            found.gradients["layers.1.attn.wkv.weight"][0, 0] = np.inf
            return found
        monkeypatch.setattr(module, "loss_and_gradients", spoilt)
    before = {name: values.copy() for name, values in run.params.items()}
    with pytest.raises(Refused) as error, np.errstate(all="ignore"):
        run.learn()
    assert "at step 3," in str(error.value) and words in str(error.value)
    assert run.step == 2 and all(np.array_equal(before[name], run.params[name], equal_nan=True) for name in before)


def test_another_recipe_and_other_texts_are_refused(run_of, small_recipe, small_tokenizer, tmp_path):
    run = run_of()
    advance(run, 1)
    run.save(tmp_path / "c.safetensors")
    with pytest.raises(Refused, match="by another recipe"):
        run_of(dataclasses.replace(small_recipe, seed=1)).restore(tmp_path / "c.safetensors")
    other = Corpus.of(["another text, long enough for two rows of everything. " * 40], small_tokenizer)
    with pytest.raises(Refused, match="from other texts"):
        run_of(corpus=other).restore(tmp_path / "c.safetensors")


def test_what_is_no_checkpoint_is_refused(run_of, tmp_path):
    from v4mini.training.export import export

    run = run_of()
    with pytest.raises(Refused, match="no such file"):
        run.restore(tmp_path / "c.safetensors")
    export(run.config, run.params, tmp_path, "{}")
    with pytest.raises(Refused, match="expected a file of the format"):
        run.restore(tmp_path / "model.safetensors")
    run.save(tmp_path / "c.safetensors")
    whole = (tmp_path / "c.safetensors").read_bytes()
    (tmp_path / "c.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refused):
        run.restore(tmp_path / "c.safetensors")


def test_a_vocabulary_that_does_not_fit_is_refused(run_of, small_recipe):
    with pytest.raises(Refused, match="vocabulary of 301, the tokenizer one of 300"):
        run_of(dataclasses.replace(small_recipe, config=small_recipe.config.replace(vocab_size=301)))


def test_checking_answers_changes_nothing(run_of):
    one, two = run_of(), run_of()
    advance(one, 2)
    for _ in range(2):
        if two.step:
            two.check()
        two.learn(recall=True)
    assert one.feed.state() == two.feed.state()
    same_bits(one, two)


def test_a_stage_that_waits_for_answers_ends_when_they_are_right(run_of, monkeypatch):
    run = run_of()
    advance(run, 1)
    assert not run.is_stage_over
    run.accuracy = 0.95
    assert run.is_stage_over
    run.enter_next_stage()
    assert run.number == 1 and run.stage_step == 0 and run.accuracy is None and run.config.n_layers == 4


def ahead_by(run_of, small_recipe, steps):
    return run_of(anticipating(small_recipe, steps))


def test_with_anticipatory_routing_experts_are_chosen_by_the_model_of_before(run_of, small_recipe, monkeypatch):
    """Step s learns from a batch of step s - 2, by routes that the parameters of then choose; steps 0 and 1 choose at once."""
    from v4mini.training import run as module

    run, asked = ahead_by(run_of, small_recipe, 2), []

    def watched(config, params, batch, settings, routes=None):
        asked.append((batch, routes))
        return loss_and_gradients(config, params, batch, settings, routes)
    monkeypatch.setattr(module, "loss_and_gradients", watched)
    advance(run, 4)
    run.enter_next_stage()                              # with layer 3, whose router is learned
    asked.clear()
    for step in range(6):
        before, drawn = {name: values.copy() for name, values in run.params.items()}, len(run.ahead)
        advance(run, 1)
        assert (drawn, len(run.ahead)) == (min(step, 2, 6 - step), min(step + 1, 2, 5 - step))
        if step + 2 < 6:                                # drawn in this step
            later, routes = run.ahead[-1]
            wanted = routes_of(run.config, before, later, run.stage.settings("numpy"))
            assert routes.keys() == wanted.keys() and {3, run.config.n_layers} <= routes.keys()
            for layer in routes:
                np.testing.assert_array_equal(routes[layer], wanted[layer])
            asked[step] += (later, routes)
    assert [routes is None for _, routes, *_ in asked] == [True] * 2 + [False] * 4
    for step in range(4):
        assert asked[step + 2][0] is asked[step][2] and asked[step + 2][1] is asked[step][3]


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_batches_drawn_ahead_survive_a_stop(run_of, small_recipe, steps, tmp_path):
    whole = ahead_by(run_of, small_recipe, steps)
    lines = []
    for step in range(1, 11):
        lines += advance(whole, 1)
        if step in (2, 7):
            whole.save(tmp_path / f"{step}.safetensors")
    assert whole.is_over and whole.ahead == [] and whole.tokens == 4 * 144 + 6 * 192
    for step, done, stage in ((2, 2, 4), (7, 3, 6)):    # so many steps of the stage's are done
        again = ahead_by(run_of, small_recipe, steps)
        again.restore(tmp_path / f"{step}.safetensors")
        assert len(again.ahead) == max(0, min(done + steps, stage) - max(done, steps))
        assert advance(again, 10 - step) == lines[step:]
        same_bits(whole, again)
