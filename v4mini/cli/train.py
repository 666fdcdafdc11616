"""train: make a model here. Not here: the training (training/)."""

import sys
import threading
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import backend_option, before_numpy, data_folder, json_option, main, note, say, say_json
from v4mini.printable import printable
from v4mini.viz.tables import counted
from v4mini.writing import make_folder, write_whole

MOST_TOKENIZER = 64 << 20                               # bytes
QUIET_SECONDS = 3.0                                     # of a first step, until a word about it
FIRST_STEP = ("v4mini: the first step also compiles kernels that this machine has not compiled before; it may take minutes. "
              "Ctrl-C stops at once.")
SOURCE = "the standard library of Python {}.{}, without the modules held out"


@main.command()
@click.option("--config", "name", required=True, help="mini, tiny, or the path of a config.json.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for checkpoint and log.")
@click.option("--resume", is_flag=True, help="Go on with the run in that folder.")
@click.option("--steps", type=click.IntRange(1), help="Stop after so many steps in all; --resume goes on.  [default: the recipe]")
@click.option("--threads", type=click.IntRange(1), help="Threads to use.  [default: all cores]")
@click.option("--tokenizer", "tokenizer_path", type=click.Path(exists=True, path_type=Path),
              help="A tokenizer.json.  [default: the bundled one for mini, else a new one]")
@click.option("--text", "text_folder", type=click.Path(path_type=Path),
              help="Train on the text files (UTF-8) in this folder instead; give it with --resume too.")
@click.option("--without", type=click.Choice(["index", "balance"]),
              help="Leave out what teaches the indexers, or what balances the experts: for contrast.")
@click.option("--anticipate", default=0, metavar="STEPS", type=click.IntRange(0),
              help="Anticipatory routing: experts are chosen by the model of so many steps before.  [default: 0, at once]")
