"""Seconds a token where a model does not fit: against counting by hand, and at the ends of each scale."""

import pytest

from v4mini.planning.offload import gpu_and_host, streamed
from v4mini.planning.plan import Beside, offloaded, plan
from v4mini.planning.storage import EXPERTS

GB = 1e9


def parts(model, context=4096):
    groups, step = model.weights(), model.step_weights(1)
    dense = sum(groups.values()) - groups[EXPERTS]
    return dense, groups[EXPERTS], step, sum(model.cache(context).values()), sum(model.reads(context).values())


def test_half_of_the_experts_in_memory_serve_half_of_their_uses(flash):
    dense, experts, step, cache, reads = parts(flash)
    found = streamed(flash, dense + cache + experts / 2, 100 * GB, 2 * GB, 4096, usable=1.0)
    assert found["experts_held"]["memory"] == pytest.approx(0.5)
    assert found["read"]["disk"] == pytest.approx(step["experts"] / 2)
    memory = step["rest"] + reads + step["experts"] / 2
    assert found["seconds"] == pytest.approx(step["experts"] / 2 / (2 * GB) + memory / (100 * GB))


def test_where_all_fits_nothing_comes_from_the_disk(flash):
    found = streamed(flash, 1e12, 100 * GB, 1.0, 4096)
    assert found["read"]["disk"] == 0 and found["seconds"] < 1


def test_where_nothing_fits_all_that_a_token_needs_comes_from_the_disk(flash):
    _, _, step, _, _ = parts(flash)
    found = streamed(flash, 1.0, 100 * GB, 2 * GB, 4096)
    assert found["read"]["disk"] == pytest.approx(step["experts"] + step["rest"]) and not found["cache_fits"]


def test_more_memory_is_never_slower(flash, pro):
    for model in (flash, pro):
        times = [streamed(model, size * GB, 100 * GB, 2 * GB, 131072)["seconds"] for size in (8, 16, 32, 64, 128, 256, 1024)]
        assert times == sorted(times, reverse=True) and times[0] > times[-1]


def test_a_gpu_with_a_host_reads_every_byte_once_somewhere(flash, v32):
    for model in (flash, v32):
        step, reads = model.step_weights(1), sum(model.reads(4096).values())
        found = gpu_and_host(model, (24 * GB, 1000 * GB), (64 * GB, 80 * GB), 5 * GB, 4096)
        assert sum(found["read"].values()) == pytest.approx(step["experts"] + step["rest"] + reads)
        assert set(found["read"]) == {"GPU", "host", "disk"}
        assert sum(found["experts_held"].values()) < 1


def test_a_report_says_it_only_where_the_model_does_not_fit(flash, machines):
    assert "offloaded" not in plan(flash, 4096, machine=machines["h200-node"])["machine"]
    ways = [row["way"] for row in plan(flash, 4096, machine=machines["rtx-4090"])["machine"]["offloaded"]]
    assert ways == ["streamed", "gpu and host"]
    assert [row["way"] for row in plan(flash, 4096, machine=machines["laptop-16gb"])["machine"]["offloaded"]] == ["streamed"]


def test_the_host_is_the_readers_own(flash, machines):
    small, large = (offloaded(flash, 4096, machines["rtx-3090"], Beside(host_memory=size)) for size in (64 * GB, 512 * GB))
    assert [a["seconds"] > b["seconds"] for a, b in zip(small, large)] == [True, True]
    assert large[1]["read"]["disk"] == 0
