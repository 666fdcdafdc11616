"""Prices with their dates: tokens of an API, hours and purchase of a machine, electricity; and workloads to price.

A row holds from its day on, until a later row of the same model. Nothing is converted, rounded or guessed here.
Not here: the rows (data/prices.json; whoever calls names the files), what a workload costs (cost.py).
"""

from dataclasses import dataclass
from datetime import date

from v4mini.planning.tables import SOURCED, Field, nearest, read_table
from v4mini.shapes import Refused

HOURS_A_WEEK = 168
_price = {"least": 0, "most": 1e6}
API = {
    "model": Field("text"), "name": Field("text"), "from": Field("day"),
    "hours": Field("choice", "all", choices=("all", "off-peak", "peak")),
    "peak_hours_a_week": Field("number", 0.0, least=0, most=HOURS_A_WEEK), "input_from": Field("whole", 0, least=0),
    "cache_hit": Field("number", **_price), "cache_miss": Field("number", **_price), "output": Field("number", **_price),
    "batch": Field("number", 1.0, least=0, most=1, above=True),
    "kind": Field("choice", choices=("official", "secondary")), **SOURCED}
HARDWARE = {"machine": Field("text"), "rent_usd_per_hour": Field("number", 0.0, least=0, above=True),
            "buy_usd": Field("number", 0.0, least=0, above=True), **SOURCED}
ELECTRICITY = {"name": Field("text"), "usd_per_kwh": Field("number", **_price), **SOURCED}
WORKLOAD = {
    "name": Field("text"), "title": Field("text"), "documents": Field("whole", least=1), "tokens_in": Field("whole", least=1),
    "cached": Field("number", 0.0, least=0, most=1), "tokens_out": Field("whole", least=0),
    "mode": Field("choice", choices=("batch", "interactive")), **SOURCED}
TABLES = {"api": API, "machines": HARDWARE, "electricity": ELECTRICITY, "workloads": WORKLOAD}


@dataclass(frozen=True)
class Prices:
    """All rows of some files. Rows of a later file replace those they agree with in name, day, hours and size."""

    api: tuple[dict, ...]
    machines: dict[str, dict]
    electricity: dict[str, dict]
    workloads: dict[str, dict]

    @property
    def models(self):           # -> names, in the order of the file
        return tuple(dict.fromkeys(row["model"] for row in self.api))


@dataclass(frozen=True)
class Rate:
    """What a million tokens cost, in USD, for one workload on one day: hours and batch discount are in it."""

    model: str
    name: str
    since: date
    cache_hit: float
    cache_miss: float
    output: float
    peak_share: float           # of the tokens, charged at the peak price
    batch: float                # the factor that was applied
    kind: str
    sources: tuple[str, ...]


def read_prices(*paths):                                # -> Prices
    """Read and join files. Raises Refused."""
    api = {}
    named = {"machines": {}, "electricity": {}, "workloads": {}}
    for path in paths:
        tables = read_table(path, TABLES)
        for row in tables["api"]:
            api[row["model"], row["from"], row["hours"], row["input_from"]] = row
        for table, found in named.items():
            found |= {row["machine" if table == "machines" else "name"]: row for row in tables[table]}
    return Prices(tuple(api.values()), **named)


def pick(table, name, what):                            # -> row; raises Refused with the nearest names
    """A row by its name."""
    if name in table:
        return table[name]
    raise Refused(f"{what}: no row is called {str(name)[:60]!r}. {nearest(name, table) or 'There are ' + ', '.join(table) + '.'}")


def rate(prices, model, day, tokens_in=0, mode="interactive", peak_share=None):        # -> Rate
    """The price of a model on a day, for prompts of this size.

    interactive: the share of tokens that falls into peak hours, by default as many as hours of a week do. batch: work waits
    for off-peak hours, and for the provider's batch discount where it has one. Raises Refused.
    """
    if peak_share is not None and not 0 <= peak_share <= 1:
        raise Refused(f"peak_share: expected 0 to 1, got {peak_share!r}. 0 works at night only.")
    rows = _rows_of(prices, model, day)
    size = max(row["input_from"] for row in rows if row["input_from"] <= tokens_in)
    by_hours = {row["hours"]: row for row in rows if row["input_from"] == size}
    base = by_hours.get("all") or by_hours["off-peak"]
    peak = by_hours.get("peak", base)
    share = 0.0
    if "peak" in by_hours and mode == "interactive":
        share = base["peak_hours_a_week"] / HOURS_A_WEEK if peak_share is None else peak_share
    factor = base["batch"] if mode == "batch" else 1.0
    mixed = {kind: factor * (base[kind] * (1 - share) + peak[kind] * share) for kind in ("cache_hit", "cache_miss", "output")}
    return Rate(model, base["name"], base["from"], **mixed, peak_share=share, batch=factor, kind=base["kind"],
                sources=tuple(dict.fromkeys((base["source"], peak["source"]))))


def _rows_of(prices, model, day):                       # rows in force on that day
    if model not in prices.models:
        advice = nearest(model, prices.models) or "There are " + ", ".join(prices.models) + "."
        raise Refused(f"model: no price of {str(model)[:60]!r}. {advice}")
    own = [row for row in prices.api if row["model"] == model]
    days = sorted({row["from"] for row in own})
    if day < days[0]:
        raise Refused(f"date: {model} has no price before {days[0]}, got {day}. Take a later day.")
    since = max(start for start in days if start <= day)
    return [row for row in own if row["from"] == since]


def days_of(prices, *models):                           # -> [date]
    """Days on which one of these prices changed, from the first on which all have one: where to compare price lists."""
    starts = {model: sorted(row["from"] for row in prices.api if row["model"] == model) for model in models}
    for model, days in starts.items():
        if not days:
            _rows_of(prices, model, date.max)           # refuses
    first = max(days[0] for days in starts.values())
    return sorted({day for days in starts.values() for day in days if day >= first} | {first})
