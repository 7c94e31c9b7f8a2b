"""KID and manifold scores against values known beforehand."""

import numpy as np
import pytest

from generative.audit.fidelity import Cloud, goal, kid, manifold_scores, measure_kid, polynomial_kernel


def names(count: int, prefix: str = "g") -> list[str]:
    return [f"{prefix}{k}" for k in range(count)]


def by_hand(x: np.ndarray, y: np.ndarray, gx: list[str], gy: list[str]) -> float:
    """The definition, pair by pair."""

    def mean(a: np.ndarray, b: np.ndarray, ga: list[str], gb: list[str]) -> float:
        values = [
            (float(a[i] @ b[j]) / a.shape[1] + 1.0) ** 3 for i in range(len(a)) for j in range(len(b)) if ga[i] != gb[j]
        ]
        return sum(values) / len(values)

    return mean(x, x, gx, gx) + mean(y, y, gy, gy) - 2.0 * mean(x, y, gx, gy)


def test_kernel_by_hand() -> None:
    x, y = np.array([[1.0, 2.0]]), np.array([[3.0, 0.5]])
    assert polynomial_kernel(x, y)[0, 0] == pytest.approx((4.0 / 2.0 + 1.0) ** 3)


@pytest.mark.parametrize(
    ("gx", "gy"),
    [
        (["a", "b", "c", "d"], ["e", "f", "g"]),
        (["a", "a", "b", "c"], ["c", "d", "d"]),  # twins inside a set, and one patient on both sides
    ],
)
def test_kid_equals_the_sum_over_pairs_of_different_groups(gx: list[str], gy: list[str]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 5)), rng.normal(1.0, size=(3, 5))
    assert kid(x, y, gx, gy) == pytest.approx(by_hand(x, y, gx, gy), rel=1e-12)


def test_kid_is_unbiased_on_equal_gaussians() -> None:
    rng = np.random.default_rng(1)
    values = [kid(rng.normal(size=(20, 16)), rng.normal(size=(30, 16)), names(20), names(30, "h")) for _ in range(300)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3.0 * error
    assert min(values) < 0.0 < max(values)


def test_kid_matches_the_expectation_for_a_shifted_mean() -> None:
    # x ~ N(0, I), y ~ N(m, I): k is a cubic, so E k = 1 + 3 E u^2 + (3 E u + E u^3) with u = x.x' / d, by its moments
    d, shift, rng = 8, 0.7, np.random.default_rng(2)
    mu = shift**2  # E u for y, y'
    second_y = (d * (1 + shift**2) ** 2 + d * (d - 1) * shift**4) / d**2  # E u^2 = sum over E y_i^2 y_j^2 ...
    third_y = float(np.mean([(rng.normal(shift, 1, d) @ rng.normal(shift, 1, d) / d) ** 3 for _ in range(200_000)]))
    within_x = 1.0 + 3.0 / d
    within_y = 1.0 + 3.0 * mu + 3.0 * second_y + third_y
    cross = 1.0 + 3.0 * (1.0 + shift**2) / d
    expected = within_x + within_y - 2.0 * cross
    rng = np.random.default_rng(3)
    values = [
        kid(rng.normal(size=(60, d)), rng.normal(shift, 1.0, size=(60, d)), names(60), names(60, "h"))
        for _ in range(60)
    ]
    assert np.mean(values) == pytest.approx(expected, abs=4.0 * np.std(values) / np.sqrt(60) + 0.05)


def test_floor_paired_with_its_own_images_is_not_below_zero() -> None:
    rng = np.random.default_rng(4)
    h = rng.normal(size=(150, 64))
    groups = names(150)
    paired = kid(h + rng.normal(0.0, 0.05, size=h.shape), h, groups, groups)
    naive = kid(h + rng.normal(0.0, 0.05, size=h.shape), h, names(150, "r"), groups)
    assert abs(paired) < 0.01
    assert naive < -0.05  # the mistake that the exclusion avoids


def test_measured_distances_and_interval() -> None:
    rng = np.random.default_rng(5)
    draw = lambda n, mean: rng.normal(mean, 1.0, size=(n, 32))  # noqa: E731
    held_out = Cloud(draw(60, 0.0), np.array(names(60, "h")))
    train = Cloud(draw(200, 0.0), np.array(names(200, "t")))
    found = measure_kid(
        draw(90, 0.4), train, held_out, held_out.features, draws=10, bootstrap=200, rng=np.random.default_rng(0)
    )
    assert (found.n, found.groups) == (60, 60)
    assert found.kid is not None
    assert found.kid_real is not None
    assert found.kid_floor is not None
    assert found.gap is not None
    assert found.gap_low is not None
    assert found.gap_high is not None
    assert found.kid > 0.2
    assert abs(found.kid_real) < 0.05
    assert abs(found.kid_floor) < 0.05
    assert found.gap == pytest.approx(found.kid - found.kid_real)
    assert 0.0 < found.gap_low < found.gap < found.gap_high
    assert goal(found) == "not decided"  # 60 groups
    again = measure_kid(
        draw(90, 0.0), train, held_out, held_out.features, draws=10, bootstrap=200, rng=np.random.default_rng(0)
    )
    assert again.kid is not None
    assert abs(again.kid) < 0.05


@pytest.mark.parametrize(("mean", "expected"), [(0.0, "met"), (0.5, "missed")])
def test_goal_is_decided_with_enough_groups(mean: float, expected: str) -> None:
    rng = np.random.default_rng(6)
    held_out = Cloud(rng.normal(size=(90, 16)), np.array(names(90, "h")))
    train = Cloud(rng.normal(size=(120, 16)), np.array(names(120, "t")))
    floor = held_out.features + rng.normal(0.3, 0.1, size=(90, 16))  # a decoder that shifts all features
    found = measure_kid(rng.normal(mean, 0.9, size=(300, 16)), train, held_out, floor, draws=5, bootstrap=100, rng=rng)
    assert goal(found) == expected


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_held_out_groups_give_no_number(count: int) -> None:
    rng = np.random.default_rng(7)
    held_out = Cloud(rng.normal(size=(count, 8)), np.array(["one"] * count, dtype=str))
    train = Cloud(rng.normal(size=(9, 8)), np.array(names(9)))
    found = measure_kid(rng.normal(size=(9, 8)), train, held_out, held_out.features, draws=2, bootstrap=100, rng=rng)
    assert found.kid is None
    assert goal(found) == "not decided"


def test_manifold_scores_of_known_sets() -> None:
    rng = np.random.default_rng(8)
    real = rng.normal(size=(60, 4))
    same = manifold_scores(rng.normal(size=(80, 4)), real, k=3, draws=5, rng=rng)
    assert all(value is not None and value > 0.6 for value in same.values())
    far = manifold_scores(rng.normal(50.0, 1.0, size=(60, 4)), real, k=3, draws=2, rng=rng)
    assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}
    point = np.repeat(real[:1], 60, axis=0) + rng.normal(0.0, 1e-4, size=(60, 4))  # collapsed onto one image
    collapsed = manifold_scores(point, real, k=3, draws=2, rng=rng)
    assert collapsed["precision"] == 1.0
    assert collapsed["recall"] is not None
    assert collapsed["recall"] < 0.1
    assert collapsed["coverage"] is not None
    assert collapsed["coverage"] < 0.3


def test_manifold_scores_need_images() -> None:
    rng = np.random.default_rng(9)
    assert set(manifold_scores(rng.normal(size=(9, 4)), rng.normal(size=(60, 4)), k=3, draws=1, rng=rng).values()) == {
        None
    }
