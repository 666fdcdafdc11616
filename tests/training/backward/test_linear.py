"""Products and look-ups: gradients against finite differences."""

import numpy as np
import pytest
from ops import naive


@pytest.mark.parametrize("rows", [(5,), (2, 3), (1,), (2, 1, 4)], ids=str)
def test_linear(engine, draw, rows):
    x, weight, g = draw(*rows, 4), draw(3, 4), draw(*rows, 3)

    def forward(x, weight):
        return np.array([naive.linear(row, weight) for row in x.reshape(-1, 4)]).reshape(g.shape)
    engine.agrees(engine.gradients.linear(*engine.given(g, x, weight)), forward, (x, weight), g)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_group_meets_its_own_rows_only(engine, draw, groups):
    x, weight, g = draw(4, groups * 2), draw(groups * 3, 2), draw(4, groups * 3)

    def forward(x, weight):
        return np.array([np.concatenate([naive.linear(row[i * 2: i * 2 + 2], weight[i * 3: i * 3 + 3]) for i in range(groups)])
                         for row in x])
    engine.agrees(engine.gradients.grouped_linear(*engine.given(g, x, weight), groups), forward, (x, weight), g)


@pytest.mark.parametrize("ids", [[2, 0, 2, 2, 4], [0], [4, 4], [1, 2, 3]], ids=str)
def test_a_row_collects_from_every_token_that_read_it(engine, draw, ids):
    table, g = draw(5, 3), draw(len(ids), 3)
    found = engine.gradients.embed(*engine.given(g), np.array(ids), 5)
    engine.agrees([found], lambda table: np.array([table[id] for id in ids]), [table], g)
    assert not found[np.setdiff1d(np.arange(5), ids)].any()             # a token nobody wrote


def test_no_tokens_leave_zeros(engine):
    found = engine.gradients.embed(np.empty((0, 3), engine.dtype), np.empty(0, np.int64), 5)
    assert found.shape == (5, 3) and not found.any()
    for g in engine.gradients.linear(*engine.given(np.empty((0, 2)), np.empty((0, 3)), np.ones((2, 3)))):
        assert not g.any()
