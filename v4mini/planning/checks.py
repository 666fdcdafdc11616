"""How a claim is tested: each function computes what the claim is about, now, and says what follows from it.

    check(row, tools) -> Finding        row: of data/claims.json; row["with"]: what to compute it for

A verdict is one of supported, qualified (true in a sense that the claim does not say), refuted, open (nobody outside knows).
Not here: the claims (data/claims.json), those that rest on a source alone (claims.py).
"""

from dataclasses import dataclass
from datetime import date

from v4mini.planning.cost import Workload, price_history
from v4mini.planning.growth import growths
from v4mini.planning.headlines import GB, GIB, MILLION, cache_total, fp8_equivalent
from v4mini.planning.machines import find_machine
from v4mini.planning.memory import plain_cache_bytes
from v4mini.planning.models import planned_model
from v4mini.planning.plan import longest, needed
from v4mini.planning.prices import days_of, rate
from v4mini.planning.roofline import step_bound
from v4mini.planning.tables import day
from v4mini.shapes import Refused

VERDICTS = ("supported", "qualified", "refuted", "open")
ANY_DAY = date(2000, 1, 1)


@dataclass(frozen=True)
class Finding:
    """What a check found. numbers: the values it computed, under their names."""

    verdict: str
    says: str
    numbers: dict


@dataclass(frozen=True)
class Tools:
    """What checks may look things up in."""

    machines: dict
    prices: object              # Prices


def _near(value, said, digits):                         # do they agree as far as the claim is written?
    return round(value, digits) == round(said, digits)


def parameters(row, tools):
    """Parameters in all and per token, in units of 10^9, rounded as the claim is."""
    ask = row["with"]
    model = planned_model(ask["model"])
    total, active = model.parameters / 1e9, model.active / 1e9
    unit, digits = (1000, 1) if ask["total"] >= 1000 else (1, 0)
    holds = _near(total / unit, ask["total"] / unit, digits) and ("active" not in ask or _near(active, ask["active"], 0))
    says = f"{model.name}'s config gives {total:,.1f} B parameters, {active:.1f} B of them for one token"
    return Finding("supported" if holds else "refuted", says + ("." if holds else f", not {ask['total']:,} B."),
                   {"total_billion": total, "active_billion": active})


def memory(row, tools):
    """A ratio of caches against V3.2, and beside it what the claim leaves out: the weights."""
    ask = row["with"]
    model, other = planned_model(ask["model"]), planned_model(ask["against"])
    cache = cache_total(other, "released") / cache_total(model, "released")
    weights = sum(other.weights().values()) / sum(model.weights().values())
    short = cache_total(other, "released", 4096) / cache_total(model, "released", 4096)
    whole = needed(other, MILLION, 1) / needed(model, MILLION, 1)
    says = (f"The cache of one text of 2^20 tokens: {cache:.2f} times less than {other.name}'s, rows as released on both sides "
            f"({short:.1f} times at 4,096 tokens). Weights: {sum(model.weights().values()) / GB:,.0f} GB against "
            f"{sum(other.weights().values()) / GB:,.0f} GB. Weights and one such cache together: "
            + (f"{whole:.2f} times less." if whole >= 1 else f"{1 / whole:.2f} times more."))
    holds = _near(cache, ask["times"], 1)
    verdict = "refuted" if not holds else "qualified" if abs(whole - ask["times"]) > 0.05 * ask["times"] else "supported"
    return Finding(verdict, says, {"cache_times": cache, "weights_times": weights, "together_times": whole, "at_4096": short})


def shares(row, tools):
    """Cache and FLOPs of a token, in percent of another model's, by the report's accounting."""
    ask = row["with"]
    model, other = planned_model(ask["model"]), planned_model(ask["against"])
    cache = 100 * cache_total(model, "released") / cache_total(other, "released")
    flops = 100 * fp8_equivalent(model, 10**6) / fp8_equivalent(other, 10**6)
    near = 100 * fp8_equivalent(model, 4096) / fp8_equivalent(other, 4096)
    holds = _near(cache, ask["cache_percent"], 0) and _near(flops, ask["flops_percent"], 0)
    says = (f"Cache {cache:.1f}%, FLOPs of a new token {flops:.1f}% of {other.name}'s, at a million tokens, with BF16 products "
            f"counted twice and FP4 ones half. At 4,096 tokens the FLOPs are {near:.0f}%.")
    return Finding("supported" if holds else "refuted", says, {"cache": cache, "flops": flops, "flops_at_4096": near})


