"""A digest stands for a kernel's code and its tile: both change it, words about them do not."""

import shutil

import pytest

from accel.checks import source
from accel.checks.cases import CASES


@pytest.fixture
def edited(tmp_path):
    """edited(module, old, new): a copy of the kernels with one change -> its folder."""
    def edit(module, old, new):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(source.KERNELS, folder)
        path = folder / f"{module}.py"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        return folder
    return edit


def test_code_changes_the_digest_and_words_do_not(edited):
    before = source.digest("mix.hc_pre", "sm_90a")
    assert source.digest("mix.hc_pre", "sm_90a", edited("mix", "range(ITERS - 1)", "range(ITERS - 2)")) != before
    assert source.digest("mix.hc_pre", "sm_90a", edited("mix", "    unit = 1.0\n", "    unit = 1.0      # nothing\n\n")) == before
    assert source.digest("mix.hc_pre", "sm_90a", edited("mix", "rounds of Sinkhorn", "rounds of scaling")) == before


def test_a_helper_belongs_to_those_that_call_it(edited):
    changed = edited("experts", "tl.where(b >= 128, -value, value)", "tl.where(b > 127, -value, value)")
    assert source.digest("experts.grouped_matmul", "sm_90a", changed) != source.digest("experts.grouped_matmul", "sm_90a")
    changed = edited("index", "score == score", "score <= score")
    assert source.digest("index.select_topk", "sm_90a", changed) != source.digest("index.select_topk", "sm_90a")
    assert source.digest("index.index_scores", "sm_90a", changed) == source.digest("index.index_scores", "sm_90a")


def test_the_tile_belongs_to_it():
    assert source.digest("attention.sparse_attention", "sm_90a") != source.digest("attention.sparse_attention", "ascend910b")


def test_every_kernel_has_a_digest():
    assert len({source.digest(kernel, "sm_90a") for kernel, _ in CASES.values()}) == len({kernel for kernel, _ in CASES.values()})
