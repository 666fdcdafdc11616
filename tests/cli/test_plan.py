"""plan, cost and claims as a user meets them: figures, JSON, and one sentence with exit 2 for every mistake."""

import json
import re

import pytest
from click.testing import CliRunner

from v4mini.cli import main


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("arguments, words", [
    (("plan",), ["284.332 B parameters", "released  156.02 GB", "Least that holds it:"]),
    (("plan", "--context", "1M", "--machine", "h200x4"), ["3.70 GB", "fits, 347.88 GB free", "bandwidth", "compute", "90.2",
                                                          "Free with other weights: fp8 +218.01 GB"]),
    (("plan", "--model", "pro", "--machine", "h100-node"), ["does not fit: 275.43 GB too little", "if it did fit",
                                                            "Least that holds it"]),
    (("plan", "--model", "v3.2", "--context", "1M"), ["Made for 163,840 tokens", "50.40 GB", "latent rows"]),
    (("plan", "--machine", "atlas-a3", "--weights", "w8a8"), ["FP8 runs as BF16", "no FP8"]),
    (("plan", "--mtp",), ["with the MTP block"]),
    (("plan", "--batch", 10**6, "--context", "1M"), ["No row of the table holds it"]),
    (("plan", "--headlines"), ["ok        9.5x said, 9.545 computed", "19 of 19 agree",
                               "61 layers x 2^20 tokens x (656 + 132) bytes"]),
    (("plan", "--runs"), ["mac-studio-m3-ultra", "published tok/s"]),
    (("plan", "--list"), ["b200-node", "as of", "arXiv:2506.12708"]),
    (("cost", "--date", "2026-04-24"), ["6,728", "bulk content ingestion", "gpt-5.5"]),
    (("cost", "chat", "--models", "v4-pro,gpt-5.5", "--history"), ["2026-04-24  3.4x", "34.5x"]),
    (("cost", "ingest", "--machine", "h200-node", "--terms", "rent", "--date", "2026-11-23"),
     ["low", "never (6.6 times its hours)", "gpt-5.5", "Not counted: people"]),
    (("cost", "--documents", 5000, "--in", 20000, "--date", "2026-04-24"), ["ingest, changed", "5,000 x 20,000"]),
    (("claims",), ["REFUTED (computed now)", "OPEN (by source)", "22 claims"]),
    (("claims", "--only", "open"), ["NVIDIA"]),
])
def test_what_is_said(arguments, words):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    for word in words:
        assert word in result.output, result.output


def test_one_command_reproduces_every_published_ratio():
    """What was said, and what is computed to three more digits: worked out from the released layouts apart from this code."""
    output = run("plan", "--headlines").output
    assert re.findall(r"^ok +(\S+(?: Gi?B)?) said, (\S+) computed  ", output, re.M) == [
        ("9.5x", "9.545"), ("10%", "10.476"), ("13.7x", "13.666"), ("7%", "7.317"), ("8.7x", "8.715"), ("8.7x", "8.715"),
        ("7.9x", "7.880"), ("2%", "2.015"), ("2%", "1.997"), ("8x", "7.879"), ("8x", "7.954"), ("27%", "27.070"),
        ("3.7x", "3.694"), ("10%", "10.174"), ("9.8x", "9.829"), ("6.72 GiB", "6.724"), ("3.69 GB", "3.688"),
        ("9.62 GiB", "9.625"), ("5.28 GB", "5.280")]
    assert max(map(len, output.splitlines())) <= 118


def test_a_claimed_price_lists_only_what_changed():
    claims = {one["name"]: one["finding"] for one in json.loads(run("claims", "--json").output)}
    (flash,) = [text for text in claims.values() if text.startswith("DeepSeek-V4-Flash, cache miss: 0.14")]
    assert "2026-04-26" not in flash and "; then 0.2842 from 2026-08-16" in flash
    assert "0.1812 from 2026-09-10 (DeepSeek-V4.1-Flash under the name deepseek-v4-flash)" in flash


def test_a_negative_price_is_named(table):
    row = {"model": "v4-pro", "name": "x", "from": "2026-11-01", "cache_hit": -0.1, "cache_miss": 1, "output": 1,
           "kind": "secondary", "source": "me", "date": "2026-11-01"}
    result = run("cost", "--prices", table(api=[row]))
    assert result.exit_code == 2 and "row 1 (v4-pro): cache_hit must be a number of at least 0" in result.output


@pytest.mark.parametrize("arguments", [
    ("plan", "--machine", "h200x4"), ("plan", "--model", "v3.2"), ("plan", "--headlines"), ("plan", "--runs"), ("plan", "--list"),
    ("cost", "--machine", "b200-node"), ("cost", "--models", "v4-pro,gpt-5.5", "--history"), ("claims",)])
