"""inspect: what a checkpoint holds, and what it lacks. Not here: the reading (inspection.py)."""

import sys
from pathlib import Path

import click

from v4mini import Config
from v4mini.cli.fetch import progress_bar, remote_options, say_wait
from v4mini.cli.main import json_option, main, say, say_json
from v4mini.printable import printable
from v4mini.viz.tables import counted, human_bytes, human_count, text_table

PRESETS = ("flash", "pro", "mini", "bench", "tiny")


@main.command()
@click.argument("what")
@click.option("--tensors", "list_tensors", is_flag=True, help="List every tensor.")
@click.option("--checksums", is_flag=True, help="Also hash the files of a fetched folder again: are they as they came?")
@remote_options
@json_option
def inspect(what, list_tensors, checksums, limit, endpoint, as_json):
    """What a checkpoint holds, and what it lacks.

    WHAT is a folder, a .safetensors file, hf://owner/name (then its headers are read, a few MB), or a config.json, flash, pro,
    mini, bench or tiny: then the same from the config alone. Reads headers only. Exit 1 if the checkpoint is not whole or does
    not fit its config.

    --json gives one object: name, layers, parameters, active, bytes, formats and groups in bytes, config, every tensor with
    dtype and shape, problems (none if it fits), missing, notes; of fetched parts also fetched and parts; layout, a row of
    data/layouts.json: name, title, read, source, date, could_be, features (the words it was told by).
    """
    report = _inspected(what, endpoint, limit)
    if checksums:
        from v4mini.weights.remote.record import check_sums

        report["problems"] += [f"wrong checksum: {name}" for name in check_sums(what)]
    if as_json:
        say_json(report)
    else:
        _print_inspection(report, list_tensors)
    sys.exit(1 if report["problems"] or report["missing"] else 0)


def _inspected(what, endpoint, limit):                  # -> the report
    from v4mini.inspection import inspect_checkpoint, inspect_config, inspect_release

    if what in PRESETS and not Path(what).exists():
        return inspect_config(what, getattr(Config, what)())
    if "://" not in what:
        is_config = Path(what).suffix == ".json" and not Path(what).is_dir()
        return inspect_config(what, Config.load(what)) if is_config else inspect_checkpoint(what)
    from v4mini.weights.remote.release import open_release

    release = open_release(what, endpoint, limit, say=say_wait)
    with progress_bar(len(release.shards), counted(len(release.shards), "header")) as progress:
        return inspect_release(release, progress)


def _print_inspection(report, list_tensors):
    say(f"{report['name']}: {report['layers']}")
    say(f"{human_count(report['parameters'])} parameters, {human_count(report['active'])} active per token; "
        f"MTP block: {human_count(report['mtp_parameters']) + ' more' if report['mtp_parameters'] else 'none'}")
    say(f"{report['bytes']:,} bytes ({human_bytes(report['bytes'])}) in {report['tensors_stored']:,} stored tensors"
        + _compared_with_index(report))
    if report["layout"]:
        say(f"Layout: {printable(report['layout']['told'])}")
    say()
    if report["missing"]:
        _print_parts(report)
    else:
        say(text_table(["group", "parameters", "active", "bytes"],
                       [[g["group"], g["parameters"], round(g["active"]), g["bytes"]] for g in report["groups"]]))
    say("\n" + text_table(["format", "bytes", "of all"],
                          [[f, n, f"{n / report['bytes']:.1%}"] for f, n in report["formats"].items()]))
    if list_tensors:
        rows = [[t["name"], t["dtype"], str(t["shape"])] for t in report["tensors"]]
        say("\n" + text_table(["tensor", "dtype", "shape"], rows))
    _print_verdict(report)


def _compared_with_index(report):
    said = report["index_total"]
    if said is None or report["missing"]:
        return ""
    return ", which is the index's own total" if said == report["bytes"] else f"; its index says {said:,}"


def _print_parts(report):
    fetched = report["fetched"]
    at = f" at commit {fetched['revision']}" if fetched["revision"] else ""
    say(f"A part of {fetched['from']}{at}\n")
    say(text_table(["group", "tensors here", "of", "bytes here", "of"],
                   [[p["group"], p["here"], p["of"], p["bytes"], p["of_bytes"]] for p in report["parts"]]))


def _print_verdict(report):
    for name, nbytes in report.get("unfinished", {}).items():
        say(f"\nUnfinished: {name}, {nbytes:,} bytes so far; the command that began it goes on with it.")
    if "read_bytes" in report:
        say(f"\nRead {human_bytes(report['read_bytes'])} in {report['requests']} requests; "
            f"commit {report['revision'] or 'unknown'}.")
    for note in report["notes"]:
        say(f"\nNote: {note}")
    if report["problems"]:
        from v4mini.weights.layouts import grouped

        say(f"\n{counted(len(report['problems']), 'problem')}:\n  " + "\n  ".join(grouped(report["problems"])))
    if report["missing"]:
        many = counted(report["missing"], "tensor") + (" is" if report["missing"] == 1 else " are")
        say(f"\nNot whole: {many} missing, so it cannot generate. "
            f"v4mini fetch {report['fetched']['from']} all brings them.")
    elif report["checked"] and not report["problems"]:
        say("\nWhole: every tensor of its config is there, in the right shape and format.")
