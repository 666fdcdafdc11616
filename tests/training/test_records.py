"""Cards and logs that an editor, a disk or a stranger changed: the same card again, or one sentence."""

import copy
import json

import pytest

from v4mini import Config, Refused
from v4mini.lessons.places import data_folder
from v4mini.training import card
from v4mini.training.loop import LOG, read_log
from v4mini.training.records import CARD, LOG_LINE, expect_like

NEEDLES = {"tokens": 4096, "haystacks": 3, "questions": 64, "right": 0.98, "by_depth": [1.0, 0.95], "others": 0, "similar": 0.0,
           "prefill_seconds": 1.5, "question_seconds": 0.0123, "cache_bytes": 1000, "indexers": "trained"}
MEASURED = {"held_out": {"bits_per_byte": 2.3, "bytes": 12345, "tokens": 4000, "nats": 20000.0, "xz": 2.1},
            "router": {"0": 1.25}, "mtp_agreement": 0.4321, "index_recall": {"3": 0.678}, "needles": [NEEDLES]}
STAGE = {"name": "text", "steps": 6, "rows": 2, "length": 48, "mix": {"text": 1.0}, "layers": 4, "seconds": 3.0,
         "losses": {"next": 2.0}}
TRAINED = {"texts": "forty texts", "text_bytes": 10, "text_tokens": 5, "steps": 6, "tokens": 576, "hours": 0.1, "seed": 0,
           "without": ["index"], "stages": [STAGE], "version": "0.1.0", "machine": "x86_64"}
WHOLE = {"model": card.describe("mini", Config.mini()), "trained": TRAINED, "measured": MEASURED,
         "beside": [{"without": ["balance"], "steps": 6, "tokens": 576, "measured": MEASURED}]}
LINE = {"step": 10, "stage": "text", "batch": 96, "tokens": 960, "seconds": 1.0, "rate": 0.02, "norm": 1.5,
        "losses": {"next": 2.0}, "load": {"1": 1.2}, "recall": {}, "steps": 10, "tokens_per_second": 960.0}


def test_a_card_is_read_as_it_was_written(tmp_path):
    for one in (WHOLE, {"model": WHOLE["model"]}, {"model": WHOLE["model"], "more": {"of": ["anything", "\ud800"]}}):
        card.write_card(tmp_path, one)
        assert card.read_card(tmp_path) == one and card.card_text(one)


def places(value, path=()):             # every key inside
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*path, key)
        if isinstance(value[key], dict | list):
            yield from places(value[key], (*path, key))


VALUES = [None, True, -1, 10**400, 1e308, "\ud800", float("inf"), "\x1b[2J", [], {}, ["x"], {"x": []}, "x" * 3000]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_any_value_anywhere_is_a_page_or_a_sentence(tmp_path, value):
    for place in places(WHOLE):
        changed = copy.deepcopy(WHOLE)
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        (tmp_path / card.NAME).write_text(json.dumps(changed))
        try:
            page = card.card_text(card.read_card(tmp_path))
        except Refused as refused:
            assert "\n" not in str(refused) and str(refused).isprintable()
        else:
            assert "\x1b" not in page and "inf" not in page


@pytest.mark.parametrize("raw, words", [(b"\xff\xfe{}", "UTF-8"), (b"[]", "a JSON object"), (b"{", "JSON"), (b"{}", "model"),
                                        (b"", "JSON"), (b'{"model": NaN}', "NaN"), (b'{"model": 1, "model": 2}', "twice"),
                                        (b"[" * 99999, "nested")])
def test_what_is_no_card_is_one_sentence(tmp_path, raw, words):
    (tmp_path / card.NAME).write_bytes(raw)
    for use in (lambda: card.read_card(tmp_path), lambda: card.write_card(tmp_path, WHOLE)):
        with pytest.raises(Refused, match=words):
            use()
    assert (tmp_path / card.NAME).read_bytes() == raw


def test_a_log_is_read_and_a_torn_last_line_left_out(tmp_path):
    whole = json.dumps(LINE) + "\n"
    for text, lines in (("", 0), (whole, 1), (whole * 2 + whole[:40], 2), (whole + '{"step": 1', 1)):
        (tmp_path / LOG).write_text(text)
        assert read_log(tmp_path / LOG) == [LINE] * lines
    assert read_log(tmp_path / "none") == []


def test_the_bundled_card_is_one():
    assert card.read_card(data_folder() / "mini")["trained"]["steps"] == 1275


@pytest.mark.parametrize("raw, words", [(b"\xff\n", "line 1.*UTF-8"), (b"[1]\n", "line 1.*object"),
                                        (b'{"step": 1}\n', "line 1.stage"),
                                        (json.dumps(LINE).encode() + b"\nnotes of mine\n", "line 2"),
                                        (json.dumps(LINE | {"losses": {"next": "low"}}).encode() + b"\n", "losses")])
def test_what_is_no_log_is_refused_and_stays(tmp_path, run_of, raw, words):
    from v4mini.training.loop import train

    (tmp_path / LOG).write_bytes(raw)
    with pytest.raises(Refused, match=words):
        read_log(tmp_path / LOG)
    with pytest.raises(Refused, match=words):
        train(run_of(), tmp_path, most=1)
    assert (tmp_path / LOG).read_bytes() == raw and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("pattern, whole", [(CARD, WHOLE), (LOG_LINE, LINE)])
def test_every_field_that_is_needed_is_asked_for(pattern, whole):
    expect_like(whole, pattern, "it")
    for name in pattern:
        if not name.endswith("?"):
            with pytest.raises(Refused, match=f"it.{name}: expected a value, got"):
                expect_like({key: value for key, value in whole.items() if key != name}, pattern, "it")
