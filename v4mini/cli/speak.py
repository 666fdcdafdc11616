"""generate: text in, text out. Not here: the model (inference/), the tokenizer (text/)."""

import time
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.front import backend_option, data_folder, main


@main.command()
@click.argument("prompt")
@click.option("--model", type=click.Path(path_type=Path), help="Checkpoint.  [default: the bundled mini]")
@click.option("-n", "--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(0), help="0 takes the best token each time.")
@click.option("--top-p", default=1.0, show_default=True, type=float)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--ids", is_flag=True, help="PROMPT is token ids, and ids are printed: no tokenizer needed.")
@click.option("--simulate", type=click.Choice(["released"]), help="Round as DeepSeek's inference script does.")
@backend_option
def generate(prompt, model, max_new_tokens, temperature, top_p, seed, ids, simulate, backend):
    """Continue PROMPT, token by token."""
    import v4mini as v4
    from v4mini.text.tokenizer import StreamDecoder

    model = model or data_folder() / "mini"
    opened = v4.load(model, backend=backend, simulate=simulate)
    tokenizer = None if ids else v4.Tokenizer.load(model)
    prompt_ids = _read_ids(prompt) if ids else [opened.config.bos_id, *tokenizer.encode(_not_empty(prompt))]
    stream, started, count = None if ids else StreamDecoder(tokenizer), time.perf_counter(), 0
    for token in v4.generate(opened, prompt_ids, max_new_tokens, temperature, top_p, seed):
        click.echo(f"{token} " if ids else stream.put(token), nl=False)
        count += 1
    click.echo("" if ids else stream.end())
    seconds = time.perf_counter() - started
    click.echo(f"[{len(prompt_ids)} tokens read, {count} generated, {seconds:.1f} s]", err=True)


def _not_empty(prompt):
    if not prompt:
        raise Refused("prompt: expected some text, got none. Write a word or two.")
    return prompt


def _read_ids(prompt):
    try:
        return [int(word) for word in prompt.replace(",", " ").split()]
    except ValueError:
        raise Refused(f"prompt: expected token ids such as '0 17 4', got {prompt[:60]!r}. Leave out --ids for text.") from None
