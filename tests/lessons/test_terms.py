"""No word is used before the lesson that introduces it, unless that place points forward or defines it."""

import json

import pytest
from click.testing import CliRunner

from v4mini.lessons.__main__ import main
from v4mini.lessons.places import notebooks
from v4mini.lessons.terms import TERMS, Term, introduces, sentences, table, too_early

WRITTEN = {path.name[:2]: path for path in notebooks()}


@pytest.mark.parametrize("path", WRITTEN.values(), ids=lambda path: path.stem)
def test_no_word_before_its_lesson(path):
    found = too_early(path)
    assert not found, "\n" + "\n".join(map(str, found))


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_the_lesson_that_introduces_a_word_says_so(term):
    if term.lesson in WRITTEN and term.look_for != "":
        assert introduces(WRITTEN[term.lesson], term), f"{WRITTEN[term.lesson].stem} never puts {term.name!r} in italics or bold"


def test_the_table_is_in_the_order_of_the_course_and_names_each_word_once():
    assert [term.lesson for term in TERMS] == sorted(term.lesson for term in TERMS)
    assert len({term.name for term in TERMS}) == len(TERMS)
    for term in TERMS:
        assert not term.meaning.endswith(".") and len(term.meaning) <= 110 and "|" not in term.meaning, term.name
        if term.look_for is None:
            assert term.uses.search(f"one {term.name}, two") and not term.uses.search(f"x{term.name}x"), term.name


def notebook(folder, *texts, name="02_x.ipynb"):
    path = folder / name
    cells = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in texts]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


SINK, FAR = Term("sink", "03", "x"), Term("HCA", "05", "x")


@pytest.mark.parametrize("text", [
    "The sink takes it.",                                       # used
    "The sink takes it. More in lesson 03.",                    # the pointer is in another sentence
    "The sink (lesson 05) takes it.",                           # and must lead to the right one
    "- one item (lesson 03)\n- the sink",                       # an item of a list is a sentence of its own
    "| 01 | the sink |",
    "The sink takes it. This is a *sink*.",                     # defined too late
], ids=["used", "pointer elsewhere", "pointer to another lesson", "list", "table", "defined too late"])
def test_a_use_before_its_time_is_found(tmp_path, text):
    (found,) = too_early(notebook(tmp_path, text), (SINK,))
    assert found.term is SINK and "lesson 03" in str(found) and found.notebook == "02_x"


@pytest.mark.parametrize("text", [
    "The sink (lesson 03) takes it.",
    "Sinks: see lessons 03 and 05.",
    "| 02 to 04 | norm, the sink |",
    "The sink, later more: the *sink* is a number.",            # defined in the same sentence
    "**Next** [03: who looks at the sink?](03_window_and_sink.ipynb)",
    "A *sink* takes weight and gives nothing. From here on sink is known.",
    "A **learned sink** is one. The sink again.",
    "`attn_sink`, `sink`, $sink$",                              # names in code are no words
    "```text\nsink\n```",
    "Sinking, sinkhole.",
], ids=lambda text: text[:20])
def test_pointing_forward_and_defining_are_fine(tmp_path, text):
    assert too_early(notebook(tmp_path, text), (SINK,)) == []


def test_its_own_lesson_and_all_later_ones_may_use_it(tmp_path):
    for name in ("03_x.ipynb", "09_x.ipynb"):
        assert too_early(notebook(tmp_path, "The sink.", name=name), (SINK,)) == []


def test_a_pointer_excuses_one_sentence_a_definition_the_rest(tmp_path):
    pointed = notebook(tmp_path, "HCA (lesson 05) is far.", "Here HCA again.")
    assert [found.sentence for found in too_early(pointed, (FAR,))] == ["Here HCA again."]
    assert too_early(notebook(tmp_path, "Call it *HCA*.", "Here HCA again."), (FAR,)) == []
    assert too_early(notebook(tmp_path, "hca in small letters"), (FAR,)) == []


def test_introducing_means_emphasis_or_a_heading(tmp_path):
    assert introduces(notebook(tmp_path, "# The sink?\n\nText."), SINK)
    assert introduces(notebook(tmp_path, "*New word:* a **sink**."), SINK)
    assert not introduces(notebook(tmp_path, "The sink is a sink."), SINK)


def test_sentences_end_where_a_reader_would_stop():
    text = "## Why?\n\nOne line\nand more. (A second.) *Third* one: `x.y`.\n* an item\n* another\n\n| a | b. C |\n| 01 | d |"
    assert list(sentences(text)) == ["## Why?", "One line and more.", "(A second.)", "*Third* one: `x.y`.",
                                     "* an item", "* another", "| a | b. C |", "| 01 | d |"]


def test_the_table_is_markdown_with_links_to_lessons_that_exist():
    assert table(["03_window.ipynb"], (SINK, FAR)).splitlines() == [
        "| term | lesson | in short |", "|---|---|---|", "| sink | [03](03_window.ipynb) | x |", "| HCA | 05 | x |"]
    printed = CliRunner().invoke(main, ["terms"])
    assert printed.exit_code == 0 and "| doubly stochastic | [08](08_hyper_connections.ipynb) |" in printed.output
