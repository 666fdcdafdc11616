"""Who goes: textbook strings, a naive twin, and for Belady every choice there is."""

import math
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.inference.streaming.eviction import HALF_LIFE, ExpertCache
from v4mini.inference.streaming.replay import Step, replay
from v4mini.shapes import Refused

SILBERSCHATZ = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1]     # Operating System Concepts, chapter 10
ANOMALY = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]                                  # Belady, Nelson, Shedler (1969)


def one_by_one(string):
    return [Step(call, ((0, number),)) for call, number in enumerate(string)]


# calls of one or more layers; a layer's experts are distinct and in rising order, as a model uses them
LAYER = st.sets(st.integers(0, 6), min_size=1, max_size=4)
STEPS = st.lists(st.lists(LAYER, min_size=1, max_size=3), min_size=1, max_size=10).map(
    lambda calls: [Step(number, tuple((layer, expert) for expert in sorted(chosen)))
                   for number, call in enumerate(calls) for layer, chosen in enumerate(call)])


@pytest.mark.parametrize("policy, faults", [("fifo", 15), ("lru", 12), ("belady", 9)])
def test_the_textbook_s_reference_string(policy, faults):
    assert replay(one_by_one(SILBERSCHATZ), 3, policy).misses == faults


def test_fifo_reads_more_with_more_room_and_lru_never_does():
    assert [replay(one_by_one(ANOMALY), places, "fifo").misses for places in (3, 4)] == [9, 10]
    misses = [replay(one_by_one(ANOMALY), places, "lru").misses for places in range(1, 7)]
    assert misses == sorted(misses, reverse=True)


def naive(steps, places, policy):                       # -> misses, by lists and plain counting
    """The rule written down again: of those that are neither announced nor just used, the lowest; else the one announced last."""
    there, misses, clock, came, used, count = [], 0, 0, {}, {}, {}
    before = None
    for step in steps:
        for place, key in enumerate(step.keys):
            rest, clock = list(step.keys[place:]), clock + 1
            if key not in there:
                misses += 1
                if len(there) == places:
                    free = [k for k in there if k not in rest]
                    order = {"lru": lambda k: used[k], "fifo": lambda k: came[k], "lfu": lambda k: (count[k], used[k])}[policy]
                    there.remove(min(free, key=order) if free else max((k for k in there), key=rest.index))
                there.append(key)
                came[key] = clock
            used[key], count[key], before = clock, count.get(key, 0) + 1, key
    assert before is not None
    return misses


@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu"])
@given(steps=STEPS, places=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_the_naive_twin_counts_the_same(policy, steps, places):
    lap = replay(steps, places, policy)
    assert lap.misses == naive(steps, places, policy)
    assert lap.uses == sum(len(step.keys) for step in steps) and 0 <= lap.hit_rate < 1


def fewest(steps, places):                              # -> the least misses of all ways to choose
    string = [key for step in steps for key in step.keys]

    @cache
    def rest(at, there):
        if at == len(string):
            return 0
        key = string[at]
        if key in there:
            return rest(at + 1, there)
        if len(there) < places:
            return 1 + rest(at + 1, there | {key})
        return 1 + min(rest(at + 1, there - {victim} | {key}) for victim in there)
    return rest(0, frozenset())


@given(steps=STEPS.filter(lambda steps: sum(len(step.keys) for step in steps) <= 24), places=st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_belady_is_the_best_there_is(steps, places):
    best = replay(steps, places, "belady").misses
    assert best == fewest(steps, places)
    assert all(best <= replay(steps, places, policy).misses for policy in ("lru", "fifo", "lfu", "aged"))


def test_a_count_of_half_a_life_ago_is_worth_half():
    """Three uses one half-life back are worth 1.5, so two uses now outweigh them; one does not."""
    for recent, victim in ((1, "recent"), (2, "old")):
        cache = ExpertCache(2, "aged")
        for _ in range(3):
            cache.insert("old") if "old" not in cache else None
            cache.use("old")
        for _ in range(HALF_LIFE):
            cache.begin_pass()
        cache.insert("recent")
        for _ in range(recent):
            cache.use("recent")
        cache.begin_pass()                              # nobody is in use
        assert cache.space_for("new") == (True, victim)


def test_fading_counts_do_not_overflow_in_a_long_text():
    cache = ExpertCache(1, "aged")
    cache._passes = 100_000 * HALF_LIFE
    cache.insert("a")
    cache.use("a")
    cache.use("a")
    assert cache._count["a"] == pytest.approx(100_001) and math.isfinite(cache._count["a"])


def test_what_is_announced_or_in_use_stays():
    cache = ExpertCache(3, "lru")
    for key in "abc":
        cache.insert(key)
        cache.use(key)
    cache.expect("ad")
    assert cache.space_for("d") == (True, "b")               # a is older, but announced
    cache.expect("b")
    assert cache.space_for("d") == (False, None)             # c is in use
    assert cache.space_for("d", forced=True) == (True, "c")  # now d is
    cache.expect("c")
    assert cache.space_for("x", forced=True) == (True, "c")  # all announced: the last of them


def test_what_the_caller_is_busy_with_stays_whatever_happens():
    busy = {"a"}
    cache = ExpertCache(2, "lru", busy=busy)
    cache.insert("a")
    cache.insert("b")
    cache.expect("ba")
    assert cache.space_for("c", forced=True) == (True, "b")
    cache.begin_pass()
    assert cache.space_for("c") == (True, "b") and cache.shrink() == (True, "b")
    assert cache.space_for("c", forced=True) == (False, None)
    busy.clear()
    assert cache.space_for("c") == (True, "a")


def test_a_new_pass_voids_the_wishes_of_one_that_was_interrupted():
    cache = ExpertCache(1, "lru")
    cache.insert("a")
    cache.expect("a")
    assert cache.space_for("b") == (False, None)
    cache.begin_pass()
    assert cache.space_for("b") == (True, "a") and not cache.expected


def test_shrinking_takes_the_lowest_and_stops_at_one_place():
    cache = ExpertCache(4, "lru")
    for key in "abc":
        cache.insert(key)
        cache.use(key)
    assert cache.shrink() == (True, None) and cache.shrink() == (True, "a") and len(cache) == cache.capacity == 2
    cache.expect("b")
    assert cache.shrink() == (False, None)              # b is announced, c in use
    cache.begin_pass()
    assert cache.shrink() == (True, "b") and cache.shrink() == (False, None) and cache.capacity == 1


def test_a_long_run_does_not_hoard_outdated_ranks():
    cache = ExpertCache(4, "lru")
    for key in "abcd":
        cache.insert(key)
    for turn in range(10_000):
        cache.use("abcd"[turn % 4])
    assert len(cache._heap) < 200


@pytest.mark.parametrize("capacity, policy, match", [
    (0, "lru", "capacity: expected 1 or more experts, got 0"), (2.0, "lru", "capacity"), (True, "lru", "capacity"),
    (3, "mru", "policy: expected lru, fifo, lfu, aged, belady, got 'mru'")])
def test_a_shelf_of_nothing_is_refused(capacity, policy, match):
    with pytest.raises(Refused, match=match):
        ExpertCache(capacity, policy)
