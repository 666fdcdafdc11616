"""claims: is it true what was said about V4 at its launch? Not here: the computing (planning/checks.py), the rows (data/)."""

import textwrap

import click

from v4mini.cli.main import data_folder, json_option, main, say, say_json
from v4mini.cli.plan import files_option


@main.command()
@click.option("--only", type=click.Choice(["supported", "qualified", "refuted", "open"]), help="Claims with this verdict.")
@files_option("claims")
@files_option("machines")
@files_option("prices")
@json_option
def claims(only, claims_files, machines_files, prices_files, as_json):
    """Is it true? What was said about V4 at its launch, claim by claim, computed now.

    supported: it holds. qualified: true in a sense that the claim does not say. refuted: it does not hold. open: nobody
    outside knows. Claims that no computation can settle rest on the source that is named.

    --json gives a list of objects: name, claim, by, said, verdict, finding, computed, numbers, source, date, note, sure.
    """
    from v4mini.planning.checks import VERDICTS, Tools
    from v4mini.planning.claims import judged, read_claims
    from v4mini.planning.machines import read_machines
    from v4mini.planning.prices import read_prices

    folder = data_folder()
    tools = Tools(read_machines(folder / "machines.json", *machines_files),
                  read_prices(folder / "prices.json", *prices_files))
    found = list(judged(read_claims(folder / "claims.json", *claims_files), tools))
    shown = [one for one in found if only in (None, one["verdict"])]
    if as_json:
        return say_json(shown)
    for one in shown:
        how = "computed now" if one["computed"] else "by source"
        say(f"{one['verdict'].upper()} ({how})  {one['claim']}  [{one['by']}, {one['said']}]")
        for line in (one["finding"], f"Note: {one['note']}." if one["note"] else "", f"Source: {one['source']}, {one['date']}"):
            if line:
                say(textwrap.fill(line, 118, initial_indent="    ", subsequent_indent="    "))
        say()
    counts = {verdict: sum(one["verdict"] == verdict for one in found) for verdict in VERDICTS}
    return say(", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + f"; {len(found)} claims")
