"""cost: a workload at the prices of APIs and on a machine of one's own. Not here: the computing (planning/cost.py)."""

from datetime import date
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import data_folder, json_option, main, say, say_json
from v4mini.viz.tables import text_table

FILE = click.Path(path_type=Path)
NOT_COUNTED = ("Not counted: people, space, network, repairs, the price of the host where a row says so, and how good the "
               "answers are. A machine that stands idle costs nearly the same.")


class Day(click.ParamType):
    """A date as ISO 8601 writes it."""

    name = "day"

    def convert(self, value, parameter, context):
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise Refused(f"date: expected a day such as 2026-04-24, got {value[:40]!r}.") from None


@main.command()
@click.argument("workload", default="ingest")
@click.option("--documents", type=int, help="Requests in all, instead of the workload's.")
@click.option("--in", "tokens_in", type=int, help="Tokens of one prompt.")
@click.option("--out", "tokens_out", type=int, help="Tokens of one answer.")
@click.option("--cached", type=float, help="Share of each prompt that repeats an earlier one, 0 to 1.")
@click.option("--mode", type=click.Choice(["batch", "interactive"]), help="batch: it may wait.")
@click.option("--models", help="Names with commas.  [default: all that have a price on that day]")
@click.option("--date", "on", type=Day(), help="Prices of that day.  [default: today]")
@click.option("--peak-share", type=float, help="Share of tokens in peak hours.  [default: as hours of the week]")
@click.option("--history", is_flag=True, help="How many times more the last of --models costs than the first, date by date.")
@click.option("--machine", help="Compare with a machine of your own, such as h200-node or dgx-sparkx2.")
@click.option("--model", default="flash", show_default=True, help="What runs on it: flash, pro or a config.")
@click.option("--weights", "stored", default="released", show_default=True, help="How its weights are stored there.")
@click.option("--terms", type=click.Choice(["rent", "buy"]), default="buy", show_default=True,
              help="rent: by the hour, power included. buy: over --years, and --power.")
@click.option("--efficiency", type=float, help="Share of the bound that is reached.  [default: of published runs]")
@click.option("--batch", default=64, show_default=True, type=click.IntRange(1), help="Requests in a batch, or as many as fit.")
@click.option("--utilisation", default=0.4, show_default=True, type=float, help="Share of all hours in which it works.")
@click.option("--years", default=3.0, show_default=True, type=float, help="Life of a purchase.")
@click.option("--power", default="us-commercial", show_default=True, help="USD per kWh, or a name in the table.")
@click.option("--pue", default=1.2, show_default=True, type=float, help="Power of the room per power of the machine.")
@click.option("--prices", "price_files", multiple=True, type=FILE, help="Also read prices from this JSON file.")
@click.option("--machines", "machine_files", multiple=True, type=FILE, help="Also read machines from this JSON file.")
@json_option
def cost(workload, models, on, peak_share, history, machine, model, stored, terms, efficiency, batch, utilisation, years, power,
         pue, price_files, machine_files, as_json, **own):
    """What does it cost? WORKLOAD is a name in data/prices.json: ingest, chat, agent or books; options change it.

    \b
    v4mini cost ingest --machine h200-node --terms rent
    v4mini cost chat --models v4-pro,gpt-5.5 --history
    v4mini cost --documents 5000 --in 20000 --out 1000 --cached 0.5

    --json gives one object: workload, date; apis, cheapest first, with prices of a million tokens, each and total in USD and
    sources; with --history times dearer by day; with --machine own: its cases by efficiency, each with seconds, documents an
    hour, USD and break-even a month by API.
    """
    from v4mini.planning.cost import api_costs, price_history
    from v4mini.planning.prices import pick, read_prices

    prices, on = read_prices(data_folder() / "prices.json", *price_files), on or date.today()
    row = pick(prices.workloads, workload, "workload")
    work = _workload(row, own)
    changed = any(value is not None for value in own.values())
    title = f"{workload}, changed" if changed else f"{workload}: {row['title']}"
    report = {"workload": {"name": workload, "title": title, **vars(work)}, "date": on.isoformat()}
    names = models.split(",") if models else [name for name in prices.models
                                              if any(one["model"] == name and one["from"] <= on for one in prices.api)]
    if history:
        if not models or len(names) < 2:
            raise Refused("history: expected two names in --models, the cheaper first. Try --models v4-pro,gpt-5.5.")
        report["history"] = price_history(prices, work, names[0], names[-1], peak_share)
    elif not names:
        raise Refused(f"date: no API of the table has a price on {on}. The first is of {min(one['from'] for one in prices.api)}.")
    else:
        report["apis"] = api_costs(prices, work, names, on, peak_share)
    if machine:
        terms_of = (terms, years, power, pue)
        report["own"] = _own(prices, machine_files, machine, model, stored, work, efficiency, batch, utilisation, terms_of,
                             report.get("apis", ()))
    if as_json:
        return say_json(report)
    for paragraph in _paragraphs(report, names):
        say(paragraph + "\n")
    return None


def _workload(row, own):
    from v4mini.planning.cost import Workload

    return Workload(**{name: row[name] if own[name] is None else own[name]
                       for name in ("documents", "tokens_in", "tokens_out", "cached", "mode")})


