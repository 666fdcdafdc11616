"""Tools for authors: python -m v4mini.lessons COMMAND. Exercises and notebooks kept; editions, website, slides, bundle written.

Not here: what a reader calls (api.py).
"""

import sys
from pathlib import Path

import click

from v4mini.cli.main import Plain, say
from v4mini.lessons.places import notebook_folder
from v4mini.lessons.places import notebooks as chosen
from v4mini.shapes import Refused
from v4mini.untrusted import read_file
from v4mini.writing import make_folder, write_whole

LARGEST_SOURCE = 16 << 20                               # bytes


class Desk(Plain):
    """As v4mini's own commands: refusals are one sentence on stderr and exit status 2."""

    tool = "v4mini.lessons"


@click.group(cls=Desk, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context):
    """Check the exercises (the default), or run and write the notebooks of the course."""
    if context.invoked_subcommand is None:
        context.invoke(verify)


@main.command()
def verify():
    """Print a table of all exercises: solution, unsolved cell, another right answer, planted mistakes. Exit 1 if one is wrong."""
    from v4mini.lessons.verify import WANTED, verify_exercises

    rows = verify_exercises()
    width = max((len(row.exercise) for row in rows), default=8)
    say("\n".join(f"{letter} {wanted}" for letter, wanted in zip("abcde", WANTED)))
    say(f"\n{'':4}{'exercise':<{width}}  a    b    c    d    e")
    for row in rows:
        marks = "  ".join({True: "ok ", False: "NO ", None: "-  "}[result] for result in row.results)
        note = "lesson not written yet" if None in row.results else f"{row.mistakes} planted"
        note += f", passed: {', '.join(row.missed)}" if row.missed else ""
        say(f"{row.lesson:<4}{row.exercise:<{width}}  {marks}  {note}")
    failed = sum(not row.passed for row in rows)
    say(f"\n{len(rows) - failed} of {len(rows)} exercises are as they should be; "
        f"{sum(row.mistakes for row in rows)} planted mistakes, {sum(len(row.missed) for row in rows)} of them pass")
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("names", nargs=-1)
@click.option("--dry", is_flag=True, help="Run, but leave the files as they are.")
def run(names, dry):
    """Run lessons from a fresh kernel and write them back: all, or those whose file name begins with NAMES (00 09).

    Fails if a cell raises or takes more than 60 seconds; that notebook is left as it was.
    """
    from v4mini.lessons.notebooks import run_notebook

    reports = []
    say(f"{'lesson':<28}{'cells':>6}{'seconds':>9}   slowest cell")
    for path in chosen(names):
        report = run_notebook(path, write=not dry)
        reports.append(report)
        say(f"{report.lesson:<28}{report.cells:>6}{report.seconds:>9.1f}   "
            f"[{report.slowest}] {report.slowest_seconds:.1f} s  {report.slowest_line[:50]}")
        if report.fault:
            say(f"{'':28}FAILED: {report.fault}")
    say(f"{'all':<28}{sum(r.cells for r in reports):>6}{sum(r.seconds for r in reports):>9.1f}")
    sys.exit(1 if any(report.fault for report in reports) else 0)


@main.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=".", help="Folder for the .py files.")
def edit(names, into):
    """Write notebooks as plain text (.py with # %% cells), to change them in an editor."""
    import nbformat

    from v4mini.lessons.percent import to_text

    make_folder(into)
    for path in chosen(names):
        target = into / f"{path.stem}.py"
        write_whole(target, to_text(nbformat.read(path, as_version=4)))
        say(target)


@main.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def build(sources):
    """Make notebooks/NAME.ipynb from NAME.py, without outputs; `run NAME` then fills them in."""
    from v4mini.lessons.notebooks import save
    from v4mini.lessons.percent import to_notebook

    for source in sources:
        target = notebook_folder() / f"{source.stem}.ipynb"
        save(to_notebook(_text_of(source), f"l{source.stem[:2]}"), target)
        say(target)


def _text_of(path):                                     # -> str
    try:
        return read_file(path, LARGEST_SOURCE, "lesson", "Name a .py file that `edit` wrote.").decode()
    except UnicodeDecodeError:
        raise Refused(f"lesson: expected UTF-8 text, got {path} of other bytes. Name a .py file that `edit` wrote.") from None


@main.command()
@click.argument("names", nargs=-1)
def heads(names):
    """Write the head of each lesson (goals, what to read before, time, picture) as v4mini/lessons/course.py has it."""
    from v4mini.lessons.head import put_head

    for path in chosen(names):
        say(f"{path.name:<34}{'written' if put_head(path) else 'as it was'}")


