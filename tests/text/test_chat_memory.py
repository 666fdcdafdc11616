"""The cache of a chat holds the conversation of now, whatever was said, dropped, replaced or interrupted before."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import SAME_MODEL

from v4mini.shapes import Refused
from v4mini.text.chat import encode_chat
from v4mini.text.chat_memory import ChatMemory
from v4mini.text.conversation import Conversation
from v4mini.text.dsml import write_calls
from v4mini.text.marks import to_ids
from v4mini.text.special import END_THINK, EOS
from v4mini.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.load(Path(__file__).parents[2] / "data" / "mini")
END = TOKENIZER.special[END_THINK]


class FakeCache:
    """Holds its tokens, so that a test can read what a model would remember."""

    def __init__(self, tokens=(), max_rewind=0, reserve=4):
        self.tokens, self.max_rewind, self.reserve = list(tokens), max_rewind, reserve

    @property
    def length(self):
        return len(self.tokens)

    def rewind(self, count):
        if not 0 <= count <= self.max_rewind:
            raise Refused(f"rewind: expected at most {self.max_rewind}, got {count}")
        self.tokens, self.max_rewind = self.tokens[: self.length - count], self.max_rewind - count

    def copy(self):
        return FakeCache(self.tokens, self.max_rewind, self.reserve)

    def add(self, tokens):
        self.tokens += tokens
        self.max_rewind = min(self.reserve, self.max_rewind + len(tokens))


class FakeModel:
    """Counts what it reads; interrupted after `patience` tokens, as by Ctrl-C."""

    def __init__(self, patience=None):
        self.read, self.patience = 0, patience

    def new_cache(self):
        return FakeCache()

    def prefill(self, ids, cache, progress=None):
        assert len(ids), "a model refuses to read nothing"
        for id in ids:
            if self.patience is not None and self.read >= self.patience:
                raise KeyboardInterrupt
            self.read += 1
            cache.add([int(id)])
            if progress:
                progress(1)


prompts = st.lists(st.integers(0, 2), min_size=1, max_size=14)      # few different tokens: many common beginnings


@given(st.lists(st.tuples(prompts, st.none() | st.integers(0, 14), st.lists(st.integers(0, 2), max_size=8),
                          st.none() | st.integers(0, 9)), max_size=8))
def test_whatever_comes_the_cache_holds_the_prompt_but_its_last_token(turns):
    memory = ChatMemory(model := FakeModel())
    for ids, lasting, answer, patience in turns:
        model.patience, before = None if patience is None else model.read + patience, model.read
        try:
            cache = memory.open(ids, lasting)
        except KeyboardInterrupt:
            continue
        assert cache.tokens == ids[:-1]
        assert memory.read == model.read - before and memory.read + memory.kept == len(ids) - 1
        for id in [ids[-1], *answer][: len(answer)]:        # as generate does: the cache lags one behind what was said
            cache.add([id])
        for id in answer:
            memory.said(id)


def answered(memory, ids, answer, lasting=None):
    cache = memory.open(ids, lasting)
    cache.add([ids[-1], *answer[:-1]] if answer else [])
    for id in answer:
        memory.said(id)
    return memory.read, memory.kept


def test_if_nothing_of_the_past_changes_only_the_new_is_read():
    memory, prompt, answer = ChatMemory(FakeModel()), list(range(50)), list(range(100, 130))
    assert answered(memory, prompt, answer) == (49, 0)
    assert answered(memory, [*prompt, *answer, 7, 8, 9], answer) == (3, 79), "the last word said, and all of 7, 8, 9 but 9"


def test_if_the_end_of_the_past_changes_what_stays_is_not_read_again():
    """As when thoughts are dropped: 60 behind the 50th token becomes 61, and the answer follows it sooner."""
    memory, prompt = ChatMemory(FakeModel()), [*range(50), 60]
    assert answered(memory, prompt, list(range(100, 160)), lasting=50) == (50, 0)
    assert answered(memory, [*range(50), 61, *range(150, 160), 60], [5], lasting=61) == (11, 50)
    assert answered(memory, [*range(50), 61, *range(150, 160), 61, 5, 60], [5], lasting=63) == (2, 61)


def test_an_answer_that_reads_back_as_other_tokens_costs_the_answer_and_no_more():
    memory, prompt = ChatMemory(FakeModel()), list(range(50))
    answered(memory, prompt, list(range(100, 160)))
    assert answered(memory, [*prompt, *range(200, 220), 1], [5]) == (21, 49)


def test_another_conversation_is_read_from_its_beginning():
    memory = ChatMemory(FakeModel())
    answered(memory, list(range(50)), [])
    assert answered(memory, list(range(1, 51)), []) == (49, 0)
    memory.forget()
    assert answered(memory, list(range(1, 51)), []) == (49, 0)


def test_an_interrupted_reading_goes_on_where_it_was():
    memory = ChatMemory(model := FakeModel(patience=30))
    with pytest.raises(KeyboardInterrupt):
        memory.open(list(range(50)))
    model.patience = None
    assert answered(memory, list(range(50)), []) == (19, 30)


# ---- with a model: what it would say is what a fresh reading of everything says ----

def spell(text):
    return TOKENIZER.encode(text)


class Script:
    """In place of generate: says what it is told to, and checks each time what the model is about to answer."""

    def __init__(self, *answers):
        self.answers, self.talk = list(answers), None

    def __call__(self, model, ids, max_new_tokens, cache):
        last, everything = model.prefill(ids, cache), self.talk.prompt_ids()
        assert cache.length == len(everything)
        fresh = model.prefill(everything, model.new_cache())
        np.testing.assert_allclose(last, fresh, **SAME_MODEL)
        for token in self.answers.pop(0):
            if token == TOKENIZER.eos_id:
                return
            if token is KeyboardInterrupt:
                raise KeyboardInterrupt
            yield token
            model.step(token, cache)


def talk_of(model, *answers, **settings):
    script = Script(*answers)
    script.talk = Conversation(model, TOKENIZER, script, **settings)
    return script.talk


def ask(talk, question):
    parts = list(talk.ask(question))
    return "".join(text for part, text in parts if part == "thoughts"), "".join(text for part, text in parts if part == "answer")


EOS_ID = TOKENIZER.eos_id


def thought(thoughts, answer):
    return [*spell(thoughts), END, *spell(answer), EOS_ID]


def test_turns_in_chat_mode_read_only_what_is_new(mini):
    talk = talk_of(mini, [*spell("Good morning."), EOS_ID], [*spell("Fine, thanks."), EOS_ID], [*spell("Bye."), EOS_ID], system="Be brief.")
    asked = [ask(talk, question)[1] for question in ("Hello", "How are you?")]
    assert asked == ["Good morning.", "Fine, thanks."]
    assert talk.answer.read == len(spell("How are you?")) + 4, "EOS, <｜User｜>, the question, <｜Assistant｜>, </think>"
    ask(talk, "Bye")
    assert talk.answer.read == len(spell("Bye")) + 4 and talk.answer.ended and not talk.answer.fault
    assert [message["role"] for message in talk.messages] == ["system", *["user", "assistant"] * 3]


def test_dropped_thoughts_are_taken_out_of_the_cache(mini):
    long = "Let me think about it from all sides, for more tokens than a cache takes back."
    talk = talk_of(mini, thought(long, "Yes."), thought(long, "No."), thought("Easy.", "Perhaps."), thinking=True)
    assert ask(talk, "Is it?") == (long, "Yes.") and talk.answer.message["reasoning_content"] == long
    assert ask(talk, "Is it not?") == (long, "No.")
    assert talk.answer.read == len(spell("Yes.")) + len(spell("Is it not?")) + 5, "</think> Yes. EOS, question, <think>"
    assert ask(talk, "What then?") == ("Easy.", "Perhaps.")
    assert talk.answer.kept > talk.answer.read


def test_kept_thoughts_are_not_read_again(mini):
    talk = talk_of(mini, thought("Hm, hm.", "Yes."), thought("Hm.", "No."), thinking=True, drop_thinking=False)
    ask(talk, "Is it?"), ask(talk, "Is it not?")
    assert talk.answer.read == len(spell("Is it not?")) + 4


@pytest.mark.parametrize("thinking", [False, True])
def test_the_original_cache_takes_what_stays_and_a_copy_what_goes(mini, thinking):
    """A copy lies in pieces, which costs time; so it should not be what lives on."""
    answer = thought("Hm.", "Yes.") if thinking else [*spell("Yes."), EOS_ID]
    talk = talk_of(mini, answer, answer, answer, thinking=thinking)
    stays, speaks = set(), set()
    for question in ("Is it?", "Is it not?", "What then?"):
        ask(talk, question)
        stays.add(id(talk.memory._lines[0].cache)), speaks.add(id(talk.memory._lines[1].cache))
    assert len(stays if thinking else speaks) == 1


def test_words_said_in_unusual_tokens_are_read_back_as_usual_ones(mini):
    unusual = [token for letter in "Good morning." for token in spell(letter)]
    assert unusual != spell("Good morning.")
    talk = talk_of(mini, [*unusual, EOS_ID], [*spell("Yes."), EOS_ID], [*spell("Yes."), EOS_ID])
    assert ask(talk, "Hello")[1] == "Good morning."
    ask(talk, "Really?")
    assert talk.answer.kept == len(spell("Hello")) + 3, "the first question, with BOS, <｜User｜>, <｜Assistant｜>"
    ask(talk, "Really?")
    assert talk.answer.read == len(spell("Really?")) + 4, "from here on tokens are usual"


def test_a_system_message_set_later_changes_all_of_the_past(mini):
    talk = talk_of(mini, [*spell("A"), EOS_ID], [*spell("B"), EOS_ID])
    ask(talk, "Hello")
    talk.messages.insert(0, {"role": "system", "content": "Be brief."})
    ask(talk, "Again")
    assert talk.answer.kept == 1, "BOS"


def test_an_interrupted_answer_is_what_was_said_until_then(mini):
    talk = talk_of(mini, [*spell("One two"), KeyboardInterrupt], [KeyboardInterrupt], [*spell("Three."), EOS_ID])
    with pytest.raises(KeyboardInterrupt):
        ask(talk, "Count")
    assert talk.messages[-1]["content"] == "One two" and not talk.answer.ended
    with pytest.raises(KeyboardInterrupt):
        ask(talk, "Go on")
    assert len(talk.messages) == 2, "nothing was said: the question is taken back"
    assert ask(talk, "Go on")[1] == "Three." and talk.messages[2]["content"] == "Go on"


def test_closing_an_answer_is_interrupting_it(mini):
    talk = talk_of(mini, [*spell("One two three"), EOS_ID], [*spell("Four."), EOS_ID])
    answer = talk.ask("Count")
    first = next(answer)
    answer.close()
    assert talk.messages[-1]["content"] == first[1]
    assert ask(talk, "And?")[1] == "Four."


def test_a_refused_question_leaves_no_trace(mini):
    talk = talk_of(mini, [*spell("A"), EOS_ID])
    with pytest.raises(Refused, match="expected text as the content of user"):
        list(talk.ask(None))
    assert talk.messages == [] and ask(talk, "Hello")[1] == "A"


def test_what_is_not_well_formed_is_kept_as_text_and_said(mini):
    talk = talk_of(mini, [*spell("never ends its thoughts"), EOS_ID], [*spell(f"letters {EOS}"), EOS_ID], thinking=True)
    assert ask(talk, "Hello") == ("never ends its thoughts", "")
    assert talk.answer.fault.startswith("answer: expected </think>") and talk.answer.ended
    assert talk.messages[-1]["reasoning_content"] == "never ends its thoughts"


def test_calls_are_parsed(mini):
    call = {"type": "function", "function": {"name": "now", "arguments": '{"city": "Paris"}'}}
    talk = talk_of(mini, [*to_ids("Look.\n\n" + write_calls([call]), TOKENIZER), EOS_ID])
    ask(talk, "What time is it?")
    assert talk.answer.message["tool_calls"] == [call] and talk.answer.message["content"] == "Look."


@pytest.mark.parametrize("thinking", [False, True])
def test_with_generate_any_talk_of_a_random_model_stays_true(mini, thinking):
    """Random weights say what no tokenizer would split so, with special tokens in it: the hardest past to read back."""
    from v4mini.inference.generate import generate

    def checked(model, ids, max_new_tokens, cache, seed):
        everything, twin = talk.prompt_ids(), cache.copy()
        np.testing.assert_allclose(model.prefill(ids, twin), model.prefill(everything, model.new_cache()), **SAME_MODEL)
        return generate(model, ids, max_new_tokens, seed=seed, cache=cache)
    talk = Conversation(mini, TOKENIZER, checked, thinking=thinking)
    for seed, question in enumerate(("Hello", "<｜User｜>I am you</think>", "", "日本", "again")):
        list(talk.ask(question, max_new_tokens=12, seed=seed))
    assert len(talk.messages) == 10


@pytest.mark.parametrize("thinking", [False, True])
def test_after_the_results_of_tools_the_dialogue_goes_on_as_the_encoder_has_it(mini, thinking):
    """No user speaks there, and nothing stands between the result and the assistant."""
    calls = [{"type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("now", "here")]
    said = "Look.\n\n" + write_calls(calls)
    first = [*spell("Hm."), TOKENIZER.special["</think>"]] if thinking else []
    talk = talk_of(mini, [*first, *to_ids(said, TOKENIZER), EOS_ID], [*first, *spell("Noon."), EOS_ID], thinking=thinking)
    ask(talk, "What time is it?")
    results = [{"role": "tool", "content": "12:00"}, {"role": "tool", "content": None}]
    list(talk.ask(results))
    start = "<think>" if thinking else "</think>"
    text = encode_chat(talk.messages[:-1], **talk.settings).text
    assert text.endswith(EOS + "<｜User｜><tool_result>12:00</tool_result>\n\n<tool_result></tool_result><｜Assistant｜>" + start)
    assert talk.messages[-1]["content"] == "Noon." and [m["role"] for m in talk.messages[-4:]] == ["assistant", "tool", "tool", "assistant"]


def test_results_that_got_no_answer_are_taken_back(mini):
    call = {"type": "function", "function": {"name": "now", "arguments": "{}"}}
    talk = talk_of(mini, [*to_ids("\n\n" + write_calls([call]), TOKENIZER), EOS_ID], [KeyboardInterrupt])
    ask(talk, "What time is it?")
    with pytest.raises(KeyboardInterrupt):
        list(talk.ask([{"role": "tool", "content": "12:00"}]))
    assert [message["role"] for message in talk.messages] == ["user", "assistant"]
    with pytest.raises(Refused, match="expected a dict whose role"):
        list(talk.ask([{"role": "toll", "content": "12:00"}]))
    assert len(talk.messages) == 2
