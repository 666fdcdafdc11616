"""Stop texts against one search in the whole text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini.shapes import Refused
from v4mini.text.stop import StopText

few = st.text("ab中", max_size=30)               # few letters: stop texts overlap with themselves and with each other


def shown(pieces, stops):
    stop, out = StopText(stops), []
    for piece in pieces:
        out.append(stop.put(piece))
        if stop.found is not None:
            break
    return out, "".join([*out, stop.end()]), stop.found


@given(text=few, stops=st.lists(st.text("ab中", min_size=1, max_size=4), max_size=3), data=st.data())
def test_any_cutting_into_pieces_gives_what_one_search_gives(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    _, got, found = shown(pieces, stops)
    if not ends:
        assert got == text and found is None
    else:
        longest = max((stop for stop in stops if text[: ends[0]].endswith(stop)), key=len)
        assert (got, found) == (text[: ends[0] - len(longest)], longest)


@given(text=few, stops=st.lists(st.text("ab中", min_size=1, max_size=4), min_size=1, max_size=3))
def test_letter_by_letter_nothing_is_shown_that_is_taken_back(text, stops):
    out, got, _ = shown(text, stops)
    assert got.startswith("".join(out)) and text.startswith(got)


def test_written_out():
    assert shown(["x(", "1", ")\n"], [")"])[0] == ["x(", "1", ""]
    assert shown(["a\n", "\nb"], ["\n\n"])[1:] == ("a", "\n\n")
    assert shown(["a\n", "b"], ["\n\n"])[0] == ["a", "\nb"]


@pytest.mark.parametrize("stops", [[""], [None], ["a", ""], [b"a"]])
def test_a_stop_text_is_some_text(stops):
    with pytest.raises(Refused, match="stop: expected some text"):
        StopText(stops)
