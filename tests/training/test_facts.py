"""Facts and questions, read back by a parser that knows nothing of the writer."""

import numpy as np
import pytest

from v4mini import Refused
from v4mini.training.facts import LETTERS, VALUE, Difficulty, Marks, fact_row, haystack, new_key

MARKS = Marks(fact=901, is_=902, ask=903, length=904, letters=np.arange(500, 536))
TEXT = np.random.default_rng(1).integers(0, 600, 5000)          # holds letters, no marks


def parsed(ids):                                        # -> [(place, mark, key, value)], unfinished ones left out
    found, ids = [], ids.tolist()
    for place, id in enumerate(ids):
        if id in (MARKS.fact, MARKS.ask) and MARKS.is_ in ids[place: place + 6]:
            middle = ids.index(MARKS.is_, place)
            if middle + VALUE < len(ids):
                found.append((place, id, tuple(ids[place + 1: middle]), tuple(ids[middle + 1: middle + 1 + VALUE])))
    return found


@pytest.mark.parametrize("difficulty", [Difficulty((1,), 2, 0.0), Difficulty((1, 2, 3), 4, 0.5),
                                        Difficulty((3,), 8, 0.8, similar=0.6)],
                         ids=["one", "mixed", "similar"])
def test_every_question_has_its_fact_before_it(rng, difficulty):
    asked = 0
    for _ in range(30):
        ids, is_answer = fact_row(rng, TEXT, MARKS, 512, difficulty)
        assert ids.shape == is_answer.shape == (512,)
        facts, answers = {}, np.zeros(512, bool)
        for place, mark, key, value in parsed(ids):
            if mark == MARKS.fact:
                assert key not in facts, "one key, two facts"
                facts[key] = value
            else:
                assert facts.pop(key) == value, "asked twice, or another answer"
                answers[place + len(key) + 2: place + len(key) + 2 + VALUE] = True
                asked += 1
        whole = 512 - 8                                 # the last question may be cut off
        np.testing.assert_array_equal(is_answer[:whole], answers[:whole])
    assert asked > 5 * 30


def test_a_spread_makes_facts_rare_in_some_rows_and_common_in_others(rng):
    counts = {}
    for spread in (1.0, 8.0):
        rows = (fact_row(rng, TEXT, MARKS, 512, Difficulty(gap=5, spread=spread))[0] for _ in range(40))
        counts[spread] = np.array([np.isin(ids, (MARKS.fact, MARKS.ask)).sum() for ids in rows])
    assert counts[8.0].min() < 20 < counts[1.0].min() and counts[8.0].std() > 2 * counts[1.0].std()


def test_far_questions_are_about_facts_beyond_the_window(rng):
    def distances(far):
        found = []
        for _ in range(20):
            first = {}
            for place, mark, key, _ in parsed(fact_row(rng, TEXT, MARKS, 512, Difficulty(far=far))[0]):
                if mark == MARKS.fact:
                    first[key] = place
                else:
                    found.append(place - first[key])
        return np.array(found)
    assert (distances(1.0) > 128).all()
    assert (distances(0.0) <= 128).mean() > 0.2


def test_similar_keys_differ_in_one_token(rng):
    taken = {(500, 501, 502): None}
    for _ in range(50):
        key = new_key(rng, taken, MARKS, 3, similar=1.0)
        assert key not in taken and sum(a != b for a, b in zip(key, (500, 501, 502))) == 1
    far = [new_key(rng, taken, MARKS, 3, similar=0.0) for _ in range(50)]
    assert np.mean([sum(a != b for a, b in zip(key, (500, 501, 502))) == 3 for key in far]) > 0.8


def test_one_token_keys_do_not_run_out(rng):
    taken = {}
    for _ in range(60):                                 # of 36 letters
        key = new_key(rng, taken, MARKS, 1, 0.3)
        assert key not in taken
        taken[key] = None


@pytest.mark.parametrize("needles, others, similar", [(64, 0, 0.0), (16, 200, 0.0), (16, 200, 1.0)])
def test_a_haystack_holds_its_needles_at_all_depths(rng, needles, others, similar):
    ids, found = haystack(rng, TEXT, MARKS, 4096, needles, others, similar)
    inside = {place: (key, value) for place, mark, key, value in parsed(ids) if mark == MARKS.fact}
    assert len(ids) == 4096 and len(inside) == needles + others and len({key for key, _ in inside.values()}) == len(inside)
    assert all(inside[needle.place] == (needle.key, needle.value) for needle in found)
    places = np.array([needle.place for needle in found])
    np.testing.assert_allclose(places, np.linspace(0, 4080, needles), atol=32)
    assert len({place % 4 for place in inside}) == 4    # every phase of a block
    if similar:
        near = [min(sum(a != b for a, b in zip(key, other)) for other, _ in inside.values() if other != key)
                for key, _ in inside.values()]
        assert np.mean(np.array(near) == 1) > 0.9


def test_more_facts_than_room_are_refused(rng):
    with pytest.raises(Refused, match="at most 8 facts in 128 tokens, got 9"):
        haystack(rng, TEXT, MARKS, 128, 9)


def test_marks_come_from_the_tokenizer():
    from v4mini.lessons.places import data_folder
    from v4mini.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(data_folder() / "mini")
    marks = Marks.of(tokenizer)
    assert tokenizer.decode(marks.letters) == LETTERS and len(set(marks.letters.tolist())) == 36
    assert tokenizer.decode([marks.fact, marks.is_, marks.ask]) == "<｜authority｜><｜title｜><｜query｜>"
    plain = tokenizer.encode("<｜authority｜><｜title｜><｜query｜>")
    assert not {marks.fact, marks.is_, marks.ask} & set(plain), "text cannot write them"
