"""verify, inspect: is it V4, is it whole? Not here: the comparing (proof/), the reading (inspection.py)."""

import json
import sys
import time
from pathlib import Path

import click

from v4mini import Config
from v4mini.cli.front import data_folder, json_option, main
from v4mini.viz.tables import human_bytes, human_count, text_table

PRESETS = ("flash", "pro", "mini", "bench", "tiny")


@main.command()
@click.option("--hf", is_flag=True, help="Also sweep random configs against Hugging Face (needs the extra [parity]).")
@click.option("--configs", default=5, show_default=True, type=click.IntRange(1, 1000), help="Random configs of that sweep.")
@click.option("--backend", default="numpy", show_default=True, help="Engine: numpy, numba or auto.")
@click.option("--golden", type=click.Path(path_type=Path), help="Folder of the golden cases.  [default: data/golden]")
@json_option
def verify(hf, configs, golden, backend, as_json):
    """Prove that this installation computes V4; exit 1 if it does not.

    Compares with numbers that DeepSeek's own inference script gave, and with --hf with Hugging Face transformers.
    """
    from itertools import chain

    from v4mini.proof.golden import verify_golden
    from v4mini.proof.huggingface import verify_huggingface

    verdicts, started = [], time.perf_counter()
    golden = golden or data_folder() / "golden"
    for verdict in chain(verify_golden(golden, backend), verify_huggingface(configs, backend=backend) if hf else ()):
        verdicts.append(verdict)
        if sys.stderr.isatty():
            click.echo(f"\r{len(verdicts)} comparisons, {time.perf_counter() - started:.0f} s", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    failed = sum(not verdict.passed for verdict in verdicts)
    if as_json:
        click.echo(json.dumps([{**vars(verdict), "passed": verdict.passed} for verdict in verdicts], indent=1))
    else:
        click.echo(text_table(["case", "tokens", "measure", "difference", "bound", "verdict"],
                              [[v.case, v.length, v.measure, f"{v.difference:.2g}", f"{v.bound:.2g}",
                                "ok" if v.passed else "FAIL"] for v in verdicts]))
        click.echo(f"\n{len(verdicts) - failed} of {len(verdicts)} hold.")
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("what")
@click.option("--tensors", "list_tensors", is_flag=True, help="List every tensor.")
@json_option
def inspect(what, list_tensors, as_json):
    """What a checkpoint holds, and what it lacks.

    WHAT is a folder, a .safetensors file, or flash, pro, mini, bench, tiny: then the same from the config alone. Reads
    headers only. Exit 1 if the checkpoint does not fit its config.
    """
    from v4mini.inspection import inspect_checkpoint, inspect_config

    if what in PRESETS and not Path(what).exists():
        report = inspect_config(what, getattr(Config, what)())
    else:
        report = inspect_checkpoint(what)
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        _print_inspection(report, list_tensors)
    sys.exit(1 if report["problems"] else 0)


def _print_inspection(report, list_tensors):
    click.echo(f"{report['name']}: {report['layers']}")
    click.echo(f"{human_count(report['parameters'])} parameters, {human_count(report['active'])} active per token; "
               f"MTP block: {human_count(report['mtp_parameters']) + ' more' if report['mtp_parameters'] else 'none'}")
    click.echo(f"{report['bytes']:,} bytes ({human_bytes(report['bytes'])}) in {report['tensors_stored']:,} stored tensors\n")
    click.echo(text_table(["group", "parameters", "active", "bytes"],
                          [[g["group"], g["parameters"], round(g["active"]), g["bytes"]] for g in report["groups"]]))
    click.echo("\n" + text_table(["format", "bytes", "of all"],
                                 [[f, n, f"{n / report['bytes']:.1%}"] for f, n in report["formats"].items()]))
    if list_tensors:
        rows = [[t["name"], t["dtype"], str(t["shape"])] for t in report["tensors"]]
        click.echo("\n" + text_table(["tensor", "dtype", "shape"], rows))
    if report["problems"]:
        click.echo(f"\n{len(report['problems'])} problems:\n  " + "\n  ".join(report["problems"]))
    elif report["checked"]:
        click.echo("\nWhole: every tensor of its config is there, in the right shape and format.")
