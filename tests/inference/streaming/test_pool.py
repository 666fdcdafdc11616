"""A pool shows the files' bytes, whatever comes and goes; it keeps to its budget; it reads what the rules say and no more."""

import threading
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from v4mini.inference.streaming.eviction import ExpertCache
from v4mini.inference.streaming.pool import Pool
from v4mini.inference.streaming.read import PAGE, Files, Tensor, lay_out
from v4mini.shapes import Refused

EXPERTS = [(layer, number) for layer in range(3) for number in range(4)]
DENSE = [f"m{number}" for number in range(6)]
SIZES = {**dict.fromkeys(EXPERTS, 700), **{name: 500 + 3000 * number for number, name in enumerate(DENSE)}, "table": 4000}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of random bytes cut into tensors, and units over it; each has one tensor, 'x'."""
    return make(tmp_path_factory.mktemp("pool") / "bytes")


def make(path):
    raw, at, units, wanted = np.random.default_rng(0).bytes(sum(SIZES.values())), 0, {}, {}
    path.write_bytes(raw)
    for key, size in SIZES.items():
        units[key] = lay_out(key, [Tensor("x", str(path), at, at + size, np.dtype(np.uint8), (size // 4, 4))])
        wanted[key] = raw[at: at + size]
        at += size
    return units, wanted


def pool_of(units, dense_bytes=10**9, slots=100, **how):
    units = dict(units)
    return Pool(units, units.pop("table"), dense_bytes, slots, **how)


@pytest.fixture
def pool(made):
    pools = []

    def build(*budget, **how):
        pools.append(pool_of(made[0], *budget, **how))
        return pools[-1]
    yield build
    for one in pools:
        one.close()


def settled(pool):                                      # wait until the readers have nothing to do
    for _ in range(30_000):
        with pool._change:
            waiting = len(pool._change._waiters) == len(pool._readers)
        if waiting and not pool._loading:
            return
        time.sleep(0.001)
    raise AssertionError("the readers never rest")


class AnyUse(RuleBasedStateMachine):
    """Look at anything in any order, hold on to some of it, announce, start passes, resize: bytes are always the file's."""

    @initialize(dense_bytes=st.sampled_from([0, 4 * PAGE, 9 * PAGE, 10**9]), slots=st.integers(1, 13),
                policy=st.sampled_from(["lru", "fifo", "lfu", "aged"]), readers=st.integers(0, 3), direct=st.booleans())
    def start(self, dense_bytes, slots, policy, readers, direct):
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        units, self.wanted = make(Path(self.folder.name) / "bytes")
        self.pool, self.kept = pool_of(units, dense_bytes, slots, policy=policy, files=Files(direct), readers=readers), []

    @rule(key=st.sampled_from(EXPERTS + DENSE), keep=st.booleans(), again=st.booleans())
    def get(self, key, keep, again):
        array = self.pool.get(key, "x")
        assert array.tobytes() == self.wanted[key]
        if again:
            assert self.pool.get(key, "x").tobytes() == self.wanted[key]
        if keep:
            self.kept = [*self.kept[-3:], (key, array)]

    @rule(keys=st.lists(st.sampled_from(EXPERTS), max_size=6, unique=True))
    def a_layer(self, keys):
        self.pool.prefetch(keys)
        for key in keys:
            assert self.pool.get(key, "x").tobytes() == self.wanted[key]

    @rule(keys=st.lists(st.sampled_from(EXPERTS), max_size=4, unique=True))
    def a_pass_that_may_be_interrupted(self, keys):
        self.pool.begin_pass(keys)

    @rule(dense_bytes=st.sampled_from([0, 5 * PAGE, 10**9]), slots=st.integers(1, 13))
    def resize(self, dense_bytes, slots):
        self.pool.resize(dense_bytes, slots)

    @rule(ids=st.lists(st.integers(0, 999), max_size=4))
    def rows(self, ids):
        found = self.pool.rows("x", np.array(ids, int))
        assert found.tobytes() == b"".join(self.wanted["table"][4 * i: 4 * i + 4] for i in ids)

    @invariant()
    def what_somebody_holds_never_changes(self):
        for key, array in getattr(self, "kept", []):
            assert array.tobytes() == self.wanted[key]

    @invariant()
    def no_more_experts_than_places(self):
        if hasattr(self, "pool"):
            with self.pool._change:
                held = [key for key in (*self.pool._held, *self.pool._loading) if isinstance(key, tuple)]
                assert len(held) == len(set(held)) == len(self.pool.experts) <= self.pool.experts.capacity

    def teardown(self):
        if hasattr(self, "pool"):
            self.pool.close()
            self.folder.cleanup()


AnyUse.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestAnyUse = AnyUse.TestCase


@pytest.mark.parametrize("readers", [0, 1, 3])
@pytest.mark.parametrize("slots", [1, 2, 3, 5, 12])
def test_reads_are_those_of_a_shelf_alone(pool, rng, readers, slots):
    """Whether readers run ahead or not: lru reads what the bookkeeping without bytes says, however they are timed."""
    from v4mini.inference.streaming.replay import replay, steps_of

    calls = [{layer: rng.permutation(4)[: rng.integers(1, 5)].tolist() for layer in range(3)} for _ in range(40)]
    steps, one, call = steps_of(calls), pool(10**9, slots, readers=readers), None
    for step in steps:
        if step.call != call:
            one.begin_pass()
            call = step.call
        one.prefetch(step.keys)
        for key in step.keys:
            one.get(key, "x")
    lap = replay(steps, slots, "lru")
    assert (one.stats.uses["experts"], one.stats.reads["experts"]) == (lap.uses, lap.misses)
    assert one.stats.read_bytes["experts"] == 700 * lap.misses


