"""chat: a conversation in the terminal. Not here: the encoding and the memory of it (text/), the model (inference/)."""

import contextlib
import json
import sys
import time
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import backend_option, data_folder, json_option, main

HELP = """\
/system TEXT   set the system message; without TEXT, show it     /reset   forget what was said
/help          this list                                         /quit    leave (so does Ctrl-D)
Ctrl-C stops an answer and keeps the conversation. A message that begins with / is written with two: //etc/hosts."""


@main.command()
@click.option("--model", type=click.Path(path_type=Path), help="Checkpoint.  [default: the bundled mini]")
@click.option("--think", is_flag=True, help="Let it think before each answer.")
@click.option("--effort", help="How hard it thinks: high or max, in newer releases also low. Needs --think.")
@click.option("--keep-thinking", is_flag=True, help="Let it see the thoughts of earlier turns. V4 was trained without.")
@click.option("--system", help="A system message.")
@click.option("-n", "--max-new-tokens", default=512, show_default=True, type=click.IntRange(1),
              help="Of one answer, thoughts included.")
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(0), help="0 takes the best token each time.")
@click.option("--top-p", default=1.0, show_default=True, type=float)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@backend_option
@json_option
def chat(model, think, effort, keep_thinking, system, max_new_tokens, temperature, top_p, seed, backend, as_json):
    """Talk to a model; it remembers what was said.

    Thoughts are dim in a terminal and go to stderr otherwise. Without a terminal, each line of stdin is a message; --json
    gives one object an answer. /help lists what else can be typed.
    """
    import v4mini as v4
    from v4mini.inference.sampling import check_sampling
    from v4mini.text.conversation import Conversation
    from v4mini.text.instructions import instructions_for

    if effort and not think:
        raise Refused("--effort: expected it beside --think, got it alone. Add --think.")
    check_sampling(temperature, top_p)
    path = model or data_folder() / "mini"
    folder = path if path.is_dir() else path.parent
    opened, tokenizer = v4.load(path, backend=backend), v4.Tokenizer.load(folder)
    instructions = instructions_for(folder)
    if effort and effort not in instructions.efforts:
        raise Refused(f"--effort: expected one of {', '.join(instructions.efforts)}, got {effort!r} "
                      f"(from {instructions.source}). Leave it out for the default.")
    _introduce(path, instructions if effort else None)
    talk = Conversation(opened, tokenizer, v4.generate, system, think, effort, not keep_thinking, instructions)
    sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    answered = [_turn(talk, question, sampling | {"seed": seed + number}, as_json)
                for number, question in enumerate(_questions(talk))]
    sys.exit(0 if all(answered) or sys.stdin.isatty() else 2)


def _introduce(path, instructions):
    from v4mini.weights.store import open_store

    with open_store(path) as store:
        card = store.metadata.get("weights", "")
    if card:
        _note(f"The weights of {path.name}, as its file says: {card}." + (" Expect noise." if card.startswith("random") else ""))
    if instructions:
        _note(f"Instructions: {instructions.source}.")
    if sys.stdin.isatty():
        _note("/help lists what can be typed.")


def _questions(talk):                                   # yields what is not a command
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history in input(), where the system has it)
    while True:
        try:
            line = input("> ") if sys.stdin.isatty() else next(sys.stdin).rstrip("\n")
        except KeyboardInterrupt:
            _note("\n/quit or Ctrl-D leaves.")
            continue
        except (EOFError, StopIteration):
            return
        command, _, rest = line.strip().partition(" ")
        if command == "/quit":
            return
        if line.startswith("/") and not line.startswith("//"):
            _obey(talk, command, rest.strip())
        elif line.strip():
            yield line[1:] if line.startswith("//") else line


def _obey(talk, command, rest):
    system = [message for message in talk.messages if message["role"] == "system"]
    if command == "/help":
        _note(HELP)
    elif command == "/reset":
        talk.messages[:] = system
        _note("Forgotten.")
    elif command == "/system" and rest:
        talk.messages[:] = [{"role": "system", "content": rest}, *talk.messages[len(system):]]
        _note("Set. What was said so far stays, and is read again.")
    elif command == "/system":
        _note(system[0]["content"] if system else "There is none.")
    else:
        _note(f"{command}: expected /system, /reset, /help or /quit. A message that begins with / is written with two.")


def _turn(talk, question, sampling, as_json):
    """One question and its answer. A refusal or Ctrl-C ends the turn, not the conversation. -> False for a refusal"""
    started, before = time.perf_counter(), len(talk.messages)
    screen = _Screen(silent=as_json)
    answer = talk.ask(question, progress=screen.progress, **sampling)
    stopped = False
    try:
        for part, text in answer:
            screen.show(part, text)
    except KeyboardInterrupt:
        stopped = True
        answer.close()
    except Refused as error:
        screen.end()
        _note(f"v4mini: {error}")
        return False
    screen.end()
    if len(talk.messages) == before:
        _note("Stopped before its first token; your message is taken back." if stopped else "It said nothing.")
    else:
        _report(talk.answer, stopped, time.perf_counter() - started, as_json)
    return True


def _report(answer, stopped, seconds, as_json):
    if as_json:
        counts = {"read": answer.read, "kept": answer.kept, "said": answer.said}
        click.echo(json.dumps(answer.message | counts | {"ended": answer.ended, "fault": answer.fault}, ensure_ascii=False))
        return
    why = "" if answer.ended else ", stopped" if stopped else ", cut at --max-new-tokens"
    form = f", not well formed ({answer.fault})" if answer.ended and answer.fault else ""
    _note(f"[{answer.kept} tokens remembered, {answer.read} read, {answer.said} said{why}, {seconds:.1f} s{form}]")


class _Screen:
    """Where an answer goes: thoughts dim or on stderr, the answer on stdout, the progress of reading on a terminal's stderr."""

    def __init__(self, silent):
        self.silent, self.part, self.terminal, self.counting = silent, None, sys.stdout.isatty(), False

    def progress(self, tokens):
        if sys.stderr.isatty() and tokens >= 512:
            click.echo(f"\r{tokens:,} tokens read ", nl=False, err=True)
            self.counting = True

    def show(self, part, text):
        if self.counting:
            click.echo("\r\033[K", nl=False, err=True)
            self.counting = False
        if self.silent or not text:
            return
        thoughts = part == "thoughts"
        if part != self.part:
            if self.part:
                click.echo(err=not self.terminal)       # between thoughts and answer
            if thoughts:
                click.secho("thinking: ", nl=False, dim=True, err=not self.terminal)
        self.part = part
        click.secho(_harmless(text) if self.terminal else text, nl=False, dim=thoughts, err=thoughts and not self.terminal)

    def end(self):
        if self.counting:
            click.echo("\r\033[K", nl=False, err=True)
        if self.part:
            click.echo(err=self.part == "thoughts" and not self.terminal)


def _harmless(text):                                    # control characters of an answer must not move the cursor
    return "".join(c if c in "\n\t" or c.isprintable() else f"⟨{c.encode().hex()}⟩" for c in text)


def _note(text):
    click.echo(text, err=True)
