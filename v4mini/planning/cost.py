"""What does it cost? A workload at the prices of APIs, and on a machine of one's own; and from which volume on that pays.

    API            documents x (cached x hit + (in - cached) x miss + out x output) / 10^6
    own machine    fixed cost an hour (rent, or purchase / life, and idle power), however much it works,
                   plus the power of the hours it works
    break-even     documents a month = fixed cost a month / (API price - power per document)

How many documents an hour a machine does is roofline.request_seconds / efficiency; efficiency is what published runs reached.
Not counted: people, space, network, repairs, idle months, how good the answers are.
Not here: prices (prices.py), the bound itself (roofline.py), printing.
"""

import statistics
from dataclasses import dataclass

from v4mini.planning.plan import longest, needed
from v4mini.planning.prices import days_of, rate
from v4mini.planning.roofline import request_seconds
from v4mini.shapes import Refused

HOURS_A_YEAR = 8766
HOURS_A_MONTH = HOURS_A_YEAR / 12
IDLE_POWER = 0.3                # of full load: an H100's 215 of 685 W (huggingface.co/datasets/devidasmishra, 2026)
MAX_BATCH = 64                  # requests answered at once, unless fewer fit


@dataclass(frozen=True)
class Workload:
    """Requests all alike. cached: the share of tokens_in that an earlier request has left in a cache."""

    documents: int
    tokens_in: int
    tokens_out: int
    cached: float = 0.0
    mode: str = "interactive"   # or "batch": it may wait

    def __post_init__(self):
        for name, least in (("documents", 1), ("tokens_in", 1), ("tokens_out", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise Refused(f"{name}: expected a whole number of at least {least}, got {value!r}. Say how much work it is.")
        if not 0 <= self.cached <= 1:
            raise Refused(f"cached: expected a share of 0 to 1, got {self.cached!r}. 0.2: a fifth of each prompt repeats.")
        if self.mode not in ("batch", "interactive"):
            raise Refused(f"mode: expected batch or interactive, got {self.mode!r}. batch: it may wait.")

    @property
    def cached_tokens(self):    # -> tokens of one request
        return round(self.tokens_in * self.cached)


@dataclass(frozen=True)
class Terms:
    """On what terms a machine is had. Prices in USD, power in W for the whole machine at full load."""

    rent_per_hour: float = 0.0  # 0: bought
    buy: float = 0.0
    years: float = 3.0          # over which a purchase is spread
    power: float = 0.0
    usd_per_kwh: float = 0.0    # 0 where rent includes it
    pue: float = 1.2            # power of the whole room per power of the machine

    def __post_init__(self):
        for name in ("rent_per_hour", "buy", "power", "usd_per_kwh"):
            if not getattr(self, name) >= 0:
                raise Refused(f"{name}: expected 0 or more, got {getattr(self, name)!r}. Prices and watts are not negative.")
        if not self.years > 0 or not self.pue >= 1:
            raise Refused(f"years and pue: expected above 0 and at least 1, got {self.years!r} and {self.pue!r}. Try 3 and 1.2.")
        if not (self.rent_per_hour or self.buy):
            raise Refused("machine: expected a rent or a purchase price, got neither. Add a row to a prices file.")

    @property
    def idle_per_hour(self):    # -> USD, whether it works or not
        if self.rent_per_hour:
            return self.rent_per_hour
        return self.buy / (self.years * HOURS_A_YEAR) + IDLE_POWER * self._full_power

    @property
    def work_per_hour(self):    # -> USD on top of it, for an hour of work
        return 0.0 if self.rent_per_hour else (1 - IDLE_POWER) * self._full_power

    @property
    def _full_power(self):
        return self.power / 1000 * self.pue * self.usd_per_kwh


def request_price(workload, price):                     # Workload, Rate -> USD of one request
    """Tokens of three kinds, each at its price."""
    hit = workload.cached_tokens
    return (hit * price.cache_hit + (workload.tokens_in - hit) * price.cache_miss
            + workload.tokens_out * price.output) / 1e6


def api_costs(prices, workload, models, day, peak_share=None):      # -> [dict], cheapest first
    """The workload at each API's prices of that day."""
    rows = []
    for model in models:
        price = rate(prices, model, day, workload.tokens_in, workload.mode, peak_share)
        one = request_price(workload, price)
        rows.append({"model": model, "name": price.name, "since": price.since.isoformat(), "cache_hit": price.cache_hit,
                     "cache_miss": price.cache_miss, "output": price.output, "peak_share": price.peak_share,
                     "batch": price.batch, "each": one, "total": one * workload.documents, "kind": price.kind,
                     "sources": price.sources})
    return sorted(rows, key=lambda row: row["total"])


def price_history(prices, workload, model, against, peak_share=None):       # -> [dict], a row per day on which a price changed
    """How many times as much `against` costs: per kind of token, and for the workload."""
    rows = []
    for day in days_of(prices, model, against):
        ours, theirs = (rate(prices, name, day, workload.tokens_in, workload.mode, peak_share) for name in (model, against))
        rows.append({"day": day.isoformat(), "cache_hit": _times(theirs.cache_hit, ours.cache_hit),
                     "cache_miss": _times(theirs.cache_miss, ours.cache_miss), "output": _times(theirs.output, ours.output),
                     "workload": _times(request_price(workload, theirs), request_price(workload, ours)),
                     "ours": (ours.cache_hit, ours.cache_miss, ours.output),
                     "theirs": (theirs.cache_hit, theirs.cache_miss, theirs.output)})
    return rows


def _times(theirs, ours):
    return theirs / ours if ours else float("inf")


def efficiencies(runs):                                 # rows of plan.measured_beside -> (low, middle, high)
    """What share of the bound served requests reached, drafts left out: they break the bound's one token a step."""
    shares = [run["share"] for run in runs if run["what"] == "serve" and run["drafts"] == "no"]
    if not shares:
        raise Refused("efficiency: no published run of served requests to take it from. Give --efficiency.")
    return min(shares), statistics.median(shares), max(shares)


def hosting(model, machine, workload, terms, efficiency, stored="released", storage="released", batch=None):       # -> dict
    """The workload on a machine of one's own. Raises Refused if the model and one request do not fit."""
    if not 0 < efficiency <= 1:
        raise Refused(f"efficiency: expected above 0 and at most 1, got {efficiency!r}. It is a share of the bound.")
    context = workload.tokens_in + workload.tokens_out
    fits = _batch_that_fits(model, machine, context, stored, storage)
    batch = min(batch or MAX_BATCH, fits)
    bound = request_seconds(model, machine, workload.tokens_in, workload.tokens_out, workload.cached_tokens, batch, stored,
                            storage)
    seconds = bound / efficiency
    each = seconds / 3600 * terms.work_per_hour
    return {"machine": machine.label, "batch": batch, "efficiency": efficiency, "bound_seconds": bound, "seconds": seconds,
            "documents_per_hour": 3600 / seconds, "documents_per_month": HOURS_A_MONTH * 3600 / seconds,
            "tokens_per_second": context / seconds, "hours": workload.documents * seconds / 3600,
            "fixed_per_hour": terms.idle_per_hour, "fixed_per_month": terms.idle_per_hour * HOURS_A_MONTH, "power_each": each}


def _batch_that_fits(model, machine, context, stored, storage):        # -> requests that fit beside each other
    weights = needed(model, 1, 0, stored, storage)
    cache = sum(model.cache(context, storage).values())
    fits = int((machine.room - weights) // max(1, cache))
    if fits >= 1:
        return fits
    most = longest(model, machine, 1, stored, storage)
    advice = f"At most {most:,} tokens fit." if most else "Not even its weights fit: v4mini plan shows what does."
    raise Refused(f"machine: expected room for {model.name} and one request of {context:,} tokens, "
                  f"got {machine.room / 1e9:,.0f} GB on {machine.label}. {advice}")


def hosted_price(found, utilisation):                   # dict of hosting -> USD of one document
    """If the machine works that share of all hours and is paid for in all of them."""
    if not 0 < utilisation <= 1:
        raise Refused(f"utilisation: expected above 0 and at most 1, got {utilisation!r}. 0.4: it works 40% of the hours.")
    return found["fixed_per_hour"] / (found["documents_per_hour"] * utilisation) + found["power_each"]


def break_even(found, each):                            # dict of hosting, USD of one document by API -> dict
    """Documents a month from which on the machine is cheaper; "share" of what it can do; None where it never is."""
    saved = each - found["power_each"]
    if saved <= 0:
        return {"documents_per_month": None, "share": None}
    wanted = found["fixed_per_month"] / saved
    share = wanted / found["documents_per_month"]
    return {"documents_per_month": wanted if share <= 1 else None, "share": share}
