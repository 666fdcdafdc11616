"""generate: text in, text out. Not here: the model (inference/), the tokenizer (text/)."""

import sys
import time
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import KEPT, backend_option, data_folder, main, note, say, say_json
from v4mini.cli.streaming import opened_model, streaming_options, streaming_report, streaming_text, watched
from v4mini.printable import printable
from v4mini.viz.tables import counted

LARGEST_PROMPT = 256 << 20                              # bytes; a million tokens are some 5 MB


@main.command()
@click.argument("prompt", required=False)
@click.option("--prompt-file", type=click.Path(path_type=Path), help="Read the prompt from this file, in UTF-8, instead.")
@click.option("--model", type=click.Path(path_type=Path), help="Checkpoint.  [default: the bundled mini]")
@click.option("-n", "--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(0), help="0 takes the best token each time.")
@click.option("--top-p", default=1.0, show_default=True, type=float)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--stop", "stops", multiple=True, metavar="TEXT",
              help="End where TEXT appears, without it; may be repeated.")
@click.option("--ids", is_flag=True, help="PROMPT is token ids, and ids are printed: no tokenizer needed.")
@click.option("--simulate", type=click.Choice(["released"]), help="Round as DeepSeek's inference script does.")
@click.option("--speculate", metavar="N", default=0, show_default=True, type=click.IntRange(0),
              help="Tokens that the MTP block or DSpark guesses ahead for each pass of the model.")
@streaming_options
@backend_option
def generate(prompt, prompt_file, model, max_new_tokens, temperature, top_p, seed, stops, ids, simulate, speculate, memory,
             device_memory, policy, trace_file, as_json, backend):
    """Continue PROMPT, token by token. PROMPT - is stdin: `v4mini generate - < long.txt`.

    With --memory a checkpoint larger than that runs too: layer by layer, expert by expert, from its files.

    --json gives one object: prompt_ids; ids, all tokens generated; text, what they say up to a stop text; stop, the one that
    came, or null; token_seconds, one a token, the first with reading the prompt; speculation: passes, tokens, drafts_verified and
    drafts_accepted by place; streaming: what was read with --memory, in bytes and uses, else null.
    """
    import v4mini as v4
    from v4mini.inference.speculate import Stats
    from v4mini.text.stop import StopText
    from v4mini.text.tokenizer import StreamDecoder

    if ids and stops:
        raise Refused("--stop: expected text to be generated, got --ids. Leave one of them out.")
    path = model or data_folder() / "mini"
    stats = Stats()
    stop = StopText(stops)
    prompt = _prompt(prompt, prompt_file)
    with opened_model(path, backend, simulate, memory, policy, device_memory) as opened:
        tokenizer = None if ids else v4.Tokenizer.load(path)
        prompt_ids = _read_ids(prompt) if ids else [opened.config.bos_id, *tokenizer.encode(_not_empty(prompt))]
        with watched(opened, trace_file, len(prompt_ids)) as speaker:
            tokens = v4.generate(speaker, prompt_ids, max_new_tokens, temperature, top_p, seed, speculate=speculate, stats=stats,
                                 vocabulary=None if ids else tokenizer.vocab_size)
            said, text, seconds = _say(tokens, None if ids else StreamDecoder(tokenizer), stop, silent=as_json)
        report = streaming_report(opened)
    if as_json:
        say_json({"prompt_ids": prompt_ids, "ids": said, "text": text, "stop": stop.found,
                  "token_seconds": seconds, "speculation": _counts(stats), "streaming": report})
        return
    note(f"[{counted(len(prompt_ids), 'token')} read, {len(said)} generated, {sum(seconds):.1f} s{_speculation(stats)}]")
    if report:
        note(streaming_text(report))


def _say(tokens, stream, stop, silent):                 # -> [token], text or None, [seconds]; the first reads the prompt
    said = []
    texts = []
    times = [time.perf_counter()]

    def show(text):
        texts.append(text)
        if not silent:
            click.echo(printable(text, KEPT) if sys.stdout.isatty() else text, nl=False)
    for token in tokens:
        said.append(token)
        times.append(time.perf_counter())
        show(stop.put(stream.put(token)) if stream else f"{token} ")
        if stop.found is not None:
            tokens.close()
            break
    show(stop.put(stream.end()) + stop.end() if stream else "")
    if not silent:
        say()
    return said, "".join(texts) if stream else None, [after - before for before, after in zip(times, times[1:])]


def _prompt(prompt, path):                              # -> text, from the command line, a file or stdin
    if (prompt is None) == (path is None):
        raise Refused(f"prompt: expected PROMPT or --prompt-file, got {'neither' if path is None else 'both'}. "
                      "- as PROMPT reads stdin.")
    if path is not None:
        from v4mini.untrusted import read_file

        return _text(read_file(path, LARGEST_PROMPT, "prompt", "Name a text file."), str(path))
    if prompt != "-":
        return prompt
    raw = sys.stdin.buffer.read(LARGEST_PROMPT + 1) if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    if len(raw) > LARGEST_PROMPT:
        raise Refused(f"prompt: expected at most {LARGEST_PROMPT:,} bytes on stdin, got more. Name a smaller text.")
    return _text(raw, "stdin")


def _text(raw, source):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"prompt: expected text in UTF-8, got {source} with other bytes at {error.start:,}. Convert it.") from None


def _counts(stats):
    return {"passes": stats.passes, "tokens": stats.tokens, "drafts_verified": stats.verified, "drafts_accepted": stats.accepted}


def _speculation(stats):
    if not stats.verified:
        return ""
    return f"; {sum(stats.accepted)} of {sum(stats.verified)} drafts accepted, {stats.tokens_per_pass:.2f} tokens a pass"


def _not_empty(prompt):
    if not prompt:
        raise Refused("prompt: expected some text, got none. Write a word or two.")
    return prompt


def _read_ids(prompt):
    try:
        return [int(word) for word in prompt.replace(",", " ").split()]
    except ValueError:
        raise Refused(f"prompt: expected token ids such as '0 17 4', got {prompt[:60]!r}. Leave out --ids for text.") from None
