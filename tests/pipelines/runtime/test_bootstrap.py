import numpy as np
import pytest

from pipelines.runtime.bootstrap import group_interval


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_constant_values_have_no_width():
    interval = group_interval([0.5] * 6, list("aabbcd"), 200, rng())
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.5, 0.5, 0.5))


def test_agrees_with_the_normal_interval_for_independent_images():
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    interval = group_interval(values, [str(i) for i in range(400)], 4000, rng())
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_copies_of_an_image_in_one_group_make_nothing_more_certain():
    values = np.random.default_rng(2).normal(size=40)
    names = [str(i) for i in range(40)]
    once = group_interval(values, names, 3000, rng())
    ten_times = group_interval(np.repeat(values, 10), np.repeat(names, 10).tolist(), 3000, rng())
    assert ten_times.high - ten_times.low == pytest.approx(once.high - once.low, rel=1e-9)
    as_if_independent = group_interval(np.repeat(values, 10), [str(i) for i in range(400)], 3000, rng())
    assert as_if_independent.high - as_if_independent.low < 0.4 * (once.high - once.low)


def test_seeds_that_disagree_widen_the_interval():
    base = np.random.default_rng(3).normal(size=(60, 1))
    names = [str(i) for i in range(60)]
    same = group_interval(np.repeat(base, 3, axis=1), names, 2000, rng())
    apart = group_interval(base + np.array([[-3.0, 0.0, 3.0]]), names, 2000, rng())
    assert same.mean == pytest.approx(apart.mean)
    assert apart.high - apart.low > same.high - same.low


def test_a_seed_that_is_worse_on_all_images_is_worse_in_all_groups():
    # nothing but the seeds differs: a replicate of three seeds is all bad, or all good, once in 27
    values = np.zeros((60, 1)) + np.array([[-3.0, 0.0, 3.0]])
    interval = group_interval(values, [str(i) for i in range(60)], 2000, rng())
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.0, -3.0, 3.0))


def test_three_seeds_and_thirty_groups_cover_the_true_mean_most_times():
    draw = np.random.default_rng(5)
    names = [str(i) for i in range(30)]
    covered = 0
    for _ in range(200):
        values = 0.7 * draw.normal(size=(30, 1)) + 0.7 * draw.normal(size=(1, 3)) + 0.5 * draw.normal(size=(30, 3))
        interval = group_interval(values, names, 200, draw)
        covered += interval.low < 0.0 < interval.high
    assert covered > 0.7 * 200  # 50% where the seeds are drawn inside each group


@pytest.mark.parametrize("shape", [(30,), (30, 3)])
def test_seeded_and_independent_of_chunks(monkeypatch, shape):
    values = np.random.default_rng(4).normal(size=shape)
    names = [str(i // 2) for i in range(30)]
    first = group_interval(values, names, 500, rng())
    assert group_interval(values, names, 500, rng()) == first
    monkeypatch.setattr("pipelines.runtime.bootstrap.CHUNK", 45)
    assert group_interval(values, names, 500, rng()) == first


@pytest.mark.parametrize(("values", "groups"), [([], []), ([1.0], ["a", "b"]), ([1.0, float("nan")], ["a", "b"])])
def test_what_cannot_be_resampled_is_refused(values, groups):
    with pytest.raises(ValueError, match="group_interval"):
        group_interval(values, groups, 100, rng())