def test_announced_experts_are_read_before_they_are_asked_for(pool):
    one = pool()
    settled(one)
    one.prefetch(EXPERTS[:5])
    settled(one)
    assert one.stats.reads["experts"] == 5 and one.stats.uses["experts"] == 0
    one.get(EXPERTS[3], "x")
    assert one.stats.reads["experts"] == 5


def test_others_are_read_in_their_order_before_the_first_pass(pool):
    one = pool(readers=1)                               # which of several is done first is chance
    settled(one)
    assert one.stats.reads["dense"] == len(DENSE) and list(one._held) == DENSE


def test_several_readers_read_each_of_them_once(pool):
    one = pool(readers=3)
    settled(one)
    assert one.stats.reads["dense"] == len(DENSE) and set(one._held) == set(DENSE)


def cycle(pool, times, order=DENSE):                    # -> reads of dense in each pass
    reads = []
    for _ in range(times):
        before = pool.stats.reads["dense"]
        for key in order:
            pool.get(key, "x")
            settled(pool)
        reads.append(pool.stats.reads["dense"] - before)
    return reads


@pytest.mark.parametrize("readers, more", [(0, 61 / 60), (2, 60 / 50)])
@pytest.mark.parametrize("missing", [1, 5, 20])
def test_where_not_all_fit_most_stay_and_the_rest_passes(made, missing, readers, more):
    """60 units of one size in a cycle, room for fewer: lru would read all 60 each time. The best there is, Belady's, reads
    60 / 59 times those that are missing; reading ahead drives out some before their time.
    """
    keys = [f"{number}" for number in range(60)]
    one = Pool(dict.fromkeys(keys, made[0]["m3"]), None, (60 - missing) * made[0]["m3"].nbytes, 2, readers=readers)
    reads = cycle(one, 8, keys)[3:]
    one.close()
    assert 1 <= np.mean(reads) <= more * missing + 1


def test_the_order_of_the_last_pass_is_the_one_followed(pool):
    one = pool()
    cycle(one, 2, DENSE[::-1])
    with one._change:
        assert one._ahead() == DENSE[:0:-1]            # behind the last, m0, comes m5 again


def test_one_larger_than_the_room_passes_alone(pool, made):
    one = pool(PAGE, 2)
    for key in DENSE * 2:
        assert one.get(key, "x").tobytes() == made[1][key]
    with one._change:
        assert sum(buffer.nbytes for key, buffer in one._held.items() if isinstance(key, str)) <= made[0][DENSE[-1]].nbytes


def test_held_bytes_keep_to_the_rooms(pool, made):
    room, place = 5 * PAGE, max(made[0][key].nbytes for key in EXPERTS)
    one = pool(room, 3)
    rng = np.random.default_rng(0)
    for _ in range(200):
        one.get([*EXPERTS, *DENSE[:4]][rng.integers(0, 16)], "x")
        assert one.nbytes <= room + 3 * place
    one.resize(4 * PAGE, 2)
    settled(one)
    assert one.nbytes <= 4 * PAGE + 2 * place


def test_a_buffer_that_somebody_looks_at_is_left_to_him(pool, made):
    one = pool(10**9, 1)
    held = one.get(EXPERTS[0], "x")
    for key in EXPERTS[1:]:
        one.get(key, "x")
    assert held.tobytes() == made[1][EXPERTS[0]]


def test_a_buffer_that_nobody_looks_at_is_used_reuse_buffer(pool):
    one = pool(10**9, 1)
    one.get(EXPERTS[0], "x")
    address = one._held[EXPERTS[0]]
    one.get(EXPERTS[1], "x")
    assert one._held[EXPERTS[1]] is address


def test_ctrl_c_while_reading_leaves_the_pool_in_order(pool, made, monkeypatch):
    one = pool(10**9, 2, readers=0)
    one.get(EXPERTS[0], "x")
    real = one.files.read

    def interrupted(run, into):
        raise KeyboardInterrupt
    one.files.read = interrupted
    for key in (EXPERTS[1], DENSE[0]):
        with pytest.raises(KeyboardInterrupt):
            one.get(key, "x")
    one.files.read = real
    for key in (*EXPERTS, *DENSE):
        assert one.get(key, "x").tobytes() == made[1][key]
    assert len(one.experts) == 2 and not one._loading


def test_what_a_reader_cannot_read_the_engine_is_told(tmp_path):
    units, wanted = make(tmp_path / "bytes")
    (tmp_path / "bytes").write_bytes(b"".join(wanted.values())[:2000])
    one = pool_of(units)
    one.prefetch(EXPERTS)
    settled(one)
    assert one.get(EXPERTS[0], "x").tobytes() == wanted[EXPERTS[0]]
    with pytest.raises(Refused, match="Was the file cut"):
        one.get(EXPERTS[5], "x")
    one.close()


def test_a_closed_pool_says_so_and_its_threads_are_gone(made):
    before = threading.active_count()
    one = pool_of(made[0], readers=3)
    array = one.get(DENSE[0], "x")
    one.close()
    assert threading.active_count() == before and array.tobytes() == made[1][DENSE[0]]
    with pytest.raises(Refused, match="got one that was closed"):
        one.get(DENSE[0], "x")


def test_waiting_is_counted(pool, monkeypatch):
    one = pool(10**9, 2, readers=0)
    real = one.files.read
    one.files.read = lambda run, into: (time.sleep(0.05), real(run, into))[1]
    one.get(EXPERTS[0], "x")
    waited = one.stats.waited
    one.get(EXPERTS[0], "x")
    assert one.stats.waited == waited > 0 and one.stats.uses["experts"] == 1
    assert isinstance(one.experts, ExpertCache)
