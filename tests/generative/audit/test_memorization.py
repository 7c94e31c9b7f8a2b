"""Thresholds, ratios by group, the excess and its bounds, on hand-made similarities."""

import numpy as np
import pytest

from generative.audit.memorization import (
    Detector,
    binomial_lower,
    binomial_upper,
    decide,
    excess,
    rank_chance,
    same_group,
    threshold,
)


def test_own_group_is_left_out() -> None:
    assert same_group(["a", "b"], ["a", "b", "b"]).tolist() == [[True, False, False], [False, True, True]]


def test_threshold_leaves_at_most_the_rest_above_it() -> None:
    values = np.arange(1, 21) / 20.0
    assert threshold(values, 0.95) == pytest.approx(0.95)
    assert (values > threshold(values, 0.95)).mean() == pytest.approx(0.05)
    assert threshold(np.array([0.1, 0.9]), 0.95) == 0.9


def judge_one(row: list[float], groups: list[str], hard: bool = False) -> tuple[bool, str, int]:
    detector = Detector({"pixels": 0.8}, 1 / 3, np.array(groups))
    table = np.array([row])
    copies = np.zeros_like(table, dtype=bool)
    copies[0, int(np.argmax(row))] = hard
    found = decide({"pixels": table}, copies, detector)
    return bool(found.flagged[0]), str(found.metric[0]), int(found.row[0])


@pytest.mark.parametrize(
    ("row", "groups", "flagged"),
    [
        ([0.95, 0.60, 0.10], ["a", "b", "c"], True),  # .05 / .40
        ([0.95, 0.94, 0.60], ["a", "a", "b"], True),  # a duplicate of the copied image hides nothing
        ([0.95, 0.94, 0.60], ["a", "b", "c"], False),  # two patients are equally near: nothing stands out
        ([0.79, 0.10, 0.10], ["a", "b", "c"], False),  # stands out, but real images are as near
        ([0.85, 0.55, 0.10], ["a", "b", "c"], False),  # .15 / .45 is not below 1/3
        ([0.85, 0.54, 0.10], ["a", "b", "c"], True),
    ],
)
def test_flag_needs_similarity_and_a_small_ratio_between_groups(
    row: list[float], groups: list[str], flagged: bool
) -> None:
    assert judge_one(row, groups) == (flagged, "pixels", 0)


def test_hard_copy_is_flagged_whatever_the_ratio() -> None:
    assert judge_one([0.97, 0.96, 0.95], ["a", "b", "c"], hard=True) == (True, "hard", 0)


def test_similarity_and_ratio_must_hold_on_the_same_metric() -> None:
    detector = Detector({"pixels": 0.8, "features": 0.8}, 1 / 3, np.array(["a", "b"]))
    above, apart, copy = [0.90, 0.89], [0.70, 0.00], [0.10, 0.97]
    tables = {"pixels": np.array([above, above]), "features": np.array([apart, copy])}
    found = decide(tables, np.zeros((2, 2), bool), detector)
    assert found.flagged.tolist() == [False, True]
    assert found.metric.tolist() == ["pixels", "features"]
    assert found.row.tolist() == [0, 1]


def many(
    samples: np.ndarray, reference: np.ndarray, groups: list[str] | None = None, seed: int = 0
) -> tuple[float, ...]:
    groups = groups or [f"g{k}" for k in range(len(reference))]
    found = excess(samples, reference, groups, quantile=0.95, level=0.95, draws=1000, rng=np.random.default_rng(seed))
    return found.value, found.low, found.high


def test_excess_by_hand() -> None:
    reference = np.arange(1, 21) / 20.0  # tau .95, one image above
    value, _, _ = many(np.array([0.5, 0.96, 0.97, 0.99]), reference)
    assert value == pytest.approx(0.75 - 0.05)


