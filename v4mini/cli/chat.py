"""chat: a conversation in the terminal. Not here: what can be typed (chat_commands.py), the encoding (text/), the model."""

import sys
import time
from functools import partial
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.chat_commands import LARGEST_FILE, all_of_stdin, fault_text, questions, typed_lines
from v4mini.cli.main import KEPT, backend_option, data_folder, json_option, main, note, say_json
from v4mini.cli.streaming import memory_options, opened_model, streaming_report, streaming_text
from v4mini.printable import printable
from v4mini.viz.tables import counted


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
@click.option("--tools", "tools_file", type=click.Path(dir_okay=False, path_type=Path),
              help='Tools that it may call: a JSON file {"tools": [...]}, as OpenAI\'s API takes them.')
@click.option("--whole", is_flag=True, help="All of stdin is one message, line breaks included.")
@memory_options
@backend_option
@json_option
def chat(model, think, effort, keep_thinking, system, max_new_tokens, temperature, top_p, seed, tools_file, whole, memory, policy,
         device_memory, backend, as_json):
    """Talk to a model; it remembers what was said.

    Thoughts are dim in a terminal and go to stderr otherwise, as calls of tools do. Without a terminal, each line of stdin is
    a message. A message of several lines stands between triple quotes; --whole makes one message of all of stdin. /help lists
    what else can be typed.

    --json gives one object an answer: role, content, reasoning_content and tool_calls as OpenAI's API has them; read, kept and
    said count the tokens of the prompt that were read, those remembered, and those of the answer; ended: false if it was cut;
    fault: why it is not well formed, or "".
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
    instructions = instructions_for(folder)
    if effort and effort not in instructions.efforts:
        raise Refused(f"--effort: expected one of {', '.join(instructions.efforts)}, got {effort!r} "
                      f"(from {instructions.source}). Leave it out for the default.")
    sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    with opened_model(path, backend, None, memory, policy, device_memory) as opened:
        tokenizer = v4.Tokenizer.load(folder)
        _introduce(path, instructions if effort else None)
        speak = partial(v4.generate, vocabulary=tokenizer.vocab_size)
        talk = Conversation(opened, tokenizer, speak, system, think, effort, not keep_thinking, instructions)
        if tools_file:
            _give_tools(talk, tools_file)
        asked = filter(str.strip, [all_of_stdin()]) if whole else questions(talk, typed_lines())
        answered = [_turn(talk, question, sampling | {"seed": seed + number}, as_json) for number, question in enumerate(asked)]
        report = streaming_report(opened)
    if report and not as_json:
        note(streaming_text(report))
    sys.exit(0 if all(answered) or sys.stdin.isatty() else 2)


def _give_tools(talk, path):
    from v4mini.text.dsml import tool_names
    from v4mini.untrusted import parse_json, read_file

    raw = read_file(path, LARGEST_FILE, "--tools", 'Name a JSON file {"tools": [...]}.')
    tools = parse_json(raw, f"--tools {path}").get("tools")
    tool_names(tools)
    if not talk.messages:
        talk.messages.append({"role": "system", "content": None})
    talk.messages[0]["tools"] = tools


def _introduce(path, instructions):
    from v4mini.weights.store import open_store

    with open_store(path) as store:
        card = printable(str(store.metadata.get("weights", ""))[:200])
    if card:
        note(f"The weights of {path.name}, as its file says: {card}." + (" Expect noise." if card.startswith("random") else ""))
    if instructions:
        note(f"Instructions: {instructions.source}.")
    if sys.stdin.isatty():
        note("/help lists what can be typed.")


def _turn(talk, question, sampling, as_json):
    """One question and its answer. An error or Ctrl-C ends the turn, not the conversation. -> False for an error"""
    started = time.perf_counter()
    before = len(talk.messages)
    screen = _Screen(silent=as_json)
    answer = talk.ask(question, progress=screen.progress, **sampling)
    stopped = False
    try:
        try:
            for part, text in answer:
                screen.show(part, text)
        except KeyboardInterrupt:
            stopped = True
            answer.close()
    except BrokenPipeError:
        raise
    except Exception as error:                          # whatever it is, what was said so far must not be lost with it
        screen.end()
        if talk.messages[-1:] != [talk.answer and talk.answer.message]:
            del talk.messages[before:]
        note(fault_text(error))
        return False
    screen.end()
    if len(talk.messages) == before:
        note("Stopped before its first token; your message is taken back." if stopped else "It said nothing.")
    else:
        _report(talk.answer, stopped, time.perf_counter() - started, as_json)
    return True


def _report(answer, stopped, seconds, as_json):
    if as_json:
        counts = {"read": answer.read, "kept": answer.kept, "said": answer.said}
        say_json(answer.message | counts | {"ended": answer.ended, "fault": answer.fault}, indent=None)
        return
    for call in answer.message["tool_calls"]:
        note(f"call {call['function']['name']} {call['function']['arguments']}")
    if answer.markup and not answer.message["tool_calls"]:
        note(f"no call: {answer.markup}")
    if answer.message["tool_calls"]:
        note("/result TEXT gives what it returned.")
    why = "" if answer.ended else ", stopped" if stopped else ", cut at --max-new-tokens"
    form = f", not well formed ({answer.fault})" if answer.ended and answer.fault else ""
    note(f"[{counted(answer.kept, 'token')} remembered, {answer.read} read, {answer.said} said{why}, {seconds:.1f} s{form}]")


class _Screen:
    """Where an answer goes: thoughts dim or on stderr, the answer on stdout, the progress of reading on a terminal's stderr."""

    def __init__(self, silent):
        self.silent = silent
        self.part = None
        self.terminal = sys.stdout.isatty()
        self.counting = False

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
        click.secho(printable(text, KEPT) if self.terminal else text, nl=False, dim=thoughts, err=thoughts and not self.terminal)

    def end(self):
        if self.counting:
            click.echo("\r\033[K", nl=False, err=True)
        if self.part:
            click.echo(err=self.part == "thoughts" and not self.terminal)
