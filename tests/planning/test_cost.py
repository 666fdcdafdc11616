"""Money: bills checked with a pencil, break-evens by trying both sides of them, and the article's ten times, date by date."""

import dataclasses
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.planning.cost import (
    HOURS_A_MONTH,
    Terms,
    Workload,
    api_costs,
    break_even,
    efficiencies,
    hosted_price,
    hosting,
    price_history,
    request_price,
)
from v4mini.planning.machines import find_machine, read_runs
from v4mini.planning.models import planned_model
from v4mini.planning.plan import measured_beside
from v4mini.planning.prices import rate
from v4mini.planning.roofline import request_seconds
from v4mini.shapes import Refused

from .conftest import DATA

LAUNCH, NOW = date(2026, 4, 24), date(2026, 11, 23)
RENT = Terms(rent_per_hour=32.0)


def test_a_bill_with_a_pencil(prices):
    """800 of 4,000 tokens cached, 300 out, V4-Pro at launch: 800 x 0.145 + 3,200 x 1.74 + 300 x 3.48 millionths of a dollar."""
    work = Workload(1_000_000, 4000, 300, 0.2)
    one = request_price(work, rate(prices, "v4-pro", LAUNCH))
    assert one == pytest.approx((116 + 5568 + 1044) / 1e6)
    (row,) = api_costs(prices, work, ["v4-pro"], LAUNCH)
    assert row["each"] == one and row["total"] == pytest.approx(6728)


def test_bulk_ingestion_today_and_at_launch(prices):
    work = Workload(1_000_000, 4000, 300, 0.2, "batch")
    launch = {row["model"]: row["total"] for row in api_costs(prices, work, ["v4-pro", "v4-flash", "gpt-5.5"], LAUNCH)}
    assert launch == pytest.approx({"v4-flash": 554.4, "v4-pro": 6728, "gpt-5.5": (800 * 0.25 + 3200 * 2.5 + 300 * 15)})
    rows = api_costs(prices, work, list(prices.models), NOW)
    assert [row["total"] for row in rows] == sorted(row["total"] for row in rows)


@settings(max_examples=100, deadline=None)
@given(tokens=st.integers(1, 10**6), out=st.integers(0, 10**5), cached=st.floats(0, 1), documents=st.integers(1, 10**9))
def test_a_bill_is_never_negative_and_a_cache_never_costs_more(prices, tokens, out, cached, documents):
    price = rate(prices, "v4-pro", NOW, tokens)
    with_cache, without = (request_price(Workload(documents, tokens, out, share), price) for share in (cached, 0.0))
    assert 0 <= with_cache <= without * (1 + 1e-12)
    assert without == pytest.approx((tokens * price.cache_miss + out * price.output) / 1e6)


@pytest.mark.parametrize("day, miss, output", [         # list prices of both, divided with a pencil
    ("2026-04-24", 2.87, 8.62), ("2026-04-26", 11.49, 34.48), ("2026-08-16", 5.87, 11.73), ("2026-09-10", 6.27, 12.54)])
def test_ten_times_cheaper_date_by_date(prices, day, miss, output):
    rows = {row["day"]: row for row in price_history(prices, Workload(1, 1000, 1000), "v4-pro", "gpt-5.5")}
    assert (rows[day]["cache_miss"], rows[day]["output"]) == pytest.approx((miss, output), abs=6e-3)
    assert len(rows) == 4


def test_a_ratio_of_a_workload_lies_between_those_of_its_parts(prices):
    for row in price_history(prices, Workload(1, 3000, 1000), "v4-pro", "gpt-5.5"):
        assert min(row["cache_miss"], row["output"]) <= row["workload"] <= max(row["cache_miss"], row["output"])


@pytest.fixture(scope="module")
def found(machines, flash):
    return hosting(flash, find_machine(machines, "h200-node"), Workload(10**6, 4000, 300, 0.2), RENT, 0.2)


def test_hosting_by_hand(machines, flash, found):
    seconds = request_seconds(flash, find_machine(machines, "h200-node"), 4000, 300, 800, 64) / 0.2
    assert found["seconds"] == pytest.approx(seconds) and found["documents_per_hour"] == pytest.approx(3600 / seconds)
    assert found["fixed_per_month"] == pytest.approx(32 * 730.5) and found["power_each"] == 0
    assert hosted_price(found, 1) == pytest.approx(32 / 3600 * seconds)
    assert hosted_price(found, 0.25) == pytest.approx(4 * hosted_price(found, 1))
    assert found["hours"] == pytest.approx(1e6 * seconds / 3600)