def test_json_is_json_and_nothing_else(arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)


def test_numbers_of_json_are_those_of_the_text():
    report = json.loads(run("plan", "--context", "1M", "--machine", "h200x4", "--json").output)
    assert report["machine"]["fits"] and report["machine"]["step"]["binds"] == "bandwidth"
    assert report["machine"]["step"]["tokens_per_second"] == pytest.approx(1641, abs=1)
    costs = json.loads(run("cost", "--date", "2026-04-24", "--json", "--models", "v4-pro").output)
    assert costs["apis"][0]["total"] == pytest.approx(6728)


def test_only_shows_only_that_verdict():
    output = run("claims", "--only", "refuted").output
    assert output.count("REFUTED") == 2 and "SUPPORTED" not in output


@pytest.mark.parametrize("arguments, words", [
    (("plan", "--context", "1Q"), "context: expected a number of tokens such as 4096, 128K or 1M"),
    (("plan", "--context", "0"), "context: expected"), (("plan", "--context", "-5"), "context: expected"),
    (("plan", "--context", "0.3K"), "context: expected"), (("plan", "--model", "flush"), "Did you mean flash"),
    (("plan", "--machine", "h2000"), "Did you mean h200"), (("plan", "--weights", "q3"), "weights: expected released"),
    (("plan", "--cache", "q8"), "storage: expected float32"),
    (("plan", "--machines", "/nowhere.json"), "/nowhere.json: no such file"),
    (("plan", "--model", "v3.2", "--weights", "q2"), "released or bf16"), (("plan", "--model", __file__), "expected JSON"),
    (("cost", "imgest"), "Did you mean ingest"), (("cost", "--cached", "2"), "cached: expected a share"),
    (("cost", "--documents", "-1"), "documents: expected"), (("cost", "--models", "gpt5.5"), "Did you mean gpt-5.5"),
    (("cost", "--date", "24.4.2026"), "date: expected a day"),
    (("cost", "--date", "2020-01-01", "--models", "v4-pro"), "no price before"),
    (("cost", "--date", "2020-01-01"), "no API of the table has a price on 2020-01-01. The first is of 2026-"),
    (("cost", "--peak-share", "2"), "peak_share"), (("cost", "--history"), "history: expected two names"),
    (("cost", "--machine", "h2000"), "Did you mean h200"), (("cost", "--machine", "dgx-spark"), "Not even its weights fit"),
    (("cost", "--machine", "h200-node", "--power", "-1"), "usd_per_kwh: expected 0 or more"),
    (("cost", "--machine", "h200-node", "--power", "moon"), "power: no row is called 'moon'"),
    (("cost", "--machine", "h200-node", "--efficiency", "0"), "efficiency: expected above 0"),
    (("cost", "--machine", "h200-node", "--utilisation", "0"), "utilisation: expected above 0"),
    (("cost", "--machine", "h200-node", "--years", "0"), "years and pue"),
    (("cost", "--machine", "atlas-a3", "--terms", "rent"), "no price to rent atlas-a3. Try --terms buy"),
    (("cost", "--machine", "ascend-950dtx8"), "price of a machine: no row is called 'ascend-950dt'"),
    (("claims", "--claims", "/nowhere.json"), "no such file"),
])
def test_a_mistake_gets_one_sentence_and_exit_2(arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.output.startswith("v4mini: ") and words in result.output and "Traceback" not in result.output
    assert result.output.count("\n") == 1


def test_a_machine_and_a_price_of_ones_own(table):
    machines = table(machines=[{"name": "cellar", "title": "a cellar full of cards", "kind": "node", "devices": 10,
                                "memory_gb": 24, "bandwidth_gb_s": 900, "bf16_tflops": 100, "watts": 3000, "source": "me",
                                "date": "2026-11-23"}])
    prices = table(machines=[{"machine": "cellar", "buy_usd": 5000, "source": "me", "date": "2026-11-23"}])
    assert "fits, 59" in run("plan", "--machine", "cellar", "--machines", machines).output
    output = run("cost", "--machine", "cellar", "--machines", machines, "--prices", prices, "--date", "2026-11-23").output
    assert "a cellar full of cards" in output and "USD a month" in output


def test_a_bad_row_of_ones_own_is_named(table):
    path = table(machines=[{"name": "cellar", "title": "x", "kind": "node", "memory_gb": -24, "bandwidth_gb_s": 9,
                            "bf16_tflops": 1, "source": "me", "date": "2026-11-23"}])
    result = run("plan", "--machines", path)
    assert result.exit_code == 2
    assert "row 1 (cellar): memory_gb must be a number above 0 and at most 1e+09, got '-24'" in result.output
