"""Prices: the right row of the right day, hours and size; and refusals that name the nearest."""

from datetime import date

import pytest

from v4mini.planning.prices import days_of, pick, rate, read_prices
from v4mini.shapes import Refused

from .conftest import DATA

LAUNCH, NOW = date(2026, 4, 24), date(2026, 11, 29)
ROW = {"model": "mine", "name": "Mine", "from": "2026-01-01", "cache_hit": 1, "cache_miss": 2, "output": 3, "kind": "secondary",
       "source": "me", "date": "2026-01-01"}


@pytest.mark.parametrize("model, day, hit, miss, output", [     # DeepSeek's price pages of those days; averages by hand
    ("v4-pro", LAUNCH, 0.145, 1.74, 3.48), ("v4-pro", date(2026, 4, 25), 0.145, 1.74, 3.48),
    ("v4-pro", date(2026, 4, 26), 0.003625, 0.435, 0.87), ("v4-pro", date(2026, 8, 15), 0.003625, 0.435, 0.87),
    ("v4-flash", LAUNCH, 0.028, 0.14, 0.28), ("v4-flash", date(2026, 5, 22), 0.0028, 0.14, 0.28),
    ("v4-pro", date(2026, 8, 16), 0.022 * 217 / 168, 0.66 * 217 / 168, 1.98 * 217 / 168),
    ("v4.1-flash", NOW, 0.003 * 203 / 168, 0.15 * 203 / 168, 0.6 * 203 / 168), ("gpt-5.5", NOW, 0.5, 5, 30)])
def test_the_price_of_a_day(prices, model, day, hit, miss, output):
    found = rate(prices, model, day)
    assert (found.cache_hit, found.cache_miss, found.output) == pytest.approx((hit, miss, output))


def test_peak_hours_and_batches(prices):
    peak, night = (rate(prices, "v4-pro", NOW, peak_share=share) for share in (1, 0))
    assert (peak.output, night.output) == pytest.approx((3.96, 1.98))
    assert rate(prices, "v4-pro", NOW, mode="batch") == rate(prices, "v4-pro", NOW, peak_share=0)       # waits for the night
    assert rate(prices, "gpt-5.5", NOW, mode="batch").output == 15 and rate(prices, "gpt-5.5", NOW, mode="batch").batch == 0.5
    assert rate(prices, "gpt-5.5", NOW, peak_share=1) == rate(prices, "gpt-5.5", NOW, peak_share=0)


def test_large_prompts_cost_more_where_the_list_says_so(prices):
    assert rate(prices, "gpt-5.5", NOW, 272_000).cache_miss == 5 and rate(prices, "gpt-5.5", NOW, 272_001).cache_miss == 10
    assert rate(prices, "v4-pro", NOW, 10**6).cache_miss == rate(prices, "v4-pro", NOW, 1).cache_miss


def test_the_days_to_compare_on(prices):
    assert days_of(prices, "v4-pro", "gpt-5.5") == [LAUNCH, date(2026, 4, 26), date(2026, 8, 16), date(2026, 9, 10)]
    assert days_of(prices, "v4-pro", "v4.1-flash")[0] == date(2026, 9, 10)


def test_official_rows_come_from_the_vendor_and_all_have_a_day(prices):
    for row in prices.api:
        assert row["source"] and row["from"] <= NOW and row["date"] <= NOW, row
        assert row["cache_hit"] <= row["cache_miss"] <= row["output"], row
        assert (row["kind"] == "official") == row["source"].startswith("api-docs.deepseek.com"), row
    peaks = {(row["model"], row["from"]) for row in prices.api if row["hours"] == "peak"}
    for model, day in peaks:                            # the page says: off-peak rates are half of peak rates
        night, peak = (next(row for row in prices.api if (row["model"], row["from"], row["hours"]) == (model, day, hours))
                       for hours in ("off-peak", "peak"))
        assert [peak[key] for key in ("cache_hit", "cache_miss", "output")] == pytest.approx(
            [2 * night[key] for key in ("cache_hit", "cache_miss", "output")])


def test_a_file_of_ones_own_adds_and_replaces(table):
    roof = {"name": "roof", "usd_per_kwh": 0, "source": "sun", "date": "2026-01-01"}
    path = table(api=[ROW, {**ROW, "model": "gpt-5.5", "from": "2026-04-23", "output": 9}], electricity=[roof])
    mine = read_prices(DATA / "prices.json", path)
    assert rate(mine, "mine", NOW).output == 3 and rate(mine, "gpt-5.5", NOW).output == 9
    assert pick(mine.electricity, "roof", "power")["usd_per_kwh"] == 0


@pytest.mark.parametrize("change, words", [
    ({"cache_hit": -0.1}, "cache_hit must be a number of at least 0"), ({"output": "3"}, "output must be a number of at least 0"),
    ({"output": float("inf")}, "output must be a number"), ({"batch": 0}, "batch must be a number above 0 and at most 1"),
    ({"from": "soon"}, "from must be a date"), ({"hours": "noon"}, "hours must be one of all, off-peak, peak"),
    ({"input_from": 1.5}, "input_from must be a whole number"), ({"peak_hours_a_week": 169}, "at most 168"),
    ({"price": 1}, "no field is called 'price'")])
def test_a_bad_price_is_named(table, change, words):
    with pytest.raises(Refused, match=r"api, row 1 \(mine\)") as error:
        read_prices(table(api=[{**ROW, **change}]))
    assert words in str(error.value)


@pytest.mark.parametrize("ask, words", [
    (lambda p: rate(p, "gpt5.5", NOW), "no price of 'gpt5.5'. Did you mean gpt-5.5"),
    (lambda p: rate(p, "llama", NOW), "There are v4-pro"),
    (lambda p: rate(p, "v4-pro", date(2026, 4, 23)), "no price before 2026-04-24"),
    (lambda p: rate(p, "v4-pro", NOW, peak_share=1.2), "peak_share: expected 0 to 1"),
    (lambda p: days_of(p, "v4pro"), "Did you mean v4-pro"),
    (lambda p: pick(p.workloads, "imgest", "workload"), "workload: no row is called 'imgest'. Did you mean ingest")])
def test_a_wrong_question_is_refused(prices, ask, words):
    with pytest.raises(Refused) as error:
        ask(prices)
    assert words in str(error.value)