def of_gqa(row, tools):
    """A cache beside grouped-query attention of 8 heads x 128 numbers in BF16, same number of layers."""
    ask = row["with"]
    model = planned_model(ask["model"])
    gqa = plain_cache_bytes(MILLION, model.config.n_layers)
    percent = 100 * cache_total(model, "released") / gqa
    says = f"{cache_total(model, 'released') / GIB:.2f} GiB of {gqa / GIB:.0f} GiB: {percent:.2f}%."
    return Finding("supported" if _near(percent, ask["percent"], 0) else "refuted", says, {"percent": percent})


def price(row, tools):
    """A list price on the day of the claim, and what became of it; in brackets who answers under the name by then."""
    ask = row["with"]
    found = [(since, rate(tools.prices, ask["model"], since)) for since in days_of(tools.prices, ask["model"])]
    at = rate(tools.prices, ask["model"], row["said"])
    values = [getattr(one, ask["kind"]) for _, one in found]
    holds = abs(getattr(at, ask["kind"]) - ask["usd"]) < 1e-9
    later = ", ".join(f"{value:.4g} from {since}" + f" ({one.name})" * (one.name != at.name)
                      for (since, one), value, before in zip(found[1:], values[1:], values)
                      if since > row["said"] and value != before)
    says = f"{at.name}, {ask['kind'].replace('_', ' ')}: {getattr(at, ask['kind']):.4g} USD per million on {row['said']}"
    changed = any(value != values[0] for value in values)
    verdict = "refuted" if not holds else "qualified" if changed else "supported"
    return Finding(verdict, says + (f"; then {later} (hours of the week averaged)." if later else "."),
                   {"usd": getattr(at, ask["kind"]), "all": values})


def cheaper(row, tools):
    """How many times a price undercuts another, date by date, kind by kind: between which numbers the claim lies."""
    ask = row["with"]
    work = Workload(1, ask.get("tokens_in", 3000), ask.get("tokens_out", 1000))
    rows = price_history(tools.prices, work, ask["model"], ask["against"])
    then = [one for one in rows if day(one["day"]) <= row["said"]][-1]
    parts = [f"{one['day']}: input {one['cache_miss']:.1f}, output {one['output']:.1f}, three parts in and one out "
             f"{one['workload']:.1f}" for one in rows]
    within = min(then["cache_miss"], then["output"]) <= 1.2 * ask["times"] and max(then["cache_miss"], then["output"]) >= \
        ask["times"] / 1.2
    all_of_it = all(abs(then[kind] / ask["times"] - 1) <= 0.2 for kind in ("cache_miss", "output"))
    verdict = "supported" if all_of_it else "qualified" if within else "refuted"
    return Finding(verdict, f"Times that {ask['against']} costs more than {ask['model']}. " + "; ".join(parts) + ".",
                   {"history": [{key: one[key] for key in ("day", "cache_miss", "output", "workload")} for one in rows]})


def promised(row, tools):
    """Did a price fall after the day of the claim, as promised?"""
    ask = row["with"]
    days = [since for since in days_of(tools.prices, ask["model"]) if since >= row["said"]]
    values = [getattr(rate(tools.prices, ask["model"], since), ask["kind"]) for since in days]
    path = ", ".join(f"{value:.4g} from {since}" for since, value in zip(days, values))
    lower = values[-1] < values[0]
    rising = any(later > before for before, later in zip(values, values[1:]))
    verdict = "refuted" if not lower else "qualified" if rising else "supported"
    return Finding(verdict, f"USD per million, {ask['kind'].replace('_', ' ')}, hours of the week averaged: {path}.",
                   {"values": values})