def test_a_purchase_with_a_pencil():
    """256,000 USD over 3 years are 9.73 an hour; 10.2 kW in a room of PUE 1.2 at 0.146 are 1.787, 30% of it when idle."""
    terms = Terms(buy=256_000, years=3, power=10_200, usd_per_kwh=0.146, pue=1.2)
    assert terms.idle_per_hour == pytest.approx(256_000 / (3 * 8766) + 0.3 * 1.78704)
    assert terms.work_per_hour == pytest.approx(0.7 * 1.78704)
    assert Terms(rent_per_hour=5, power=10_200, usd_per_kwh=1).work_per_hour == 0       # rent has the power in it


@settings(max_examples=100, deadline=None)
@given(each=st.floats(1e-6, 1), efficiency=st.floats(0.01, 1), buy=st.floats(100, 1e6))
def test_at_the_break_even_both_cost_the_same(machines, each, efficiency, buy):
    flash, node = planned_model("flash"), machines["h200-node"]
    found = hosting(flash, node, Workload(1, 4000, 300, 0.2), Terms(buy=buy, power=10_200, usd_per_kwh=0.15), efficiency)
    even = break_even(found, each)
    if even["share"] is None:                           # the power of one document alone costs more than the API
        assert found["power_each"] >= each
        return
    wanted = even["share"] * found["documents_per_month"]

    def own(documents):
        return found["fixed_per_month"] + documents * found["power_each"]
    assert own(wanted) == pytest.approx(wanted * each, rel=1e-9)
    assert own(0.5 * wanted) > 0.5 * wanted * each and own(2 * wanted) < 2 * wanted * each
    assert (even["documents_per_month"] is None) == (wanted > found["documents_per_month"])
    if even["documents_per_month"]:
        assert hosted_price(found, even["share"]) == pytest.approx(each, rel=1e-9)


def test_a_month_is_a_twelfth_of_a_year(found):
    assert HOURS_A_MONTH == 730.5 and found["documents_per_month"] == pytest.approx(730.5 * found["documents_per_hour"])


def test_efficiency_is_that_of_published_runs(machines):
    rows = list(measured_beside(read_runs(DATA / "machines.json"), machines, planned_model))
    low, middle, high = efficiencies(rows)
    assert 0.02 < low < middle < high < 1
    with pytest.raises(Refused, match="no published run"):
        efficiencies([row for row in rows if row["what"] != "serve"])


def test_only_as_many_requests_as_fit_run_side_by_side(machines, flash):
    spark = find_machine(machines, "dgx-sparkx2")
    long = hosting(flash, spark, Workload(1, 900_000, 100), Terms(buy=9398), 0.3)
    assert long["batch"] < 64
    with pytest.raises(Refused, match="Not even its weights fit"):
        hosting(flash, machines["dgx-spark"], Workload(1, 1000, 100), Terms(buy=4699), 0.3)
    tight = dataclasses.replace(machines["h200"], memory_gb=156.5, usable=1.0)         # 156.016 GB are the weights
    with pytest.raises(Refused, match="At most 13[0-9],[0-9]{3} tokens fit"):
        hosting(flash, tight, Workload(1, 200_000, 100), RENT, 0.3)


@pytest.mark.parametrize("change, words", [
    ({"documents": 0}, "documents: expected a whole number"), ({"tokens_in": -1}, "tokens_in: expected a whole number"),
    ({"tokens_out": 0.5}, "tokens_out: expected"), ({"cached": 1.1}, "cached: expected a share"),
    ({"cached": float("nan")}, "cached: expected a share"), ({"mode": "lazy"}, "mode: expected batch or interactive")])
def test_a_wrong_workload_is_refused(change, words):
    with pytest.raises(Refused, match=words):
        Workload(**{"documents": 1, "tokens_in": 1, "tokens_out": 1, **change})


@pytest.mark.parametrize("change, words", [
    ({"rent_per_hour": -1}, "rent_per_hour: expected 0 or more"), ({"buy": float("nan")}, "buy: expected 0 or more"),
    ({"usd_per_kwh": -0.1}, "usd_per_kwh: expected 0 or more"), ({"years": 0}, "years and pue"), ({"pue": 0.9}, "years and pue"),
    ({"buy": 0}, "expected a rent or a purchase price")])
def test_wrong_terms_are_refused(change, words):
    with pytest.raises(Refused, match=words):
        Terms(**{"buy": 1000, **change})


def test_shares_outside_their_range_are_refused(machines, flash, found):
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(Refused, match="efficiency: expected"):
            hosting(flash, machines["h200-node"], Workload(1, 100, 10), RENT, share)
        with pytest.raises(Refused, match="utilisation: expected"):
            hosted_price(found, share)
