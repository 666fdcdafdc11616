"""The picture of the whole model: letters, with parts marked."""

import pytest

from v4mini.shapes import Refused
from v4mini.viz.whole import PARTS, picture


def test_a_marked_part_stands_in_brackets_and_moves_nothing():
    plain, marked = picture().splitlines(), picture("heavy entries", "money").splitlines()
    assert "  heavy entries  " in plain[2] and " [HEAVY ENTRIES] " in marked[2] and marked[4].endswith(" [MONEY]")
    assert [line.replace("[HEAVY ENTRIES]", " heavy entries ") for line in marked[:4]] == plain[:4]
    assert len(plain) == 5 and max(map(len, plain)) <= 100 and len(set(PARTS)) == len(PARTS) == 19


def test_every_part_can_be_marked_and_another_is_refused():
    assert picture(*PARTS).count("[") == len(PARTS)
    with pytest.raises(Refused, match="expected parts among tokens, streams, .*, got 'sinks'"):
        picture("sinks")
