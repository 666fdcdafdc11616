"""The report: what fits to the byte, by how much it does not, and what would."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.planning.machines import find_machine, read_runs
from v4mini.planning.models import planned_model
from v4mini.planning.plan import crossover, flops_table, longest, measured_beside, needed, plan
from v4mini.shapes import Refused

from .conftest import DATA

MILLION = 2**20


@pytest.mark.parametrize("model, machine, weights, fits", [     # as the engines' own guides say
    ("flash", "h200x4", "released", True), ("flash", "b200x4", "released", True), ("flash", "atlas-a2", "w8a8", True),
    ("flash", "atlas-a3", "w8a8", True), ("flash", "h200", "released", False), ("flash", "laptop-32gb", "q2", False),
    ("flash", "macbook-pro-m5-max", "q2", True), ("flash", "dgx-spark", "q2", True), ("flash", "dgx-sparkx2", "released", True),
    ("flash", "dgx-spark", "released", False), ("pro", "b200-node", "released", True), ("pro", "h200-node", "released", True),
    ("pro", "h100-node", "released", False), ("pro", "atlas-a3x2", "w4a8", True), ("pro", "atlas-a2x4", "w4a8", True),
    ("pro", "atlas-a2", "w4a8", False)])
def test_what_is_known_to_fit_fits_and_what_does_not_does_not(machines, model, machine, weights, fits):
    report = plan(planned_model(model), 8192, 1, find_machine(machines, machine), machines, weights)
    assert report["machine"]["fits"] is fits
    assert report["machine"]["spare"] == pytest.approx(report["machine"]["room"] - report["needed"])


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(1, 400), machine=st.sampled_from(["h200x4", "b200-node", "dgx-sparkx2", "mac-studio-m3-ultra"]))
def test_the_longest_text_is_the_last_that_fits(machines, batch, machine):
    flash, machine = planned_model("flash"), find_machine(machines, machine)
    most = longest(flash, machine, batch)
    assert most == 0 or needed(flash, most, batch) <= machine.room
    assert most == flash.longest or needed(flash, most + 1, batch) > machine.room


def test_as_many_texts_fit_as_it_says(machines, flash):
    report = plan(flash, MILLION, 1, find_machine(machines, "h200x4"), machines)
    most = report["machine"]["max_batch"]
    assert needed(flash, MILLION, most) <= report["machine"]["room"] < needed(flash, MILLION, most + 1)


def test_more_of_the_same_machine_comes_first_and_holds_it(machines, pro):
    report = plan(pro, MILLION, 4, find_machine(machines, "h200x2"), machines)
    assert not report["machine"]["fits"] and report["nearest"][0]["name"] == "h200x7"
    assert all(row["fits"] and row["spare"] >= 0 for row in report["nearest"])
    assert plan(pro, MILLION, 10**6, None, machines)["nearest"] == []


def test_the_report_adds_up_and_is_plain_data(machines, flash):
    report = plan(flash, 131072, 3, find_machine(machines, "h200x4"), machines, mtp=True)
    assert json.loads(json.dumps(report))["model"] == "DeepSeek-V4-Flash"
    released = next(row for row in report["weights"] if row["stored"] == "released")
    assert released["bytes"] == 159_609_485_896 == sum(report["formats"].values())
    cache = next(row for row in report["caches"] if row["storage"] == "released")
    assert cache["bytes"] == sum(cache["kinds"].values())
    assert report["needed"] == released["bytes"] + 3 * cache["bytes"]
    for row in report["flops"]:
        assert row["total"] == pytest.approx(sum(value for key, value in row.items() if key not in ("context", "total")))


@pytest.mark.parametrize("name, index, core, total", [          # GFLOP at 2^20 tokens, plain, from the formulas with a pencil
    ("flash", 90, 24, 140), ("pro", 129, 77, 303), ("v3.2", 1048, 35, 1158)])
def test_flops_at_a_million_tokens(name, index, core, total):
    row = flops_table(planned_model(name), [MILLION])[0]
    assert round(row["index"] / 1e9) == index and row["total"] / 1e9 == pytest.approx(total, abs=1)
    rest = sum(value for part, value in row.items() if part not in ("context", "total", "dense", "index"))
    assert round(rest / 1e9) == core


@pytest.mark.parametrize("name", ["flash", "pro", "v3.2"])
def test_from_the_crossover_on_the_past_costs_more(name):
    model = planned_model(name)
    for tokens, wanted in ((crossover(model), True), (crossover(model) - 1, False)):
        past = sum(flops for flops, _ in model.growing(tokens).values())
        assert (past >= sum(model.dense().values())) is wanted


def test_a_context_beyond_the_model_is_said(v32, flash):
    assert plan(v32, MILLION)["beyond"] and not plan(flash, MILLION)["beyond"]


def test_published_runs_without_drafts_stay_below_the_bound(machines):
    """A bound that a real run passes is no bound. Drafts give more than one token a step, so they may."""
    rows = list(measured_beside(read_runs(DATA / "machines.json"), machines, planned_model))
    assert len(rows) > 10
    for row in rows:
        assert row["share"] > 0.02, row
        assert row["share"] < 1 or row["drafts"] == "yes", row


@pytest.mark.parametrize("context, batch", [(0, 1), (-5, 1), (1.5, 1), (100, 0), (100, "many"), (True, 1)])
def test_a_wrong_question_is_refused(flash, context, batch):
    with pytest.raises(Refused, match="expected a whole number of at least 1"):
        plan(flash, context, batch)
