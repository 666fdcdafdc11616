"""Claims: verdicts come from the numbers, so a claim that says something else gets another verdict."""

import json
from datetime import date

import pytest

from v4mini.planning.checks import CHECKS, VERDICTS, Tools, run_check
from v4mini.planning.claims import judged, read_claims
from v4mini.shapes import Refused

from .conftest import DATA


@pytest.fixture(scope="module")
def tools(machines, prices):
    return Tools(machines, prices)


@pytest.fixture(scope="module")
def found(tools):
    return {one["name"]: one for one in judged(read_claims(DATA / "claims.json"), tools)}


@pytest.mark.parametrize("name, verdict, words", [
    ("size-pro", "supported", "1,573.0 B"), ("size-flash", "supported", "284.3 B"), ("one-trillion", "refuted", "not 1,000 B"),
    ("dual-4090", "refuted", "48 GB are there"), ("memory-9.5x", "qualified", "9.55 times less"),
    ("shares-pro", "supported", "27.1%"), ("shares-flash", "supported", "10.2%"), ("gqa-2-percent", "supported", "2.02%"),
    ("price-pro", "qualified", "1.74 USD"), ("price-flash", "qualified", "0.14 USD"),
    ("ten-times", "qualified", "2026-04-24: input 2.9, output 8.6"), ("price-will-fall", "qualified", "3.48 from 2026-04-24"),
    ("one-node", "supported", "w8a8 weights 286 GB"), ("one-node-pro", "qualified", "too small"),
    ("laptop", "qualified", "96 GB usable"),
    ("steady", "supported", "1.4%"), ("no-nvidia", "open", "validated on NVIDIA"),
    ("day-zero-ascend", "supported", "vLLM-Ascend")])
def test_the_verdicts_of_today(found, name, verdict, words):
    assert found[name]["verdict"] == verdict and words in found[name]["finding"], found[name]


def test_every_claim_has_a_verdict_a_source_and_a_day(found):
    assert json.loads(json.dumps(list(found.values())))
    for one in found.values():
        assert one["verdict"] in VERDICTS and len(one["finding"]) > 20 and one["source"] and one["date"] <= "2026-11-29"
    assert sum(one["computed"] for one in found.values()) >= 15


def row(check, said=date(2026, 4, 24), **ask):
    return {"name": "mine", "check": check, "with": ask, "said": said}


@pytest.mark.parametrize("check, ask, verdict", [
    ("parameters", {"model": "pro", "total": 1600}, "supported"), ("parameters", {"model": "pro", "total": 1700}, "refuted"),
    ("parameters", {"model": "flash", "total": 284, "active": 14}, "refuted"),
    ("memory", {"model": "pro", "against": "v3.2", "times": 9.4}, "refuted"),
    ("memory", {"model": "flash", "against": "v3.2", "times": 13.7}, "qualified"),
    ("shares", {"model": "pro", "against": "v3.2", "flops_percent": 28, "cache_percent": 10}, "refuted"),
    ("of_gqa", {"model": "flash", "percent": 2}, "supported"), ("of_gqa", {"model": "flash", "percent": 3}, "refuted"),
    ("price", {"model": "v4-pro", "kind": "cache_miss", "usd": 1.7}, "refuted"),
    ("price", {"model": "claude-opus-4.7", "kind": "output", "usd": 25}, "supported"),
    ("cheaper", {"model": "v4-pro", "against": "gpt-5.5", "times": 100}, "refuted"),
    ("cheaper", {"model": "v4-pro", "against": "gpt-5.5", "times": 2}, "refuted"),
    ("cheaper", {"model": "v4-pro", "against": "gpt-5.5", "times": 3}, "qualified"),
    ("cheaper", {"model": "claude-opus-4.7", "against": "gpt-5.5", "times": 1.1}, "supported"),
    ("promised", {"model": "v4-flash", "kind": "output"}, "refuted"),
    ("fits", {"model": "flash", "bytes": 200 * 10**9}, "supported"),
    ("fits", {"model": "pro", "machine": "laptop-32gb"}, "refuted"),
    ("fits", {"model": "flash", "machine": ["dgx-spark:q2", "dgx-spark"]}, "qualified"),
    ("steady", {"model": "v3.2", "machine": "b200-node", "near": 4096, "far": 900000}, "qualified"),
    ("steady", {"model": "v3.2", "machine": "b200-node", "near": 4096, "far": 5_000_000}, "refuted")])
def test_a_verdict_follows_its_numbers(tools, check, ask, verdict):
    said = date(2026, 4, 24)
    assert run_check(row(check, said, **ask), tools).verdict == verdict


@pytest.mark.parametrize("bad, words", [
    (row("guess"), "check must be one of parameters"), (row("parameters", model="pro"), "lacks 'total'"),
    (row("parameters", model="prow", total=1), "Did you mean pro"),
    (row("fits", model="flash", machine="h2000"), "Did you mean h200"),
    (row("price", model="v4-pro", kind="colour", usd=1), "does not suit price"),
    (row("parameters", model="pro", total="many"), "does not suit parameters")])
def test_a_check_that_cannot_be_run_is_refused(tools, bad, words):
    with pytest.raises(Refused) as error:
        run_check(bad, tools)
    assert words in str(error.value)


CLAIM = {"name": "mine", "claim": "it is blue", "by": "me", "said": "2026-04-24", "source": "me", "date": "2026-04-24"}


def test_a_claim_has_either_a_check_or_a_verdict(table):
    with pytest.raises(Refused, match="got neither"):
        read_claims(table(claims=[CLAIM]))
    with pytest.raises(Refused, match="got both"):
        read_claims(table(claims=[{**CLAIM, "check": "price", "verdict": "open"}]))
    with pytest.raises(Refused, match=r"claims, row 1 \(mine\): verdict must be one of supported"):
        read_claims(table(claims=[{**CLAIM, "verdict": "true"}]))
    with pytest.raises(Refused, match="with must be an object"):
        read_claims(table(claims=[{**CLAIM, "check": "price", "with": []}]))
    assert read_claims(table(claims=[{**CLAIM, "verdict": "open", "finding": "who knows"}]))[0]["verdict"] == "open"


def test_every_check_is_used_by_a_claim_or_by_a_test(found):
    used = {one["check"] for one in read_claims(DATA / "claims.json")}
    assert used - {""} == set(CHECKS)