def _own(prices, files, machine, model, stored, work, efficiency, batch, utilisation, terms_of, apis):
    from v4mini.planning.cost import break_even, efficiencies, hosted_price, hosting
    from v4mini.planning.machines import find_machine, read_machines, read_runs
    from v4mini.planning.models import planned_model
    from v4mini.planning.plan import measured_beside

    paths = (data_folder() / "machines.json", *files)
    machines = read_machines(*paths)
    found = find_machine(machines, machine)
    planned = planned_model(model)
    terms, row = _terms(prices, found, *terms_of)
    shares = (efficiency,)
    if efficiency is None:
        shares = efficiencies(list(measured_beside(read_runs(*paths), machines, planned_model)))
    cases = []
    for share in shares:
        case = hosting(planned, found, work, terms, share, stored, batch=batch)
        case["each"] = hosted_price(case, utilisation)
        case["total"] = case["each"] * work.documents
        case["break_even"] = {api["model"]: break_even(case, api["each"]) for api in apis}
        cases.append(case)
    return {"machine": found.label, "title": found.title, "model": planned.name, "weights": stored, "terms": terms_of[0],
            "utilisation": utilisation, "note": row["note"], "source": row["source"], "price_date": row["date"].isoformat(),
            "power_usd_per_kwh": terms.usd_per_kwh, "cases": cases, "given": efficiency is not None}


def _terms(prices, machine, terms, years, power, pue):  # -> Terms, the row of prices
    from v4mini.planning.cost import Terms
    from v4mini.planning.prices import pick

    row = pick(prices.machines, machine.name, "price of a machine")
    amount = row["rent_usd_per_hour" if terms == "rent" else "buy_usd"] * machine.count
    if not amount:
        other = "buy" if terms == "rent" else "rent"
        raise Refused(f"machine: no price to {terms} {machine.name}. Try --terms {other}, or add a row with --prices FILE.")
    if terms == "rent":
        return Terms(rent_per_hour=amount, years=years, pue=pue), row
    try:
        per_kwh = float(power)
    except ValueError:
        per_kwh = pick(prices.electricity, power, "power")["usd_per_kwh"]
    return Terms(buy=amount, years=years, power=machine.power, usd_per_kwh=per_kwh, pue=pue), row


def _paragraphs(report, names):                         # yields str
    work = report["workload"]
    yield (f"{work['title']}\n{work['documents']:,} x {work['tokens_in']:,} tokens in ({work['cached']:.0%} of them "
           f"cached), {work['tokens_out']:,} out, {work['mode']}")
    if "apis" in report:
        least = max(1e-12, report["apis"][0]["total"])
        rows = [[api["model"], *(f"{api[kind]:.4g}" for kind in ("cache_hit", "cache_miss", "output")),
                 f"{1000 * api['each']:,.2f}", f"{api['total']:,.0f}", f"{api['total'] / least:.1f}x", api["since"],
                 api["name"] + " *" * (api["kind"] == "secondary")] for api in report["apis"]]
        header = ["API", "hit", "miss", "output", "USD per 1,000", "USD in all", "of the least", "price since", "answered by"]
        yield (text_table(header, rows) + f"\nhit, miss, output: USD per million tokens on {report['date']}, batch discount and "
               "hours of the day in it. *: as others restate it; sources with --json.")
    if "history" in report:
        yield _history(report["history"], names)
    if "own" in report:
        yield from _own_paragraphs(report["own"], work)


def _history(rows, names):
    shown = [[row["day"], *(f"{row[kind]:.1f}x" for kind in ("cache_hit", "cache_miss", "output", "workload")),
              *(" / ".join(f"{value:.4g}" for value in row[whose]) for whose in ("ours", "theirs"))] for row in rows]
    header = ["from", "hit", "miss", "output", "this workload", f"{names[0]}: hit / miss / output", names[-1]]
    return f"How many times as much {names[-1]} costs as {names[0]}:\n" + text_table(header, shown)


def _own_paragraphs(own, work):                         # yields str
    labels = ["given"] if own["given"] else ["low", "middle", "high"]
    rows = [[label, f"{case['efficiency']:.0%}", f"{case['tokens_per_second']:,.0f}", f"{case['documents_per_hour']:,.0f}",
             f"{case['hours']:,.1f}", f"{case['fixed_per_month']:,.0f}", f"{1000 * case['each']:,.2f}", f"{case['total']:,.0f}"]
            for label, case in zip(labels, own["cases"])]
    header = ["efficiency", "of bound", "tokens/s", "requests/h", "hours of work", "USD a month", "USD per 1,000", "USD in all"]
    how = "published served runs" if not own["given"] else "as given"
    yield (f"{own['model']} ({own['weights']} weights) on {own['machine']}, {own['title']}, {own['terms']}; works "
           f"{own['utilisation']:.0%} of all hours; efficiency: {how}\n" + text_table(header, rows))
    apis = list(own["cases"][0]["break_even"])
    if apis:
        rows = [[name, *(_break_even(case["break_even"][name]) for case in own["cases"])] for name in apis]
        yield ("Cheaper than the API from so many requests a month on (in brackets: the share of its hours it must work):\n"
               + text_table(["API", *labels], rows))
    yield (f"Price of the machine: {own['source']}, {own['price_date']}" + (f"; {own['note']}" if own["note"] else "") + ".\n"
           + NOT_COUNTED)


def _break_even(found):
    if found["share"] is None:
        return "never: power alone costs more"
    if found["documents_per_month"] is None:
        return f"never ({found['share']:.1f} times its hours)"
    return f"{found['documents_per_month']:,.0f} ({found['share']:.0%})"
