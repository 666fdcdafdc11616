"""generate: text in, text out. Not here: the model (inference/), the tokenizer (text/)."""

import json
import time
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import backend_option, data_folder, main
from v4mini.cli.streaming import opened_model, streaming_options, streaming_report, streaming_text, watched


@main.command()
@click.argument("prompt")
@click.option("--model", type=click.Path(path_type=Path), help="Checkpoint.  [default: the bundled mini]")
@click.option("-n", "--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(0), help="0 takes the best token each time.")
@click.option("--top-p", default=1.0, show_default=True, type=float)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--ids", is_flag=True, help="PROMPT is token ids, and ids are printed: no tokenizer needed.")
@click.option("--simulate", type=click.Choice(["released"]), help="Round as DeepSeek's inference script does.")
@click.option("--speculate", metavar="N", default=0, show_default=True, type=click.IntRange(0),
              help="Tokens that the MTP block guesses ahead for each pass of the model.")
@streaming_options
@backend_option
def generate(prompt, model, max_new_tokens, temperature, top_p, seed, ids, simulate, speculate, memory, policy, trace_file,
             as_json, backend):
    """Continue PROMPT, token by token.

    With --memory a checkpoint larger than that runs too: layer by layer, expert by expert, from its files.
    """
    import v4mini as v4
    from v4mini.inference.speculate import Tally
    from v4mini.text.tokenizer import StreamDecoder

    path, tally = model or data_folder() / "mini", Tally()
    with opened_model(path, backend, simulate, memory, policy) as opened:
        tokenizer = None if ids else v4.Tokenizer.load(path)
        prompt_ids = _read_ids(prompt) if ids else [opened.config.bos_id, *tokenizer.encode(_not_empty(prompt))]
        with watched(opened, trace_file, len(prompt_ids)) as speaker:
            tokens = v4.generate(speaker, prompt_ids, max_new_tokens, temperature, top_p, seed, speculate=speculate, tally=tally)
            said, seconds = _say(tokens, None if ids else StreamDecoder(tokenizer), silent=as_json)
        report = streaming_report(opened)
    if as_json:
        click.echo(json.dumps({"prompt_ids": prompt_ids, "ids": said, "text": None if ids else tokenizer.decode(said),
                               "token_seconds": seconds, "speculation": _counts(tally), "streaming": report}, indent=1))
        return
    click.echo(f"[{len(prompt_ids)} tokens read, {len(said)} generated, {sum(seconds):.1f} s{_speculation(tally)}]", err=True)
    if report:
        click.echo(streaming_text(report), err=True)


def _say(tokens, stream, silent):                       # -> [token], [seconds until it came]; the first one reads the prompt
    said, times = [], [time.perf_counter()]
    for token in tokens:
        said.append(token)
        times.append(time.perf_counter())
        if not silent:
            click.echo(stream.put(token) if stream else f"{token} ", nl=False)
    if not silent:
        click.echo(stream.end() if stream else "")
    return said, [after - before for before, after in zip(times, times[1:])]


def _counts(tally):
    return {"passes": tally.passes, "tokens": tally.tokens, "drafts_judged": tally.tried, "drafts_accepted": tally.kept}


def _speculation(tally):
    if not tally.tried:
        return ""
    return f"; {sum(tally.kept)} of {sum(tally.tried)} judged drafts accepted, {tally.tokens_per_pass:.2f} tokens a pass"


def _not_empty(prompt):
    if not prompt:
        raise Refused("prompt: expected some text, got none. Write a word or two.")
    return prompt


def _read_ids(prompt):
    try:
        return [int(word) for word in prompt.replace(",", " ").split()]
    except ValueError:
        raise Refused(f"prompt: expected token ids such as '0 17 4', got {prompt[:60]!r}. Leave out --ids for text.") from None
