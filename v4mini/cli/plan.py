"""plan: can I run it? Not here: the computing (planning/), prices (cost.py)."""

import re
import textwrap
from datetime import date
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import data_folder, json_option, main, say, say_json
from v4mini.cli.streaming import Bytes
from v4mini.viz.tables import human_bytes, human_count, text_table

AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([KkMm]?)\s*")
PARTS = {"window": "windows", "csa": "CSA entries", "index_keys": "index keys", "hca": "HCA entries", "unfinished": "unfinished",
         "latent": "latent rows"}
ARITHMETIC = {"fp4": "FP4", "fp8": "FP8", "int8": "INT8", "bf16": "BF16"}


class Tokens(click.ParamType):
    """4096, 128K, 1M: K and M are powers of 1024."""

    name = "tokens"

    def convert(self, value, parameter, context):
        match = AMOUNT.fullmatch(str(value))
        amount = float(match[1]) * {"": 1, "K": 1024, "M": 1024**2}[match[2].upper()] if match else 0
        if not 1 <= amount < 2**53 or amount != int(amount):
            raise Refused(f"{parameter.name}: expected a number of tokens such as 4096, 128K or 1M, got {str(value)[:40]!r}.")
        return int(amount)


def files_option(name):
    return click.option(f"--{name}", f"{name}_files", multiple=True, type=click.Path(path_type=Path),
                        help=f"Also read {name} from this JSON file; see data/README.md.")


@main.command()
@click.option("--model", default="flash", show_default=True, help="flash, pro, mini, v3.2, a config.json or a folder with one.")
@click.option("--context", default="128K", show_default=True, type=Tokens(), help="Tokens of each text; K and M: powers of 1024.")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1, 10**6), help="Sequences in a batch.")
@click.option("--machine", help="A name, or several as in h200x8. --list shows all names.")
@click.option("--weights", "stored", default="released", show_default=True, help="released, fp8, w8a8, w4a8, bf16 or q2.")
@click.option("--cache", "storage", default="released", show_default=True, help="released, bfloat16 or float32.")
@click.option("--mtp", is_flag=True, help="Load the block for drafts as well.")
@click.option("--disk", default="5GB/s", show_default=True, type=Bytes(),
              help="Where it does not fit: bytes a second of the disk, in reads as large as an expert.")
@click.option("--host-memory", default="128GB", show_default=True, type=Bytes(), help="And the memory of a GPU's host.")
@click.option("--host-rate", default="80GB/s", show_default=True, type=Bytes(), help="And its bytes a second.")
@files_option("machines")
@click.option("--headlines", "only", flag_value="headlines",
              help="The published ratios, each from its own accounting; exit 1 if one fails.")
@click.option("--runs", "only", flag_value="runs", help="Published speeds beside what the roofline allows.")
@click.option("--growth", "only", flag_value="growth", help="Bytes that a token of context adds: V3.2, V4, 0731 and V4.1.")
@click.option("--list", "only", flag_value="list", help="All machines, with their sources.")
@json_option
def plan(model, context, batch, machine, stored, storage, mtp, disk, host_memory, host_rate, machines_files, only, as_json):
    """Can I run it? Bytes, FLOPs and the least time, for a model, a context and a machine.

    \b
    v4mini plan --model flash --context 1M --machine h200x4
    v4mini plan --model flash --context 128K --machine macbook-pro-m5-max --weights q2
    v4mini plan --model flash --machine rtx-4090 --host-memory 256GB
    v4mini plan --headlines

    --json gives one object: parameters, weights by format, caches and needed in bytes; flops of a token by context; machine:
    what is free, the longest text, prefill and step with seconds, FLOPs and bytes read, or offloaded where it does not fit, by
    place; nearest: the least machines that hold it. With --headlines, --runs, --growth or --list: those rows, sources included.
    """
    from v4mini.planning import plan as planning
    from v4mini.planning.machines import find_machine, read_machines
    from v4mini.planning.models import planned_model

    if only in ("headlines", "growth"):
        return (_headlines if only == "headlines" else _growth)(as_json)
    paths = (data_folder() / "machines.json", *machines_files)
    machines = read_machines(*paths)
    if only:
        return (_runs if only == "runs" else _list)(machines, paths, as_json)
    report = planning.plan(planned_model(model), context, batch, find_machine(machines, machine) if machine else None,
                           machines, stored, storage, mtp, planning.Beside(disk, host_memory, host_rate))
    if as_json:
        return say_json(report)
    for paragraph in _plan(report):
        say(paragraph + "\n")
    return None


