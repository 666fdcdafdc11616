"""verify: does this installation compute V4? Not here: the comparing (proof/)."""

import json
import sys
import time
from pathlib import Path

import click

from v4mini.cli.main import data_folder, json_option, main
from v4mini.viz.tables import text_table


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
