"""Numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.study.statistics import gain, holm, score, wilcoxon_over_groups


def test_holm_by_hand() -> None:
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1, and never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_wilcoxon_by_hand() -> None:
    # five groups, all differences positive: of 2^5 signs one is as extreme on either side
    assert wilcoxon_over_groups(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), list("abcde")) == pytest.approx(2 / 32)
    # ranks 1 and 2 against 3, 4, 5: W = 3; sums of at most 3 are {}, 1, 2, 3 and 1 + 2, so p = 2 * 5 / 32
    assert wilcoxon_over_groups(np.array([-0.1, -0.2, 0.3, 0.4, 0.5]), list("abcde")) == pytest.approx(10 / 32)


def test_wilcoxon_is_over_groups_not_images() -> None:
    # group means 0.1, 0.2, 0.3, 0.4, 0.5 again, from images of which one is negative
    values, groups = [-0.1, 0.3, 0.2, 0.3, 0.4, 0.5], list("aabcde")
    assert wilcoxon_over_groups(np.array(values), groups) == pytest.approx(2 / 32)


def test_no_difference_at_all_is_p_of_one() -> None:
    assert wilcoxon_over_groups(np.zeros(4), list("abcd")) == 1.0


def test_score_by_hand() -> None:
    values = np.array([[0.2, 0.4], [0.6, 0.8]])  # two images, two seeds
    found = score(values, ["a", "a"], 200, "x")
    assert found.mean == pytest.approx(0.5)
    assert found.sd == pytest.approx(0.2 / 2**0.5)  # of the seeds' means 0.4 and 0.6
    assert (found.low, found.high) == pytest.approx((0.4, 0.6))  # one group: only the seeds vary
    assert (found.images, found.groups) == (2, 1)
    assert score(values[:, :1], ["a", "b"], 200, "x").sd is None


def test_gain_is_paired() -> None:
    rng = np.random.default_rng(0)
    second = rng.uniform(size=(12, 3))
    found = gain(second + 0.125, second, [f"g{row // 2}" for row in range(12)], 200, "x")
    assert (found.mean, found.low, found.high) == pytest.approx((0.125,) * 3)
    assert (found.images, found.groups, found.seeds) == (12, 6, 3)
    assert gain(second, second, list("abcdefghijkl"), 200, "x", test=False).p is None
    assert found.p == pytest.approx(2 / 64, abs=0.01)  # rounding breaks the ties of the six equal means


def test_the_same_numbers_each_time() -> None:
    values = np.random.default_rng(1).uniform(size=(9, 2))
    groups = [f"g{row // 3}" for row in range(9)]
    assert score(values, groups, 300, "x") == score(values, groups, 300, "x")
