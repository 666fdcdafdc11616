"""doctor: is this machine ready? Not here: what it looks at (proof/installation.py), the compiling (bench/warm.py)."""

import sys

import click

from v4mini.cli.main import data_folder, json_option, main, say, say_json
from v4mini.viz.tables import text_table


@main.command()
@click.option("--warm", is_flag=True, help="Compile all kernels now; without it each is compiled at its first use.")
@click.option("--workshop", "is_workshop", is_flag=True,
              help="Also what a class needs: lessons, a token, a notebook's kernel, a port, a browser, a place for progress.")
@json_option
def doctor(warm, is_workshop, as_json):
    """Is this machine ready? Python, packages, cores, memory, disk, engines.

    --json gives a list of objects: what, found, verdict (ok, missing, or what it is good for).
    """
    from v4mini.proof.installation import report

    facts = report(data_folder())
    if is_workshop:
        from v4mini.proof.workshop import workshop

        facts += workshop(data_folder())
    if warm:
        facts += _warm_up()
    if as_json:
        say_json(facts)
    else:
        say(text_table(["what", "found", "verdict"], [[f["what"], f["found"], f["verdict"]] for f in facts]))
    sys.exit(0 if all(not f["verdict"].startswith("missing") for f in facts) else 1)


def _warm_up():                                         # -> facts, as machine.report gives them
    from v4mini.bench.warm import steps, warm

    facts = []
    with click.progressbar(warm(), length=len(steps()), label="compiling kernels", file=sys.stderr) as bar:
        for what, seconds in bar:
            facts.append({"what": f"kernels: {what}", "found": f"ready, took {seconds:.1f} s", "verdict": "ok"})
    return facts