@click.option("--from", "model", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Begin with the stage after the last that this model had, as its card.json says, and with its weights.")
@click.option("--export", "export_to", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the model in the released format.  [default: OUT/model, once the recipe is done]")
@backend_option
@json_option
def train(name, out, resume, steps, threads, tokenizer_path, text_folder, without, anticipate, model, export_to, backend,
          as_json):
    """Train a model on this machine, on text that every Python brings along.

    Ctrl-C or SIGTERM stops after the running step and saves; so does --steps. The log is OUT/log.jsonl, its picture OUT/log.png.
    One trainer at a time writes into OUT. With --text all text of a folder is trained on, none held out: `v4mini card --measure`
    still measures on Python's library.

    --json gives one object: out, step, tokens, seconds, done (is the recipe at its end?), model (its folder, or null).
    """
    before_numpy(threads, is_training=True)
    from v4mini.training.export import expect_exportable
    from v4mini.training.loop import only_trainer

    expect_exportable(export_to or out / "model")
    recipe = _recipe(name, without, anticipate)
    _expect_place(out, resume)
    if model and (resume or tokenizer_path):
        raise Refused("--from: expected neither --resume nor --tokenizer beside it: it begins a run, with the model's tokenizer.")
    start = _start(model, recipe) if model else None
    texts = _texts(text_folder, out)
    make_folder(out)
    with only_trainer(out):
        _expect_place(out, resume)                      # as it is now that nobody else writes
        run, tokenizer_text = _open(name, out, resume, tokenizer_path or model, texts, recipe, backend, start)
        is_done = _go_on(run, out, steps, None if as_json else _teller(recipe))
        _draw(out)
        target = export_to or (out / "model" if is_done else None)
        if target:
            _export(run, out, target, tokenizer_text, text_folder)
    report = {"out": str(out), "step": run.step, "tokens": run.tokens, "seconds": run.seconds, "done": is_done,
              "model": str(target) if target else None}
    say_json(report) if as_json else say(_goodbye(report))


def _go_on(run, out, steps, report):                    # -> bool: is the recipe done?
    """The steps. Until the first is done, which may compile for minutes, a request to stop is obeyed at once."""
    from v4mini.training.loop import asked_to_stop
    from v4mini.training.loop import train as go_on

    def begun():
        stop.at_once = False
        notice.cancel()
    notice = threading.Timer(QUIET_SECONDS, note, [FIRST_STEP])
    notice.daemon = True
    try:
        with asked_to_stop(at_once=True) as stop:
            notice.start()
            return go_on(run, out, steps, report, stop, begun=begun, is_alone=True)
    except KeyboardInterrupt:
        if not stop.at_once:
            raise
        note("v4mini: stopped in the first step; nothing was learned since the last save, and nothing is lost.")
        sys.exit(130)
    finally:
        notice.cancel()


def _recipe(name, without, anticipate):                 # -> Recipe
    from v4mini.training import recipe as recipes

    recipe = recipes.recipe_for(name if name in ("mini", "tiny") else _config(name))
    recipe = recipes.without(recipe, without) if without else recipe
    return recipes.anticipating(recipe, anticipate) if anticipate else recipe


def _expect_place(out, resume):
    """Refused where a run would be begun over another, or into somebody's checkpoint."""
    from v4mini.training.checkpoint import NAME
    from v4mini.weights.ours import expect_folder, weights_in

    expect_folder(out)
    begun = (out / NAME).exists()
    if resume and not begun:
        raise Refused(f"--resume: no {NAME} in {out}. Leave it out to begin.")
    if begun and not resume:
        raise Refused(f"--out: {out} holds a run already. Add --resume to go on with it, or name another folder.")
    strange = [name for name in weights_in(out) if name != NAME]
    if strange:
        raise Refused(f"--out: expected an empty folder, or one of a run, got {strange[0]!r} in {out}. Name another folder.")


def _open(name, out, resume, tokenizer_path, texts, recipe, backend, start):    # -> Run, text of its tokenizer.json
    from v4mini.text.tokenizer import Tokenizer
    from v4mini.training.checkpoint import NAME
    from v4mini.training.corpus import Corpus
    from v4mini.training.run import Run

    tokenizer_text = _tokenizer_text(name, out, tokenizer_path, recipe.config, texts, resume)
    tokenizer = Tokenizer(tokenizer_text)
    run = Run(recipe, Corpus.of(texts, tokenizer), tokenizer, backend)
    if resume:
        run.restore(out / NAME)
    elif start:
        run.begin_at(*start)
    return run, tokenizer_text


def _start(model, recipe):                              # -> (stages it had, "trained" of its card, its weights)
    from v4mini.training.card import read_card
    from v4mini.training.export import parameters_of
    from v4mini.training.going_on import stages_had

    trained = read_card(model).get("trained", {"stages": []})
    config, params = parameters_of(model)
    return stages_had(recipe, config, trained, model), trained, params


def _texts(folder, out):                                # -> [text]
    if folder is None:
        from v4mini.text.stdlib import stdlib_texts

        return [text for _, text in stdlib_texts()]
    from v4mini.text.folder import folder_texts

    texts, left_out = folder_texts(folder, apart=out)
    words = f"{counted(len(texts), 'text')} of {folder}, {sum(len(text) for _, text in texts):,} characters"
    if left_out:
        words += f"; {counted(len(left_out), 'file')} left out, the first {printable(left_out[0][0])}: {left_out[0][1]}"
    note(words + ".")
    return [text for _, text in texts]


def _config(path):
    from v4mini import Config

    return Config.load(path)


def _tokenizer_text(name, out, path, config, texts, resume):
    own = out / "tokenizer.json"
    if resume:
        return _text_of(own)
    if path is None and name == "mini":
        path = data_folder() / "mini"
    if path is not None:
        path = path / "tokenizer.json" if path.is_dir() else path
        text = _text_of(path)
    else:
        from v4mini.text.bpe import train as learn

        text = learn(texts, config.vocab_size)
    if own.exists() and _text_of(own) != text:
        raise Refused(f"--out: expected an empty folder, or one of a run, got another tokenizer.json in {out}. Name another.")
    write_whole(own, text)
    return text


def _text_of(path):                                     # -> str
    from v4mini.untrusted import read_file

    try:
        return read_file(path, MOST_TOKENIZER, "tokenizer", "Name a tokenizer.json.").decode()
    except UnicodeDecodeError:
        raise Refused(f"tokenizer: expected UTF-8 text, got {path} of other bytes. Name a tokenizer.json.") from None


def _teller(recipe):                                    # -> report(line), or None: only a terminal is told
    if not sys.stderr.isatty():
        return None

    def tell(line):
        busiest = max(line["load"].values(), default=1.0)
        words = [f"step {line['step']:,} of at most {recipe.steps:,}", line["stage"],
                 f"{line['tokens_per_second']:,.0f} tokens/s", f"loss {line['losses']['next']:.3f}",
                 f"busiest expert {busiest:.2f}"]
        words += [f"MTP {line['losses']['mtp']:.3f}"] if "mtp" in line["losses"] else []
        words += [f"recall {min(line['recall'].values()):.0%}"] if line["recall"] else []
        words += [f"answers {line['accuracy']:.0%}"] if "accuracy" in line else []
        note("  ".join(words))
    return tell


def _draw(out):
    import importlib.util

    from v4mini.training.loop import LOG, read_log

    lines = read_log(out / LOG)
    if lines and importlib.util.find_spec("matplotlib"):
        from v4mini.viz.training import save_training

        save_training(lines, out / "log.png")


def _export(run, out, target, tokenizer_text, text_folder=None):
    from v4mini.training.card import describe, training_facts, write_card
    from v4mini.training.export import export
    from v4mini.training.loop import LOG, read_log

    source = f"the text files of {text_folder}" if text_folder else SOURCE.format(*sys.version_info)
    facts = training_facts(run, read_log(out / LOG), source)
    export(run.config, run.params, target, tokenizer_text, {"weights": f"trained, {run.step} steps, seed {run.recipe.seed}"})
    write_card(target, {"model": describe(target.resolve().name, run.config), "trained": facts})


def _goodbye(report):
    state = "The recipe is done" if report["done"] else "Stopped; --resume goes on"
    where = f" The model is in {report['model']}." if report["model"] else ""
    return (f"{state}: step {report['step']:,}, {report['tokens']:,} tokens, {report['seconds'] / 60:.1f} minutes.{where}")