def fits(row, tools):
    """Do the weights and a text of this length fit into a machine, or into so many bytes?"""
    ask = row["with"]
    model = planned_model(ask["model"])
    stored = ask.get("weights", "released")
    needs = needed(model, ask.get("tokens", 4096), 1, stored)
    if "machine" not in ask:
        room = ask["bytes"]
        says = f"{needs / GB:,.1f} GB are needed with {stored} weights, {room / GB:,.0f} GB are there."
        return Finding("supported" if needs <= room else "refuted", says, {"needed": needs, "room": room})
    parts, held = [], []
    for name in ask["machine"] if isinstance(ask["machine"], list) else [ask["machine"]]:
        label, _, own = name.partition(":")
        machine = find_machine(tools.machines, label)
        weights = own or stored
        most = longest(model, machine, 1, weights)
        held.append(most >= ask.get("tokens", 4096))
        parts.append(f"{machine.title}: {machine.room / GB:,.0f} GB usable, {weights} weights "
                     f"{sum(model.weights(weights).values()) / GB:,.0f} GB, "
                     + (f"longest text {most:,} tokens" if most else "too small"))
    verdict = "supported" if all(held) else "qualified" if any(held) else "refuted"
    return Finding(verdict, "; ".join(parts) + ".", {"holds": held})


def steady(row, tools):
    """How much slower is a new token behind a long text than behind a short one: at least, and as measured by others?"""
    ask = row["with"]
    model = planned_model(ask["model"])
    machine = find_machine(tools.machines, ask["machine"])
    near, far = (step_bound(model, machine, tokens) for tokens in (ask["near"], ask["far"]))
    loss = 100 * (1 - near.seconds / far.seconds)
    full = needed(model, ask["far"], 0)
    batch = max(1, int((machine.room - full) // sum(model.cache(ask["far"]).values())))
    crowd = [step_bound(model, machine, tokens, batch) for tokens in (ask["near"], ask["far"])]
    crowded = crowd[1].seconds / crowd[0].seconds
    says = (f"For one text the bound on {machine.title} loses {loss:.1f}% from {ask['near']:,} to {ask['far']:,} tokens. "
            f"With {batch} texts in a batch, as many as fit, a step takes {crowded:.1f} times as long.")
    return Finding("qualified" if loss < 20 < 100 * (crowded - 1) else "supported" if loss < 20 else "refuted", says,
                   {"loss_percent": loss, "batch": batch, "crowded_times": crowded})


def bytes_a_token(row, tools):
    """Bytes that a token adds to a cache, and how many times more another model needs."""
    ask = row["with"]
    found = {"v3.2": 0, "flash": 1, "pro": 2, "0731": 3, "v4.1": 4}
    rows = growths()
    model, other = rows[found[ask["model"]]], rows[found[ask["against"]]]
    times = float(other.bytes / model.bytes)
    holds = model.bytes == ask["bytes"] and _near(times, ask["times"], 2)
    says = (f"{float(model.bytes):,.2f} bytes: {model.accounting}. {other.model}: {float(other.bytes):,.2f}, "
            f"{times:.2f} times as many.")
    return Finding("supported" if holds else "refuted", says, {"bytes": float(model.bytes), "times": times})


CHECKS = {check.__name__: check for check in (parameters, memory, shares, of_gqa, price, cheaper, promised, fits, steady,
                                            bytes_a_token)}


def run_check(row, tools):                              # -> Finding
    """The check that a row names. Raises Refused if it does not exist, or is asked for something it does not understand."""
    if row["check"] not in CHECKS:
        raise Refused(f"claims: {row['name']}: check must be one of {', '.join(CHECKS)}, got {row['check']!r}.")
    try:
        return CHECKS[row["check"]](row, tools)
    except KeyError as missing:
        raise Refused(f"claims: {row['name']}: \"with\" lacks {missing.args[0]!r}, which {row['check']} needs.") from None
    except (TypeError, AttributeError) as error:
        raise Refused(f"claims: {row['name']}: \"with\" does not suit {row['check']} ({error}). Compare with the rows beside it."
                      ) from None
