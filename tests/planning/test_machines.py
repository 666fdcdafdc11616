"""Machines: names with a count, sums over devices, the next wider arithmetic, and the least that holds something."""

import pytest

from v4mini.planning.machines import find_machine, read_machines, read_runs, smallest_that_fit
from v4mini.planning.models import planned_model
from v4mini.planning.storage import WEIGHTS
from v4mini.shapes import Refused

from .conftest import DATA

BOX = {"name": "box", "title": "a box", "kind": "desktop", "memory_gb": 64, "bandwidth_gb_s": 100, "bf16_tflops": 10,
       "source": "its manual", "date": "2026-11-23"}


@pytest.mark.parametrize("name, gigabytes, terabytes_a_second", [       # data sheets, summed over devices by hand
    ("h100-node", 640, 26.8), ("h200-node", 1128, 38.4), ("b200-node", 1440, 64), ("atlas-a2", 512, 12.8),
    ("atlas-a3", 1024, 25.6), ("h200x4", 564, 19.2), ("atlas-a3x2", 2048, 51.2), ("dgx-spark", 128, 0.273)])
def test_devices_are_summed(machines, name, gigabytes, terabytes_a_second):
    machine = find_machine(machines, name)
    assert machine.memory == pytest.approx(gigabytes * 1e9) and machine.bandwidth == pytest.approx(terabytes_a_second * 1e12)
    assert machine.label == name


def test_a_node_is_eight_of_its_devices(machines):
    pairs = {"h100-node": "h100x8", "h200-node": "h200x8", "b200-node": "b200x8", "atlas-a3": "ascend-910cx8"}
    for node, device in pairs.items():
        node, eight = find_machine(machines, node), find_machine(machines, device)
        assert (node.memory, node.bandwidth, node.rate("fp8")) == (eight.memory, eight.bandwidth, eight.rate("fp8"))
        assert node.power == pytest.approx(eight.power, rel=0.01)


def test_what_a_machine_lacks_runs_in_the_next_wider_format(machines):
    h100, b200, ascend, mac = (machines[name] for name in ("h100", "b200", "ascend-910c", "macbook-pro-m5-max"))
    assert [h100.runs(one) for one in ("fp4", "fp8", "int8", "bf16")] == ["fp8", "fp8", "int8", "bf16"]
    assert b200.runs("fp4") == "fp4" and b200.rate("fp4") == 2 * b200.rate("fp8") == 9000e12
    assert ascend.runs("fp8") == "bf16" and ascend.rate("int8") == 2 * ascend.rate("fp8")
    assert {mac.runs(one) for one in ("fp4", "fp8", "int8", "bf16")} == {"bf16"}


@pytest.mark.parametrize("name, words", [
    ("h2000", "no row is called 'h2000'. Did you mean h200"), ("h200x0", "expected 1 to 100,000 of h200, got 0"),
    ("h200x999999", "expected 1 to 100,000"), ("x8", "no row"), ("", "no row is called ''"),
    ("laptop", "or laptop-16gb"), ("quantum", "v4mini plan --list")])
def test_an_unknown_machine_is_refused_with_the_nearest(machines, name, words):
    with pytest.raises(Refused) as error:
        find_machine(machines, name)
    assert words in str(error.value)


def test_names_are_found_however_they_are_typed(machines):
    assert find_machine(machines, " H200 X 8 ").label == "h200x8" == find_machine(machines, "h200*8").label


def test_a_file_adds_rows_and_replaces_by_name(table):
    mine = table(machines=[BOX, {**BOX, "name": "h200", "memory_gb": 1}])
    both = read_machines(DATA / "machines.json", mine)
    assert both["box"].memory == 64e9 and both["h200"].memory == 1e9 and "b200" in both
    with pytest.raises(Refused, match="two rows are called 'box'"):
        read_machines(table(machines=[BOX, BOX]))


def test_the_least_that_holds_it(machines):
    found = smallest_that_fit(machines, 300e9)
    assert [machine.room for machine in found] == sorted(machine.room for machine in found)
    for machine in found:
        assert machine.room >= 300e9 and machine.count <= machine.most
        assert machine.count == 1 or machines[machine.name].times(machine.count - 1).room < 300e9
    assert smallest_that_fit(machines, 300e9, first="h200")[0].label == "h200x3"
    assert smallest_that_fit(machines, 1e18) == []


def test_every_row_says_where_from_and_when_and_no_date_lies_ahead(machines):
    from datetime import date

    for machine in machines.values():
        assert machine.source and date(2020, 1, 1) < machine.date <= date(2026, 12, 31), machine.name
        assert machine.fp8_tflops in (0, *(machine.bf16_tflops * factor for factor in (2, 2.001, 2.0023))) or \
            machine.fp8_tflops == pytest.approx(2 * machine.bf16_tflops, rel=0.01), f"{machine.name}: FP8 is twice BF16"


def test_published_runs_name_machines_models_and_weights_that_exist(machines):
    runs = read_runs(DATA / "machines.json")
    assert len(runs) > 10
    for run in runs:
        assert run["machine"] in machines and run["weights"] in WEIGHTS and planned_model(run["model"])
        assert run["count"] <= machines[run["machine"]].most


@pytest.mark.parametrize("name", ["rtx-3090", "rtx-4090", "rtx-5090", "a100", "h20", "epyc-9005", "epyc-9004", "threadripper-pro",
                                  "mac-studio-m3-ultra", "mac-studio-m5-ultra", "strix-halo"])
def test_what_people_have_at_home_or_are_lent_has_a_row(machines, name):
    machine = machines[name]
    assert machine.source and machine.date.year >= 2021 and machine.sure in ("official", "secondary", "derived")
    assert (machine.host == "same") == name.startswith(("epyc", "threadripper", "mac", "strix"))


def test_every_row_of_our_tables_says_how_sure_it_is():
    import json

    for file in ("machines", "prices", "claims"):
        for table, rows in json.loads((DATA / f"{file}.json").read_text(encoding="utf-8")).items():
            if table != "about":
                assert [row for row in rows if row.get("sure", row.get("kind")) in (None, "not said")] == [], (file, table)
