"""card: what a model was trained on, and what it can do. Not here: the measuring (training/card.py)."""

import re
import sys
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import backend_option, before_numpy, json_option, main, note, say, say_json

LENGTHS = "4096,65536"


@main.command()
@click.argument("path", type=click.Path(file_okay=False, path_type=Path))
@click.option("--measure", is_flag=True, help="Measure the model on held-out text now and write card.json anew.")
@click.option("--ablate", is_flag=True, help="Measure what the model loses without each of its parts and write card.json anew.")
@click.option("--lengths", default=LENGTHS, show_default=True, help="Haystacks to search: tokens; 65536x8 is eight such.")
@click.option("--crowded", default="", help="Haystacks with one more fact per 1,000 tokens, keys one token apart.")
@click.option("--untrained", default="", help="Haystacks to search with untrained indexers, for contrast.")
@click.option("--questions", default=128, show_default=True, type=click.IntRange(1, 4096), help="Facts asked for in each.")
@click.option("--beside", multiple=True, type=click.Path(file_okay=False, path_type=Path),
              help="Quote the card of a model that was trained --without something, and write card.json anew.")
@click.option("--threads", type=click.IntRange(1), help="Threads to use.  [default: all cores]")
@backend_option
@json_option
def card(path, measure, ablate, lengths, crowded, untrained, questions, beside, threads, backend, as_json):
    """What the model in PATH was trained on, and what it can do.

    --json gives card.json as it is: model, trained, measured (bits a byte, needles, experts' load), ablations and beside.
    """
    before_numpy(threads)
    from v4mini.training.card import NAME, card_text, quoted, read_card, write_card
    from v4mini.writing import expect_writable

    haystacks = [{"tokens": n, "times": times} for n, times in _haystacks("--lengths", lengths)]
    haystacks += [{"tokens": n, "times": times, "others": n // 1000} for n, times in _haystacks("--crowded", crowded)]
    haystacks += [{"tokens": n, "times": times, "random": True} for n, times in _haystacks("--untrained", untrained)]
    if measure or ablate or beside:
        expect_writable(path / NAME)
    others = [quoted(read_card(other)) for other in beside]
    found = _measured(path, haystacks, questions, backend) if measure else read_card(path)
    if ablate:
        found["ablations"] = _ablated(path, questions, backend)
    if others:
        found["beside"] = others
    if measure or ablate or others:
        write_card(path, found)
    say_json(found) if as_json else say(card_text(found))


def _measured(path, haystacks, questions, backend):
    from v4mini.training.card import NAME, describe, measurements, read_card
    from v4mini.training.export import parameters_of

    model, tokenizer, texts = _to_measure(path, backend)
    before = read_card(path) if (path / NAME).exists() else {}
    is_taught = "index" not in before.get("trained", {}).get("without", [])
    measured = measurements(model, tokenizer, texts, parameters_of(path)[1], haystacks, questions, _tell, is_taught)
    return {**before, "model": describe(path.resolve().name, model.config), "measured": measured}


def _ablated(path, questions, backend):
    from datetime import date

    from v4mini.training.ablate import ablations

    model, tokenizer, texts = _to_measure(path, backend)
    found = ablations(model, tokenizer, texts, questions, progress=_tell)
    return {"date": date.today().isoformat(), "command": f"v4mini card {path} --ablate", **found}


def _to_measure(path, backend):         # -> model, tokenizer, held-out texts
    import v4mini as v4
    from v4mini.text.stdlib import stdlib_texts

    return v4.load(path, backend=backend), v4.Tokenizer.load(path), [text for _, text in stdlib_texts(held_out=True)]


def _tell(what):
    if sys.stderr.isatty():
        note(what)


def _haystacks(option, text):                           # "4096,65536x8" -> [(4096, 1), (65536, 8)]
    found = [re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", word.strip()) for word in text.split(",") if word.strip()]
    if None in found:
        raise Refused(f"{option}: expected numbers such as 4096,65536x8, got {text!r}. Separate them by commas.")
    return [(int(match[1]), int(match[2] or 1)) for match in found]
