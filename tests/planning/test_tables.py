"""Tables of strangers: every bad value is refused with the file, the row and the field; nothing else ever happens."""

import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.planning.machines import MACHINE, RUN, read_machines
from v4mini.planning.tables import Field, nearest, read_table
from v4mini.shapes import Refused

BOX = {"name": "box", "title": "a box", "kind": "desktop", "memory_gb": 64, "bandwidth_gb_s": 100, "bf16_tflops": 10,
       "source": "its manual", "date": "2026-11-23"}


def test_a_row_is_read_with_its_defaults(table):
    box = read_machines(table(machines=[BOX]))["box"]
    assert (box.devices, box.usable, box.most, box.fp8_tflops, box.note) == (1, 0.9, 1, 0.0, "")
    assert box.date == date(2026, 11, 23) and box.memory == 64e9


@pytest.mark.parametrize("change, words", [
    ({"memory_gb": -1}, "memory_gb must be a number above 0"),
    ({"memory_gb": 0}, "memory_gb must be a number above 0"),
    ({"memory_gb": "64"}, "memory_gb must be a number above 0"),
    ({"memory_gb": True}, "memory_gb must be a number above 0"),
    ({"memory_gb": float("nan")}, "memory_gb must be a number above 0"),
    ({"memory_gb": 1e400}, "memory_gb must be a number above 0"),
    ({"memory_gb": None}, "memory_gb must be a number above 0"),
    ({"usable": 1.1}, "usable must be a number above 0 and at most 1"),
    ({"devices": 1.5}, "devices must be a whole number of at least 1"),
    ({"devices": 0}, "devices must be a whole number of at least 1"),
    ({"kind": "toaster"}, "kind must be one of laptop"),
    ({"date": "last spring"}, "date must be a date such as 2026-04-24"),
    ({"date": 20261123}, "date must be a date such as 2026-04-24"),
    ({"source": "  "}, "source must be some text"),
    ({"memory": 64}, "no field is called 'memory'. Did you mean memory_gb"),
])
def test_a_bad_field_is_named_with_its_row_and_file(table, change, words):
    path = table(machines=[BOX, {**BOX, "name": "bad", **change}])
    with pytest.raises(Refused) as error:
        read_machines(path)
    assert str(path) in str(error.value) and "row 2 (bad)" in str(error.value) and words in str(error.value)


@pytest.mark.parametrize("field", ["name", "memory_gb", "source", "date"])
def test_a_missing_field_is_named(table, field):
    with pytest.raises(Refused, match=f"row 1.*the field '{field}' is missing"):
        read_machines(table(machines=[{key: value for key, value in BOX.items() if key != field}]))


@pytest.mark.parametrize("text, words", [
    ("", "not JSON"), ("{", "not JSON"), ("[]", "expected an object of tables, got a JSON list"), ("7", "got a JSON int"),
    ('{"machine": []}', "expected machines, runs, got 'machine'. Did you mean machines"),
    ('{"machines": {}}', "machines must be a list of rows, got dict"),
    ('{"machines": [7]}', "row 1: expected an object of fields, got int"),
    ("[" * 100_000, "not JSON"),
])
def test_a_file_that_is_no_table_is_refused(table, text, words):
    with pytest.raises(Refused, match="rows0.json") as error:
        read_machines(table(text))
    assert words in str(error.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(Refused, match="no such file"):
        read_machines(tmp_path / "none.json")
    (tmp_path / "raw.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refused, match="cannot be read"):
        read_machines(tmp_path / "raw.json")
    with pytest.raises(Refused, match="expected a regular file, got .*, which is a folder"):
        read_machines(tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from([*BOX, "machines", "runs", "most"]) | st.text(max_size=5), inner, max_size=4)))
def test_whatever_a_file_holds_it_is_rows_or_one_sentence(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any.json"
    for content in (value, {"machines": [value]}, {"machines": [{**BOX, "most": value}]}):
        path.write_text(json.dumps(content))
        try:
            read = read_table(path, {"machines": MACHINE, "runs": RUN})
        except Refused as error:
            assert str(path) in str(error)
        else:
            assert set(read) == {"machines", "runs"}


def test_the_nearest_name_is_offered():
    assert nearest("h20", ["h200", "b200", "laptop"]).startswith("Did you mean h200")
    assert nearest("zzz", ["h200"]) == ""


def test_every_field_kind_reads_what_it_says():
    assert Field("number", least=0, most=1).read(1) == 1.0 and Field("whole").read(3) == 3
    assert Field("day").read("2026-04-24") == date(2026, 4, 24) and Field("text", "x").read(None) == "x"
    with pytest.raises(ValueError, match="an object in braces"):
        Field("object").read([])