@main.command()
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), help="The folder of v4mini lab --work.")
def progress(work):
    """Print which exercises are solved, by lesson and grade, and the next one."""
    from v4mini.lessons.solved import progress as show_progress

    show_progress(work)


@main.command()
def terms():
    """Print the course's words as a markdown table: each with the lesson that introduces it and half a line of meaning."""
    from v4mini.lessons.terms import table

    say(table([path.name for path in chosen()]))


@main.command()
@click.argument("names", nargs=-1)
@click.option("--no-run", is_flag=True, help="Count only; leave out seconds and slowest cell.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def table(names, no_run, as_json):
    """Print the course in numbers, all counted and measured now: cells, exercises by grade, cases of their checks, wrong answers
    planted, museum bugs, explorers, seconds and slowest cell. NAMES are numbers of lessons (00 09). Exit 1 if a lesson fails."""
    import dataclasses
    import json

    from v4mini.lessons.counted import COLUMNS, counted, course, row_of, summed
    from v4mini.viz.tables import text_table

    counts = [counted(lesson, not no_run) for lesson in course(names)]
    counts.append(summed(counts))
    if as_json:
        say(json.dumps([dataclasses.asdict(count) for count in counts], indent=1))
    else:
        say(text_table(COLUMNS, [row_of(count) for count in counts]))
        for count in counts[:-1]:
            if count.fault:
                say(f"{count.lesson} did not run to its end: {count.fault}")
    sys.exit(1 if counts[-1].fault else 0)


@main.command()
@click.argument("kind", type=click.Choice(["site", "slides"]))
@click.argument("names", nargs=-1)
@click.option("--out", "target", required=True, type=click.Path(file_okay=False, path_type=Path), help="A new or empty folder.")
def publish(kind, names, target):
    """Write the lessons as a website (site) or as slides, which need no network: all, or those with numbers NAMES (00 09).

    Needs pip install -e ".[site]". Links between lessons are checked; a warning is an error.
    """
    from v4mini.lessons.website import build_site

    pages = build_site(target, kind, names)
    say(f"{len(pages)} pages in {target}; open {target / 'index.html'}")


@main.command()
@click.option("--out", "target", required=True, type=click.Path(file_okay=False, path_type=Path), help="A new or empty folder.")
def editions(target):
    """Write two editions of all lessons: student/ without answers; instructor/ with answers open and expected mistakes."""
    from v4mini.lessons.editions import write_editions

    say(f"{write_editions(target)} lessons in {target / 'student'}, and in {target / 'instructor'}")


@main.command()
@click.option("--out", "target", required=True, type=click.Path(file_okay=False, path_type=Path), help="A new or empty folder.")
@click.option("--no-check", is_flag=True, help="Do not try it.")
def bundle(target, no_check):
    """Write all that a class without a network needs into one folder, for this platform; install it there and run lane 1.

    The check uses a fresh environment, the folder alone, and on Linux a network namespace with no network in it.
    """
    from v4mini.cli.main import note
    from v4mini.lessons.bundle import check_bundle, make_bundle
    from v4mini.viz.tables import human_bytes

    count, size = make_bundle(target, note)
    say(f"{count} wheels, {human_bytes(size)} in {target}; INSTALL.md there says how to use it")
    if not no_check:
        lessons, was_cut = check_bundle(target, note)
        say(f"installed and ran lessons {', '.join(lessons)} " + ("without a network" if was_cut else
            "from the folder alone; a network was there, since this system cannot take it away"))


@main.command()
@click.argument("names", nargs=-1)
def museum(names):
    """Plant each defect of lesson 21 (or those NAMES) in the package as it is imported: who notices? Exit 1 if none does."""
    from v4mini.lessons.museum import DEFECTS
    from v4mini.lessons.planted import outcomes

    chosen_defects = [defect for defect in DEFECTS if not names or defect.name in names]
    say(f"{'':3} {'defect':<46}{'found in':<29}{'planted in':<32}noticed by")
    alive = 0
    for number, outcome in enumerate(outcomes(chosen_defects), 1):
        defect, alive = outcome.defect, alive + (not outcome.by)
        say(f"{number:>3} {defect.what:<46}{defect.upstream:<29}{defect.file:<32}{outcome.by or 'NOBODY'}")
    say(f"{len(chosen_defects) - alive} of {len(chosen_defects)} planted defects are noticed by the project's own tests")
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main(prog_name="python -m v4mini.lessons")
