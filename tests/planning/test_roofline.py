"""Least times: sums done token by token, by hand, and in the limits where one term must vanish."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.config import Config
from v4mini.planning.machines import find_machine
from v4mini.planning.models import V4Model, planned_model
from v4mini.planning.roofline import (
    bound,
    prefill_bound,
    request_seconds,
    span_work,
    step_bound,
    token_work,
)
from v4mini.shapes import Refused

TINY = V4Model("tiny", Config.tiny())


def test_a_bound_with_a_pencil(machines):
    """989 TFLOP of BF16 and 1979 of FP8 take an H100 a second each; 3350 GB another one."""
    h100 = machines["h100"]
    found = bound(h100, {"bf16": 989e12, "fp8": 1979e12}, {"weights": 3350e9})
    assert (found.compute_seconds, found.read_seconds, found.seconds, found.binds) == (2, 1, 2, "compute")
    assert bound(h100, {"bf16": 1e12}, {"weights": 3350e9}).binds == "bandwidth"
    assert bound(h100.times(8), {"bf16": 989e12}, {}).seconds == pytest.approx(1 / 8)


@pytest.mark.parametrize("name, bandwidth, tokens_per_second", [       # 11.2 and 39.7 GB a token, worked out by hand
    ("flash", 1.6, 143), ("flash", 3.35, 299), ("flash", 8, 714), ("pro", 1.6, 40), ("pro", 3.35, 84), ("pro", 8, 202)])
def test_one_text_reads_its_weights_and_little_else(machines, name, bandwidth, tokens_per_second):
    machine = dataclasses.replace(machines["h100"], bandwidth_gb_s=bandwidth * 1000)
    found = step_bound(planned_model(name), machine, 128)
    assert found.binds == "bandwidth" and 1 / found.seconds == pytest.approx(tokens_per_second, rel=0.01)


@pytest.mark.parametrize("start, stop", [(0, 40), (7, 300), (300, 301), (500, 1500)])
def test_a_span_is_the_sum_of_its_tokens(start, stop):
    """Token by token in floats, against the trapezoid rule. Blocks of tiny's size make steps: half an entry at each end."""
    exact = sum(sum(token_work(TINY, token + 1, head=False).values()) for token in range(start, stop))
    exact += sum(TINY.dense().values()) - sum(TINY.dense(head=False).values())
    assert sum(span_work(TINY, start, stop).values()) == pytest.approx(exact, rel=0.02)


def test_a_million_tokens_of_flash_are_the_mean_of_their_ends(flash):
    """Beyond the first thousands all that grows is linear in the position: half of what the last one adds, times n."""
    n = 2**20
    work, last = sum(span_work(flash, 0, n).values()), sum(flash.dense(head=False).values())
    grown = {part: flops for part, (flops, _) in flash.growing(n).items()}
    assert work == pytest.approx(n * (last + (grown["index"] + grown["hca"]) / 2 + grown["csa"] + grown["window"]), rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(1, 60_000), batch=st.integers(1, 300), more=st.integers(1, 4))
def test_longer_texts_more_of_them_and_fewer_machines_take_no_less(machines, tokens, batch, more):
    flash, node = planned_model("flash"), machines["h200"]
    step = step_bound(flash, node, tokens, batch)
    assert step_bound(flash, node, tokens + 4 * more, batch).seconds >= step.seconds
    assert step_bound(flash, node, tokens, batch + more).seconds > step.seconds
    assert step_bound(flash, node, tokens, batch + more).seconds / (batch + more) <= step.seconds / batch * (1 + 1e-12)
    assert step_bound(flash, node.times(more + 1), tokens, batch).seconds == pytest.approx(step.seconds / (more + 1))
    assert step.seconds == max(step.compute_seconds, step.read_seconds)
    assert prefill_bound(flash, node, tokens).seconds < prefill_bound(flash, node, tokens + 1).seconds


def test_reading_in_chunks_reads_weights_once_a_chunk(machines, flash):
    one, two = (prefill_bound(flash, machines["h200"], 8192, chunk=chunk).read for chunk in (8192, 4096))
    assert two["other weights"] == 2 * one["other weights"] and two["experts"] == pytest.approx(2 * one["experts"], rel=1e-6)
    assert prefill_bound(flash, machines["h200"], 8192, chunk=4096).flops == prefill_bound(flash, machines["h200"], 8192).flops


def test_two_halves_of_a_prompt_are_the_whole(machines, flash):
    node = machines["h200-node"]
    halves = [prefill_bound(flash, node, 50_000, start=start) for start in (0, 50_000)]
    whole = prefill_bound(flash, node, 100_000)
    assert sum(half.compute_seconds for half in halves) == pytest.approx(whole.compute_seconds, rel=1e-3)


def test_a_cached_prompt_costs_only_its_new_part(machines, flash):
    node = machines["h200-node"]
    whole, most_cached, all_cached = (request_seconds(flash, node, 10_000, 100, cached) for cached in (0, 9_000, 10_000))
    assert whole > most_cached > all_cached == 100 * step_bound(flash, node, 10_050).seconds
    assert request_seconds(flash, node, 10_000, 0) == prefill_bound(flash, node, 10_000).seconds
    assert request_seconds(flash, node, 100, 100, batch=32) < request_seconds(flash, node, 100, 100)


def test_a_format_that_a_machine_lacks_costs_its_time(machines, flash):
    """910C has no FP8: released weights are multiplied as BF16, at half of what INT8 weights get."""
    ascend = find_machine(machines, "atlas-a3")
    released, int8 = (prefill_bound(flash, ascend, 4096, stored) for stored in ("released", "w8a8"))
    assert released.compute_seconds > 1.8 * int8.compute_seconds


@pytest.mark.parametrize("ask", [0, -1, 1.5, "1M", True])
def test_a_wrong_question_is_refused(machines, flash, ask):
    with pytest.raises(Refused, match="expected a whole number of at least 1"):
        step_bound(flash, machines["h200"], ask)
    with pytest.raises(Refused, match="expected a whole number of at least 1"):
        step_bound(flash, machines["h200"], 100, ask)
    with pytest.raises(Refused, match="tokens: expected a whole number"):
        prefill_bound(flash, machines["h200"], ask)
