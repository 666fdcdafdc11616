"""What all commands share: the group that turns refusals into one sentence, the common options, where data/ is.

Not here: any command.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import click

from v4mini import Refused, __version__
from v4mini.printable import printable, printable_json

KEPT = "\n\t\u200d\u200c"                              # layout, and joiners that emoji and some scripts need


class Plain(click.Group):
    """Turns refusals and warnings into one sentence on stderr, which begins with `tool`."""

    tool = "v4mini"

    def main(self, *args, **kwargs):
        forgiving_streams()
        return super().main(*args, **kwargs)

    def invoke(self, context):
        before, warnings.showwarning = warnings.showwarning, lambda message, *_, **__: note(f"{self.tool}: {message}")
        try:
            return super().invoke(context)
        except Refused as error:
            self.fail(str(error))
        except MemoryError:
            self.fail("out of memory. Try a smaller model or a shorter text; v4mini doctor shows what is free.")
        except BrokenPipeError:
            sys.stderr.close()                          # the reader (head, less) has left: nothing to say
            sys.exit(0)
        except OSError as error:
            self.fail(f"{error.filename or 'file'}: {error.strerror or error}.")
        finally:
            warnings.showwarning = before

    def fail(self, sentence):
        note(f"{self.tool}: {sentence}")
        sys.exit(2)


def forgiving_streams():
    """What a terminal's encoding cannot show, or is no text on stdin, is replaced instead of raised; a closed stdin is empty."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  (until the process ends)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def say(text=""):
    """A part of the answer, on stdout. It may name what strangers made: no control character of theirs comes through."""
    click.echo(printable(str(text), KEPT))


def say_json(value, indent=1):
    """A value as JSON, on stdout; on one line with indent=None. JSON's own escapes stand for what a terminal should not get."""
    is_narrow = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    click.echo(printable_json(json.dumps(value, indent=indent, ensure_ascii=is_narrow)))


def note(text):
    """A line beside the answer: on stderr, so that stdout holds the answer alone."""
    click.echo(printable(text, KEPT), err=True)


@click.group(cls=Plain, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="v4mini")
def main():
    """DeepSeek-V4 from an empty notebook cell to the real weights.

    Start with `v4mini tour`, then `v4mini lab`.
    """


def before_numpy(threads=None, is_training=False):
    """Tell libraries how many threads to use, and how; they ask once, when NumPy is imported."""
    for library in ("OPENBLAS", "MKL", "OMP", "NUMBA", "VECLIB_MAXIMUM") if threads else ():
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    if is_training:
        # OpenBLAS's threads wait for more by spinning, 2^26 clock ticks by default, on the core that the next kernel needs.
        # Reading text, the next thing is mostly another product, and spinning pays.
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")


def data_folder():
    """The project's data/, wherever the command runs."""
    from v4mini.lessons.places import data_folder

    return data_folder()


class FileToWrite(click.Path):
    """The name of a file that will be written once the work is done: refused before it begins, if it cannot be."""

    def __init__(self):
        super().__init__(path_type=Path)

    def convert(self, value, param, ctx):
        from v4mini.writing import expect_writable

        return expect_writable(super().convert(value, param, ctx))


def json_option(command):
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


def backend_option(command):
    return click.option("--backend", default="auto", show_default=True,
                        help="Engine: auto, numba, numpy; torch, cuda, ascend where installed.")(command)
