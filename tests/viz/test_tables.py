"""Tables and sizes as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini.viz.tables import human_bytes, human_count, text_table


def test_numbers_to_the_right_words_to_the_left():
    assert text_table(["name", "bytes", "share"], [["a", 1234, 0.5], ["longer", 7, 0.12345]]) == (
        "name    bytes  share\n"
        "------  -----  -----\n"
        "a       1,234    0.5\n"
        "longer      7  0.123")


def test_nothing_and_yes_and_no():
    assert text_table(["n", "fits"], [[None, "x"], [3, True]]) == "n  fits\n-  ----\n   x\n3  yes"


def test_no_rows_leave_the_header():
    assert text_table(["a", "wide"], []) == "a  wide\n-  ----"


@given(st.lists(st.tuples(st.text("abc", max_size=9), st.integers(-10**9, 10**9), st.floats(-1e6, 1e6)), min_size=1))
def test_columns_begin_and_end_at_the_same_place(rows):
    head, rule, *lines = text_table(["w", "int", "float"], rows).split("\n")
    assert len(lines) == len(rows) and set(rule) == {"-", " "}
    widths = [len(dashes) for dashes in rule.split("  ")]
    for line, (word, whole, part) in zip(lines, rows):
        assert line[: widths[0]].rstrip() == word
        assert line[widths[0] + 2:].split() == [f"{whole:,}", f"{part:.3g}"] and len(line) == len(rule)


@pytest.mark.parametrize("count, shown", [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (159_609_485_896, "159.61 GB"),
                                          (2.5e12, "2.50 TB"), (3514, "3.51 kB"), (999_999, "1.00 MB"), (999_994, "999.99 kB"),
                                          (999_999_999_999, "1.00 TB")])
def test_bytes_in_powers_of_a_thousand(count, shown):
    assert human_bytes(count) == shown


@pytest.mark.parametrize("count, shown", [(7, "7"), (1234, "1.234 K"), (284_332_000_000, "284.332 B"), (8_458_000, "8.458 M"),
                                          (1_572_997_000_000, "1,572.997 B")])
def test_counts_in_billions(count, shown):
    assert human_count(count) == shown