def _plan(report):                                      # yields paragraphs
    yield (f"{report['model']}: {human_count(report['parameters'])} parameters, {human_count(report['active'])} for one token; "
           + ", ".join(f"{count} {kind} layers" for kind, count in report["layers"].items() if count))
    if report["beyond"]:
        yield f"Made for {report['longest_made_for']:,} tokens: beyond that these are numbers, not a promise."
    rows = [[row["stored"], human_bytes(row["bytes"]), human_bytes(row["experts"]), human_bytes(row["rest"])]
            for row in report["weights"]]
    table = text_table(["weights", "in all", "routed experts", "the rest"], rows)
    if report["formats"]:
        table += f"\n{report['stored']}, by format: " + ", ".join(f"{name} {human_bytes(n)}" for name, n in
                                                                 sorted(report["formats"].items(), key=lambda item: -item[1]))
    yield table
    kinds = [kind for kind in PARTS if kind in report["caches"][0]["kinds"]]
    rows = [[row["storage"], *(human_bytes(row["kinds"][kind]) for kind in kinds), human_bytes(row["bytes"])]
            for row in report["caches"]]
    yield (f"Cache of one text of {report['context']:,} tokens:\n"
           + text_table(["stored as", *(PARTS[kind] for kind in kinds), "in all"], rows))
    yield _flops(report)
    yield (f"Needed for {report['batch']} text{'s' * (report['batch'] > 1)} of {report['context']:,} tokens, weights "
           f"{report['stored']}{' with the MTP block' * report['mtp']}, cache {report['storage']}: "
           f"{human_bytes(report['needed'])}")
    if "machine" in report:
        yield from _machine(report["machine"], report)
    if report.get("nearest") and not report.get("machine", {}).get("fits"):
        yield "Least that holds it:\n" + _machine_rows(report["nearest"])
    elif "nearest" in report and not report["nearest"] and not report.get("machine", {}).get("fits"):
        yield "No row of the table holds it, in the numbers that one would sensibly join. --machines FILE adds rows."


def _flops(report):
    parts = [name for name in report["flops"][0] if name not in ("context", "total")]
    rows = [[row["context"], *(f"{row[name] / 1e9:.1f}" for name in (*parts, "total"))] for row in report["flops"]]
    crossing = report["crossover"]
    return ("GFLOP for a new token, by the tokens before it:\n" + text_table(["context", *parts, "in all"], rows)
            + (f"\nFrom {crossing:,} tokens on the past costs more than the weights." if crossing else ""))


def _machine(found, report):                            # yields paragraphs
    spare = human_bytes(abs(found["spare"]))
    others = [f"{row['stored']} {'+' if row['spare'] >= 0 else '-'}{human_bytes(abs(row['spare']))}"
              for row in found["fits_by_weights"] if row["stored"] != report["stored"]]
    fit = f"fits, {spare} free" if found["fits"] else f"does not fit: {spare} too little"
    yield (f"{found['name']}: {found['title']}\n"
           f"{human_bytes(found['memory'])} of memory, {human_bytes(found['room'])} usable: {fit}"
           + (f"\nFree with other weights: {', '.join(others)}." if others else ""))
    if found["longest"]:
        yield (f"Longest text that fits (batch {report['batch']}): {found['longest']:,} tokens"
               f"{', the most it was made for' * (found['longest'] == report['longest_made_for'])}. "
               f"Sequences of {report['context']:,} tokens that fit in a batch: {found['max_batch']:,}.")
    if "offloaded" in found:
        yield _offloaded(found["offloaded"])
    rows = [[name, _seconds(row["seconds"]), _seconds(row["compute_seconds"]), _seconds(row["read_seconds"]), row["binds"],
             f"{row['tokens_per_second']:,.0f}"]
            for name, row in (("read one such text", found["prefill"]), (f"a new token, batch {report['batch']}", found["step"]))]
    note = "" if found["fits"] else " (if it did fit)"
    yield (f"At least{note}:\n" + text_table(["", "time", "computing", "reading memory", "binds", "tokens/s"], rows)
           + "\nA bound, not a forecast: v4mini plan --runs shows what published runs reach of it.")
    instead = [f"{ARITHMETIC[wanted]} runs as {ARITHMETIC[real]}"
               for wanted, real in found["arithmetic"].items() if wanted != real]
    yield f"Source ({found['sure']}): {found['source']}, {found['date']}" + (f"; {found['note']}" if found["note"] else "") + \
        (f"\nFormats without a unit of their own there: {', '.join(instead)}." if instead else "")


WAYS = {"streamed": "v4mini generate --memory: weights from the disk as they are needed",
        "gpu and host": "dense weights and cache on the GPU, experts there and in the host's memory"}