def test_interval_has_the_derived_width() -> None:
    # 400 reference and 1000 synthetic images of one distribution: about +- 2.5 points (shares of 5%, two binomials)
    rng = np.random.default_rng(0)
    found = [many(rng.uniform(size=1000), rng.uniform(size=400)) for _ in range(10)]
    assert all(low < value < high for value, low, high in found)
    assert np.mean([(high - low) / 2.0 for _, low, high in found]) == pytest.approx(0.025, abs=0.003)


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    patients = rng.uniform(size=40)
    reference = np.repeat(patients, 10) + rng.uniform(0, 1e-3, size=400)
    samples = rng.uniform(size=1000)
    _, low, high = many(samples, reference)
    _, low_by_group, high_by_group = many(samples, reference, [f"g{k // 10}" for k in range(400)])
    assert high_by_group - low_by_group > 1.5 * (high - low)


def test_equal_distributions_rarely_exceed() -> None:
    rng = np.random.default_rng(2)
    above = [many(rng.uniform(size=120), rng.uniform(size=150), seed=k)[1] > 0.01 for k in range(30)]
    assert sum(above) <= 2


def test_copies_exceed() -> None:
    rng = np.random.default_rng(3)
    copies = np.concatenate([rng.uniform(size=100), np.full(30, 1.1)])
    _, low, _ = many(copies, rng.uniform(size=150))
    assert low > 0.01


def test_resampled_shares_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(4)
    reference, samples = rng.normal(size=30).round(1), rng.normal(size=20).round(1)  # with ties
    groups = [f"g{k % 11}" for k in range(30)]
    fast = excess(samples, reference, groups, quantile=0.9, level=0.9, draws=4000, rng=np.random.default_rng(0))
    labels, loop = np.unique(groups, return_inverse=True)[1], np.random.default_rng(1)
    slow = []
    for _ in range(4000):
        drawn = loop.integers(11, size=11)
        real = np.concatenate([reference[labels == k] for k in drawn])
        made = samples[loop.integers(20, size=20)]
        tau = threshold(real, 0.9)
        slow.append((made > tau).mean() - (real > tau).mean())
    assert fast.low == pytest.approx(np.quantile(slow, 0.05), abs=0.02)
    assert fast.high == pytest.approx(np.quantile(slow, 0.95), abs=0.02)


@pytest.mark.parametrize(
    ("found", "count", "upper"), [(0, 300, 0.00994), (1, 500, 0.00945), (24, 3400, 0.00991), (3, 3, 1.0)]
)
def test_clopper_pearson_upper(found: int, count: int, upper: float) -> None:
    assert binomial_upper(found, count) == pytest.approx(upper, abs=5e-5)


def test_rank_chance_by_counting() -> None:
    assert rank_chance(0, 5, 1, 9) == pytest.approx(1.0)
    assert rank_chance(1, 1, 0, 1) == pytest.approx(1 / 2)  # one new value above the one old value
    assert rank_chance(2, 2, 0, 3) == pytest.approx(1 / 10)  # both new values are the largest of five: 1 / C(5, 2)
    rng = np.random.default_rng(0)
    counts = [(rng.uniform(size=20) > np.sort(rng.uniform(size=16))[-2]).sum() for _ in range(20_000)]
    assert rank_chance(6, 20, 1, 16) == pytest.approx(np.mean(np.array(counts) >= 6), abs=0.01)


@pytest.mark.parametrize("sizes", [(24, 16), (20, 32), (64, 64)])
def test_noise_of_small_runs_is_no_excess(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    shown = 0
    for _ in range(200):
        found = excess(
            rng.uniform(size=sizes[0]),
            rng.uniform(size=sizes[1]),
            np.arange(sizes[1]).astype(str),
            quantile=0.95,
            level=1.0 - 0.05 / 3,
            draws=100,
            rng=rng,
        )
        shown += found.low > 0.01 and found.chance < 0.025 / 3
    assert shown <= 5  # 1.7 are expected


def test_clopper_pearson_lower_mirrors_the_upper() -> None:
    assert binomial_lower(300, 300) == pytest.approx(0.9901, abs=1e-4)  # no miss of 300 planted copies
    assert binomial_lower(7, 50) == pytest.approx(1.0 - binomial_upper(43, 50))
    assert binomial_lower(0, 9) == 0.0
