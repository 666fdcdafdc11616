"""fetch: parts of a release, or all of it. Not here: the bringing (weights/remote/)."""

import math
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import json_option, main, note, say, say_json
from v4mini.viz.tables import counted, human_bytes, text_table

SHOWN = 12                              # new files named at most
COMPARED = {"sha256": "SHA-256", "sha1": "git SHA-1", "": "nothing"}
LARGEST = 2**60                         # bytes
UNMEASURED = 10e6                       # bytes a second, where too little has come to tell


class Size(click.ParamType):
    """50MB, 3.6GB or a plain number of bytes; powers of 1000."""

    name = "size"
    units = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}

    def convert(self, value, param, ctx):
        found = re.fullmatch(r"\s*([0-9][0-9_,]*\.?[0-9]*)\s*([kKMGT]?B?)\s*", str(value))
        if isinstance(value, int):
            return value
        size = float(re.sub("[_,]", "", found[1])) * self.units.get(found[2].upper(), math.inf) if found else math.inf
        if size > LARGEST:
            self.fail(f"expected a size such as 50MB or 3.6GB, got {str(value)[:40]!r}.", param, ctx)
        return math.ceil(size)


def remote_options(command):
    """What commands that read from a hub share."""
    for option in (
            click.option("--endpoint", help="A server of the same interface.  [default: $HF_ENDPOINT, else huggingface.co]"),
            click.option("--limit", type=Size(), default="50MB", show_default=True, help="Bytes that may be read in all.")):
        command = option(command)
    return command


@main.command()
@click.argument("where")
@click.argument("parts", nargs=-1)
@click.option("--into", type=click.Path(path_type=Path), help="Folder for the parts.  [default: the repository's NAME-parts]")
@click.option("--dry-run", is_flag=True, help="Say what would be read, and stop.")
@remote_options
@json_option
def fetch(where, parts, into, dry_run, limit, endpoint, as_json):
    """Bring PARTS of the release at WHERE into a folder that v4mini reads, and nothing else.

    WHERE is hf://owner/name, hf://owner/name@revision, or a folder. PARTS are beginnings of tensors' names, as
    `v4mini inspect WHERE --tensors` lists them, with * for anything; or all.

    \b
      v4mini fetch hf://deepseek-ai/DeepSeek-V4-Flash layers.3.ffn.gate        a gate
      v4mini fetch hf://deepseek-ai/DeepSeek-V4-Flash layers.0.ffn.gate.tid2eid layers.3.ffn.experts.17
      v4mini fetch hf://deepseek-ai/DeepSeek-V4-Flash layers.3 --limit 4GB     a layer
      v4mini fetch hf://deepseek-ai/DeepSeek-V4-Flash all --limit 200GB        everything

    A file that comes as a whole is held to the SHA-256 that the hub lists for it (small ones to git's SHA-1). For a part no
    digest exists: length, header, format and commit are held to the release's, but a server that sends right headers and
    wrong bytes goes unnoticed. The folder's fetched.json says of each file which it was. Fetch whole files where that matters.

    Interrupted, the same command goes on where it was. A folder stays with the commit of its first part. Login, endpoint and
    cache are those of huggingface_hub. Tested against an imitation of the hub on one machine, its faults included; the real one
    has not been contacted by the tests.

    --json gives one object: from, revision, into, tensors, bytes, to_read, seconds (estimated), files (each with `compared`:
    sha256, sha1 or "" for nothing), and whether fetched.
    """
    from v4mini.weights.remote import fetch as bring
    from v4mini.weights.remote.plan import plan as make_plan
    from v4mini.weights.remote.record import pinned
    from v4mini.weights.remote.release import open_release

    if not parts:
        raise Refused("parts: expected what to fetch, got nothing. Try layers.3.ffn.gate, or `v4mini inspect WHERE --tensors`.")
    into = into or Path(re.sub(r"@.*", "", where).rstrip("/").rpartition("/")[2] + "-parts")
    release = open_release(pinned(where, into), endpoint, limit, say=say_wait)
    plan = make_plan(release, parts, into)
    told = _told(release, plan, bring.already_came(plan))
    if not as_json:
        say(_announcement(told))
    if told["to_read"] > release.source.budget.left:
        raise Refused(f"limit: expected {human_bytes(limit)} at most (headers included), got {human_bytes(told['to_read'])}. "
                      f"If you mean it, say --limit {_round_up(told['to_read'] + limit - release.source.budget.left)}.")
    if not dry_run and plan.files:
        with progress_bar(plan.nbytes, "fetching") as progress:
            bring.fetch(release, plan, progress)
    if as_json:
        say_json({**told, "fetched": not dry_run})
    elif not dry_run:
        say(f"{into}: {len(plan.there) + plan.tensors:,} of {len(release.names):,} tensors are there. "
            f"Look at them: v4mini inspect {into}")
        unheld = sum(not file["compared"] for file in told["files"])
        if unheld:
            say(f"{unheld:,} of {len(told['files']):,} new files have no digest to be held to: right headers with wrong "
                "bytes would not be noticed there.")


def say_wait(text):
    """A wait that is long enough to wonder: stderr, so that --json stays JSON."""
    note(f"v4mini: {text}")


def _told(release, plan, came):         # -> dict of plain values
    speed = release.source.budget.speed
    to_read = plan.nbytes - came - sum(len(file.header) for file in plan.files if not came)
    return {"from": release.source.origin, "revision": release.source.revision, "into": str(plan.folder),
            "tensors": plan.tensors, "present": plan.present, "bytes": plan.nbytes, "came_before": came, "to_read": to_read,
            "ranges": plan.ranges, "seconds": to_read / (speed or UNMEASURED), "measured_speed": speed,
            "headers_read": release.source.budget.nbytes,
            "files": [{"name": file.name, "bytes": file.size, "compared": file.compared(release.source)} for file in plan.files]}


def _announcement(told):
    speed = told["measured_speed"]
    at = f"at {human_bytes(speed)} a second, as the headers came" if speed else f"if {human_bytes(UNMEASURED)} come in a second"
    there = f", {told['present']:,} more {'is' if told['present'] == 1 else 'are'} there" if told["present"] else ""
    lines = [f"{told['from']}{' at commit ' + told['revision'] if told['revision'] else ''}",
             f"{counted(told['tensors'], 'tensor')}{there}: "
             f"{told['to_read']:,} bytes ({human_bytes(told['to_read'])}) in {counted(told['ranges'], 'range')}, about "
             f"{human_seconds(told['seconds'])} {at}"]
    if told["came_before"]:
        lines.append(f"{human_bytes(told['came_before'])} came before and are kept")
    if told["files"]:
        rows = [[file["name"], file["bytes"], COMPARED[file["compared"]]] for file in told["files"]]
        lines.append(text_table([f"new in {told['into']}", "bytes", "held to the release's"], rows[:SHOWN]))
        lines += [f"and {counted(len(rows) - SHOWN, 'file')} more"] if len(rows) > SHOWN else []
    return "\n".join(lines)


def human_seconds(seconds):             # -> "3 s", "12 min", "4.5 h"
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress_bar(length, label):        # gives a function of how many so far, or None where nobody watches
    """A bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty() or not length:
        yield None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr, width=30) as bar:
        yield lambda so_far: bar.update(so_far - bar.pos)


def _round_up(nbytes):                  # -> "4GB": a limit to type
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= size:
            return f"{math.ceil(nbytes / size)}{unit}"
    return f"{nbytes}B"