def _offloaded(ways):
    rows = [[WAYS[way["way"]], _seconds(way["seconds"]) if way["cache_fits"] else "the cache is too large",
             ", ".join(f"{human_bytes(size)} {place}" for place, size in way["read"].items() if size),
             f"{sum(way['experts_held'].values()):.0%}"] for way in ways]
    rates = ", ".join(f"{place} {human_bytes(rate)}/s" for place, rate in ways[-1]["rates"].items())
    return ("What can be done all the same, one text:\n"
            + text_table(["how", "a token", "reads for it, from", "experts in memory"], rows)
            + f"\n{rates}; reads one after the other, experts chosen evenly, computing not counted. "
            "Others: --disk, --host-memory, --host-rate.")


def _growth(as_json):
    from v4mini.planning.growth import growths

    found = growths()
    if as_json:
        return say_json([{**vars(one), "bytes": float(one.bytes)} for one in found])
    say(text_table(["model", "bytes a token", "2^20 tokens", "sure", "accounting"],
                   [[one.model, f"{float(one.bytes):,.2f}".removesuffix(".00"), human_bytes(one.bytes * 2**20), one.sure,
                     one.accounting] for one in found]))
    return say("\nRows and index keys as released; what does not grow (windows, rings, unfinished blocks) is not in it.")


def _seconds(value):                                    # -> "1.25 s", "3.1 ms"
    for unit, size in (("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.2g} s"


def _machine_rows(rows):
    return text_table(["machine", "what", "usable", "free"],
                      [[row["name"], row["title"], human_bytes(row["room"]), human_bytes(row["spare"])] for row in rows])


def _headlines(as_json):
    from v4mini.planning.headlines import headlines, near_misses

    found, others = headlines(), near_misses()
    if as_json:
        rows = [{**vars(one), "shown": one.shown, "agrees": one.agrees} for one in found]
        names = ("counted", "pro", "flash", "unit")
        say_json({"headlines": rows, "other_countings": [dict(zip(names, row)) for row in others]})
    else:
        for one in found:
            say(f"{'ok  ' if one.agrees else 'FAIL'}  {one.says:>8} said, {one.value:.3f} computed  {one.about}")
            say(textwrap.indent(textwrap.fill(f"{one.by}: {one.accounting}", 112), 6 * " ") + "\n")
        rows = [[what, f"{pro:.2f}x", f"{flash:.2f}x"] for what, pro, flash, _ in others]
        say("The same ratios, V3.2 to V4, counted in other ways:\n" + text_table(["counted", "Pro", "Flash"], rows))
        say(f"\n{sum(one.agrees for one in found)} of {len(found)} agree to the digit published.")
    if not all(one.agrees for one in found):
        raise SystemExit(1)


def _runs(machines, paths, as_json):
    from v4mini.planning.machines import read_runs
    from v4mini.planning.models import planned_model
    from v4mini.planning.plan import measured_beside

    rows = list(measured_beside(read_runs(*paths), machines, planned_model))
    if as_json:
        return say_json(rows)
    shown = [[row["model"], row["label"], row["weights"], row["what"], row["batch"], row["context"],
              f"{row['tokens_per_second']:,.{0 if row['tokens_per_second'] >= 100 else 1}f}", f"{row['ceiling']:,.0f}",
              f"{row['share']:.0%}", "yes" if row["drafts"] == "yes" else ""] for row in rows]
    header = ["model", "machine", "weights", "what", "batch", "context", "published tok/s", "bound", "share", "drafts"]
    say(text_table(header, shown))
    return say("\nThe bound gives one token a step: with drafts a run may exceed it. Sources: v4mini plan --runs --json.")


def _list(machines, paths, as_json):
    rows = [{key: str(value) if isinstance(value, date) else value for key, value in vars(machine).items()}
            for machine in machines.values()]
    if as_json:
        return say_json(rows)
    shown = [[row["name"], row["devices"], f"{row['memory_gb']:g}", f"{row['bandwidth_gb_s']:g}",
              *(f"{row[key]:g}" if row[key] else "" for key in ("bf16_tflops", "fp8_tflops", "int8_tops", "fp4_tflops", "watts")),
              str(row["date"]), row["sure"], row["source"][:60]] for row in rows]
    header = ["name", "devices", "GB each", "GB/s each", "BF16", "FP8", "INT8", "FP4", "watts", "as of", "sure", "source"]
    return say(text_table(header, shown) + "\n\nDense TFLOP/s per device, watts of the row. --machines FILE adds rows.")
