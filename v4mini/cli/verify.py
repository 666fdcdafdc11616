"""verify: does this installation compute V4? Not here: the comparing and the receipt (proof/)."""

import sys
import time
from pathlib import Path

import click

from v4mini.cli.main import data_folder, json_option, main, note, say, say_json
from v4mini.printable import printable
from v4mini.viz.tables import counted, text_table

LARGEST_RECEIPT = 64 << 20                              # bytes


@main.command()
@click.option("--hf", is_flag=True, help="Also sweep random configs against Hugging Face (needs the extra [parity]).")
@click.option("--configs", default=5, show_default=True, type=click.IntRange(1, 1000), help="Random configs of that sweep.")
@click.option("--backend", default="numpy", show_default=True, help="Engine: numpy, numba, auto, torch.")
@click.option("--golden", type=click.Path(path_type=Path), help="Folder of the golden cases.  [default: data/golden]")
@click.option("--against", type=click.Path(path_type=Path), help="Check this receipt: compare again, with its own options.")
@click.option("--vectors", type=click.Path(path_type=Path),
              help="Judge another runtime: an .npz of its logits or of its DSpark rounds; see data/golden/README.md.")
@json_option
def verify(hf, configs, golden, backend, against, vectors, as_json):
    """Prove that this installation computes V4; exit 1 if it does not.

    Compares with numbers that DeepSeek's own inference script gave, with a float64 derivation of DSpark's rounds, and with --hf
    with Hugging Face transformers.

    \b
    v4mini verify --json > receipt.json          a receipt: what was compared, and how far apart it was
    v4mini verify --against receipt.json         checks one, from here or elsewhere

    --json gives one object: compared, with case, length in tokens, difference, bound, measure and passed of each; largest
    difference by measure; holds; inputs and code as sha256; versions; machine; options; does_not_claim; digest of it all. With
    --vectors: the rows of compared.
    """
    golden = golden or data_folder() / "golden"
    if vectors:
        from v4mini.proof.vectors import judge_vectors

        verdicts = list(judge_vectors(golden, vectors))
        rows = [{**vars(verdict), "passed": verdict.passed} for verdict in verdicts]
        return _tell(verdicts, rows if as_json else None)
    from v4mini.proof.receipt import check_form, make_receipt, options_of

    receipt = None
    options = {"backend": backend, "hf": hf, "configs": configs}
    if against:
        receipt = _read(against)
        check_form(receipt)
        options = options_of(receipt)
    verdicts = _verdicts(golden, options)
    own = make_receipt(verdicts, options, golden)
    if receipt is None:
        return _tell(verdicts, own if as_json else None)
    return _judge(receipt, own, as_json)


def _verdicts(golden, options):                         # -> [Verdict]
    from itertools import chain

    from v4mini.proof.drafts import verify_drafts
    from v4mini.proof.golden import verify_golden
    from v4mini.proof.huggingface import verify_huggingface

    verdicts = []
    started = time.perf_counter()
    swept = verify_huggingface(options["configs"], backend=options["backend"]) if options["hf"] else ()
    for verdict in chain(verify_golden(golden, options["backend"]), verify_drafts(golden, options["backend"]), swept):
        verdicts.append(verdict)
        if sys.stderr.isatty():
            click.echo(f"\r{len(verdicts)} comparisons, {time.perf_counter() - started:.0f} s", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    return verdicts


def _tell(verdicts, facts):                             # as JSON the facts, if there are any; exit 1 if a verdict fails
    failed = sum(not verdict.passed for verdict in verdicts)
    if facts is None:
        text = text_table(["case", "tokens", "measure", "difference", "bound", "verdict"],
                          [[v.case, v.length, v.measure, f"{v.difference:.2g}", f"{v.bound:.2g}",
                            "ok" if v.passed else "FAIL"] for v in verdicts])
        say(f"{text}\n\n{len(verdicts) - failed} of {len(verdicts)} hold.")
    else:
        say_json(facts)
    sys.exit(1 if failed else 0)


def _read(path):
    from v4mini.untrusted import parse_json, read_file

    return parse_json(read_file(path, LARGEST_RECEIPT, "receipt", "Name a file that `v4mini verify --json` wrote."), "receipt")


def _judge(receipt, own, as_json):                      # exit 1 if anything speaks against it
    from v4mini.proof.receipt import differences

    wrong, told = differences(receipt, own)
    if as_json:
        say_json({"holds": not wrong, "against": wrong, "differs": told, "own": own})
    else:
        for sentence in told:
            note(printable(f"differs: {sentence}"))
        say("".join(f"{printable(sentence)}\n" for sentence in wrong)
            + (f"The receipt does not hold: {counted(len(wrong), 'finding')}." if wrong else
               f"The receipt holds: {counted(len(own['compared']), 'comparison')} made again, all within their bounds."))
    sys.exit(1 if wrong else 0)
