"""Token after token."""

import numpy as np
import pytest

from v4mini.config import Config
from v4mini.inference.generate import generate
from v4mini.shapes import Refused

PROMPT = [5, 17, 42, 8]


class Scripted:
    """A model that wants to say one fixed text: after n tokens the n-th of it is by far the best."""

    def __init__(self, says, max_seq_len=1000):
        self.config, self.says = Config.tiny().replace(max_seq_len=max_seq_len), says
        self.steps = 0

    def new_cache(self):
        return type("Cache", (), {"length": 0})()

    def flatten(self, sequences):
        return np.asarray(sequences[0]), None

    def prefill(self, ids, cache):
        cache.length += len(ids)
        return self._scores()

    def step(self, token, cache):
        cache.length, self.steps = cache.length + 1, self.steps + 1
        return self._scores()

    def _scores(self):
        return np.float32(np.arange(97) == self.says[self.steps]) * 1000


def test_greedy_tokens_are_the_best_after_each_prefix(tiny):
    said = list(generate(tiny, PROMPT, 12, temperature=0))
    text = list(PROMPT)
    for token in said:
        assert token == int(np.argmax(tiny.logits(text)[-1]))
        text.append(token)
    assert len(said) == 12 or int(np.argmax(tiny.logits(text)[-1])) == tiny.config.eos_id


def test_a_seed_is_a_text(tiny):
    first, same, other = (list(generate(tiny, PROMPT, 20, seed=seed)) for seed in (3, 3, 4))
    assert first == same != other and all(type(token) is int for token in first)


def test_the_end_token_stops_and_is_not_said():
    model = Scripted([9, 8, 1, 7])                      # 1 is eos
    assert list(generate(model, PROMPT, 10)) == [9, 8] and model.steps == 2


def test_the_last_token_costs_no_step():
    model = Scripted([9, 8, 7, 6])
    assert list(generate(model, PROMPT, 3)) == [9, 8, 7] and model.steps == 2


def test_tokens_come_one_by_one():
    model = Scripted([9, 8, 7])
    tokens = generate(model, PROMPT, 3)
    assert model.steps == 0 and next(tokens) == 9 and model.steps == 0 and next(tokens) == 8 and model.steps == 1


def test_with_a_cache_the_prompt_goes_on_from_what_it_holds(tiny):
    cache = tiny.new_cache()
    tiny.prefill(PROMPT, cache)
    said = list(generate(tiny, [3, 2], 5, temperature=0, cache=cache))
    assert said == list(generate(tiny, [*PROMPT, 3, 2], 5, temperature=0))
    assert cache.length == 6 + 4                        # all but the last one drawn
    assert list(generate(tiny, [said[-1], 60], 3, temperature=0, cache=cache)) == list(
        generate(tiny, [*PROMPT, 3, 2, *said, 60], 3, temperature=0))


def test_it_may_fill_the_context_to_the_last_place():
    model = Scripted([9] * 20, max_seq_len=10)          # 4 of a prompt, 6 that are read again, 1 that is only said
    assert len(list(generate(model, PROMPT, 7))) == 7
    with pytest.raises(Refused, match="make 11, over this config's 10"):
        generate(model, PROMPT, 8)


@pytest.mark.parametrize("settings, sentence", [
    ({"temperature": -1}, "temperature"), ({"top_p": 0}, "top_p"), ({"max_new_tokens": 0}, "max_new_tokens"),
    ({"max_new_tokens": 2.0}, "max_new_tokens"), ({"max_new_tokens": True}, "max_new_tokens"),
    ({"max_new_tokens": None}, "max_new_tokens"), ({"seed": -1}, "seed"),
    ({"seed": "x"}, "seed"), ({"seed": None}, "seed"), ({"ids": []}, "one or more token ids"),
    ({"ids": [97]}, "got 97"), ({"ids": [1.5]}, "integers"), ({"ids": "hello"}, "ids: "), ({"ids": 5}, "ids: "),
    ({"ids": None}, "ids: ")], ids=str)
def test_a_setting_out_of_range_is_refused_at_once_not_at_the_first_token(tiny, settings, sentence):
    with pytest.raises(Refused, match=sentence):
        generate(tiny, **{"ids": PROMPT} | settings)


def test_a_refused_prompt_leaves_the_cache_alone(tiny):
    cache = tiny.new_cache()
    tiny.prefill(PROMPT, cache)
    with pytest.raises(Refused):
        generate(tiny, [1, 97], cache=cache)
    assert cache.length == 4
