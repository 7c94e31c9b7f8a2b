"""Randomness is a function of (seed, stream, step) and of nothing else."""

import numpy as np
import torch

from pipelines.runtime.randomness import Draws, batch_rows, derive, generator_for, numpy_generator_for


def test_derive_is_pinned():
    # a change of these numbers changes every result of the project
    assert derive(0, "noise", 0) == 0x1BF92064A751B878
    assert 0 <= derive(7, "x", 3) < 2**63
    assert len({derive(0, "a", 1), derive(1, "a", 1), derive(0, "b", 1), derive(0, "a", 2)}) == 4


def test_generators_do_not_touch_the_global_state():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = torch.randn(2, generator=generator_for(0, "noise", 5))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, torch.randn(2, generator=generator_for(0, "noise", 5)))
    a, b = numpy_generator_for(3, "s").random(4), numpy_generator_for(3, "s").random(4)
    assert np.array_equal(a, b)


def test_batch_rows_meets_each_row_once_per_epoch():
    rows = np.concatenate([batch_rows(0, "labeled", step, 10, 4) for step in range(5)])
    assert sorted(rows[:10]) == list(range(10))
    assert sorted(rows[10:20]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:20])


def test_batch_rows_with_fewer_rows_than_a_batch():
    rows = batch_rows(0, "labeled", 3, 3, 8)
    assert rows.shape == (8,)
    assert np.bincount(rows, minlength=3).min() >= 2


def test_draws_are_the_same_numbers_for_any_number_of_processes():
    whole = Draws(0, 9, 8, slice(0, 8))
    halves = [Draws(0, 9, 8, slice(0, 4)), Draws(0, 9, 8, slice(4, 8))]
    for draw in (
        lambda d: d.normal("eps", 1, 2, 2),
        lambda d: d.uniform("t"),
        lambda d: d.integers("k", 0, 1000, 3),
    ):
        assert torch.equal(draw(whole), torch.cat([draw(half) for half in halves]))
    assert not torch.equal(whole.normal("a", 4), whole.normal("b", 4))
