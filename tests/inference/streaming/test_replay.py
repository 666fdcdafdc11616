"""Replaying: what counts as a step, what is counted, and what it makes in seconds."""

import numpy as np
import pytest

from v4mini.config import Config
from v4mini.inference.streaming.replay import (
    Machine,
    compare,
    dense_bytes,
    expert_bytes,
    replay,
    reuse_ceiling,
    step_seconds,
    steps_of,
)
from v4mini.shapes import Refused

CALLS = [{0: [3, 1, 3], 1: [2]}, {0: [1], 1: [2, 0]}, {0: [3]}]     # three calls; a layer's experts, some of them twice


def test_a_step_is_a_layer_in_a_call_and_names_each_expert_once_in_rising_order():
    assert [(step.call, step.keys) for step in steps_of(CALLS)] == [
        (0, ((0, 1), (0, 3))), (0, ((1, 2),)), (1, ((0, 1),)), (1, ((1, 0), (1, 2))), (2, ((0, 3),))]


def test_reads_are_counted_by_call():
    lap = replay(steps_of(CALLS), 9)
    assert (lap.uses, lap.misses, lap.loads, lap.asked) == (7, 4, (3, 1, 0), (3, 3, 1))
    assert lap.part([1, 2]) == (4, 1) and lap.hit_rate == pytest.approx(3 / 7) == reuse_ceiling(steps_of(CALLS))


def test_the_same_number_in_another_layer_is_another_expert():
    assert replay(steps_of([{0: [5], 1: [5]}]), 2).misses == 2


def test_an_empty_trace_is_refused():
    with pytest.raises(Refused, match="expected a trace with at least one step"):
        replay([], 3)


def test_below_one_pass_lru_never_hits_and_belady_does():
    """43 layers of 6 different experts each, the same at every token: 258 in all. The threshold that users of streaming meet."""
    steps = steps_of([{layer: range(6) for layer in range(43)} for _ in range(10)])
    assert replay(steps, 251, "lru").hit_rate == 0 < replay(steps, 251, "belady").hit_rate
    assert replay(steps, 258, "lru").misses == 258


def test_an_expert_and_a_pass_weigh_what_others_say():
    """Published for Flash and Pro: 12.75 and 33.47 MiB an expert, 3.21 and 11.96 GiB a pass (ronak-create/deepseek-v4-in-c)."""
    for config, mib, gib in ((Config.flash(), 12.75, 3.21), (Config.pro(), 33.47, 11.96)):
        one = expert_bytes(config)
        assert one / 2**20 == pytest.approx(mib, abs=0.005)
        assert one * config.n_layers * config.n_activated_experts / 2**30 == pytest.approx(gib, abs=0.005)


def test_dense_bytes_are_all_but_experts_tables_and_the_embedding():
    from v4mini.planning.counts import counts

    for config in (Config.flash(), Config.mini()):
        groups = counts(config)[0]
        rest = sum(count.nbytes for name, count in groups.items() if name not in ("routed experts", "hash tables", "embedding"))
        assert dense_bytes(config) == rest == dense_bytes(config.replace(n_mtp_layers=0))


def test_seconds_by_hand():
    """3 misses of 10 MB at 2 GB/s: 15 ms. 6 uses and 40 MB at 10 GB/s: 10 ms."""
    first, ahead = step_seconds(Machine(2e9, 10e9), 6, 3, 10_000_000, 40_000_000)
    assert first == pytest.approx(0.025) and ahead == pytest.approx(0.015)


def test_laps_tell_the_decoded_tokens_from_the_prompt():
    config, steps = Config.mini(), steps_of(CALLS)
    rows = list(compare(config, steps, [1, 2], [1, 9], ["lru", "belady"], Machine(1e9, 1e10)))
    assert [(row["policy"], row["experts"]) for row in rows] == [("lru", 1), ("belady", 1), ("lru", 9), ("belady", 9)]
    one, dense = expert_bytes(config), dense_bytes(config)
    assert rows[2]["decoding_hit_rate"] == pytest.approx(3 / 4) and rows[2]["decoding_read_bytes"] == one / 2
    assert rows[2]["seconds_one_after_other"] == pytest.approx(one / 2 / 1e9 + (2 * one + dense) / 1e10)
    assert rows[2]["bytes"] == 9 * one


def test_without_decoded_tokens_their_columns_are_empty():
    row, = compare(Config.mini(), steps_of(CALLS), [], [4], ["lru"], Machine(1e9, 1e10))
    assert row["decoding_hit_rate"] is row["seconds_overlapped"] is None and row["misses"] == 4


def test_more_room_never_hurts_lru_nor_belady(rng):
    steps = steps_of([{layer: rng.integers(0, 20, 4) for layer in range(3)} for _ in range(40)])
    for policy in ("lru", "belady"):
        rates = [replay(steps, places, policy).hit_rate for places in (4, 8, 16, 32, 64)]
        assert rates == sorted(rates) and rates[-1] == pytest.approx(reuse_ceiling(steps))
    assert np.isclose(reuse_ceiling(steps), 1 - len({key for s in steps for key in s.keys}) / sum(len(s.keys) for s in steps))
