"""Experts over processes: the bits of one process, bytes as counted by hand, a lost rank named within seconds."""

import numpy as np
import pytest

from v4mini.lessons.processes import alone, broken, experts_part, run
from v4mini.numerics.blocks import quantise_fp4
from v4mini.weights.tree import Expert

D, INTER, E, K, LIMIT = 64, 32, 8, 3, 2.0


def parts(counts, few=E, seed=0):           # tokens of each rank -> arguments of each rank, arguments of one process
    rng = np.random.default_rng(seed)
    pool = [Expert(*(quantise_fp4(rng.standard_normal(shape).astype(np.float32) * np.float32(0.1))
                     for shape in ((INTER, D), (D, INTER), (INTER, D)))) for _ in range(E)]
    T, per = sum(counts), E // len(counts)
    chosen = np.stack([rng.permutation(few)[:K] for _ in range(T)])
    all_of_it = rng.standard_normal((T, D)).astype(np.float32), chosen, rng.random((T, K)).astype(np.float32)
    split = zip(*(np.split(array, np.cumsum(counts)[:-1]) for array in all_of_it))
    return [(*mine, pool[rank * per: (rank + 1) * per], LIMIT) for rank, mine in enumerate(split)], (*all_of_it, pool, LIMIT)


@pytest.mark.parametrize("counts, few", [((4, 4), E), ((0, 9), 4), ((3, 8, 1, 5), E)],
                         ids=["even", "a rank without tokens, four experts nobody chose", "four ranks, uneven"])
def test_all_bits_are_those_of_one_process(counts, few):
    each, whole = parts(counts, few)
    reports, (one,) = run(experts_part, each), run(alone, [whole])
    assert not any(report.error for report in (*reports, one))
    np.testing.assert_array_equal(np.concatenate([report.result for report in reports]), one.result)
    chosen, rank_of = whole[1], np.repeat(np.arange(len(counts)), counts)
    away = int((chosen // (E // len(counts)) != rank_of[:, None]).sum())                 # rows that leave their process
    assert sum(report.sent for report in reports) == away * (4 * D + 8 + 4) + away * 4 * D


@pytest.mark.parametrize("how, said, code", [("kill", "ended with exit code -9", -9),
                                             ("raise", "MemoryError: out of memory, as it was told to be", None),
                                             ("hang", "gave no answer", None)])
def test_a_lost_rank_is_named_within_seconds(how, said, code):
    each, _ = parts((2, 2))
    first, second = run(broken, [(1, how, experts_part, *mine) for mine in each], timeout=1)
    reason = "was silent for 1 s" if how == "hang" else "ended"
    assert first.error == f"expected rows of rank 1, got none: it {reason}" and first.lost == 1 and first.seconds < 5
    assert (second.error, second.exit_code, second.lost) == (said, code, None)


def test_rows_larger_than_a_pipe_holds_pass():
    each, whole = parts((900, 900))
    assert all(report.result is not None for report in run(experts_part, each)), "nobody waits in a circle"
