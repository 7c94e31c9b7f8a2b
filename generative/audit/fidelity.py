"""How near the samples are to held-out real images: KID with its floor and its reference, precision and recall.

Every number is against held-out images H, never against the images that the generator was trained on: a distance to
those would reward copying. It is read only beside the verdict on memorization.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 256  # bootstrap draws held at once


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """k(x, y) = (x.y / d + 1)^3 (Binkowski et al. 2018, section 3): (n, d), (m, d) -> (n, m) float64."""
    return (x.astype(np.float64) @ y.astype(np.float64).T / x.shape[1] + 1.0) ** 3


def different(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) bool: rows of different groups."""
    return a[:, None] != b[None, :]


def kid(x: np.ndarray, y: np.ndarray, x_groups: Sequence[str], y_groups: Sequence[str]) -> float:
    """Unbiased squared maximum mean discrepancy of features (n, d) and (m, d), over pairs of different groups only.

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y) (Gretton et al. 2012, equation 3; Binkowski et al. 2018). Excluding
    pairs of one group keeps it unbiased where images of one patient repeat, or where y is made of the images of x
    (reconstructions). About 0 for equal distributions, and below 0 as often as above. NaN without a pair.
    """
    a, b = np.asarray(x_groups), np.asarray(y_groups)
    weights = np.ones((1, len(x))), np.ones((1, len(y)))
    within_x = _weighted_mean(polynomial_kernel(x, x), different(a, a), weights[0], weights[0])
    within_y = _weighted_mean(polynomial_kernel(y, y), different(b, b), weights[1], weights[1])
    across = _weighted_mean(polynomial_kernel(x, y), different(a, b), *weights)
    return float((within_x + within_y - 2.0 * across)[0])


def _weighted_mean(kernel: np.ndarray, mask: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mean of kernel[i, j] over mask[i, j] with multiplicities left (B, n), right (B, m); (B,), NaN without pairs."""
    pairs = ((left @ mask) * right).sum(axis=1)
    total = ((left @ np.where(mask, kernel, 0.0)) * right).sum(axis=1)
    return np.divide(total, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


@dataclass(frozen=True)
class Cloud:
    """Features (n, d) of one set of images and the group of each."""

    features: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Fidelity:
    """Distances to H, each the mean over draws of equal size `n`.

    kid: samples; kid_floor: reconstructions of H; kid_real: train images. gap = KID(X, H) - KID(train, H), of samples
    (with its 95% interval) and of the floor; real_sd: bootstrap deviation of kid_real. None where n permits nothing.
    """

    n: int
    groups: int
    kid: float | None
    kid_floor: float | None
    kid_real: float | None
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    gap_floor: float | None
    real_sd: float | None


def measure_kid(
    samples: np.ndarray,
    train: Cloud,
    held_out: Cloud,
    floor: np.ndarray,
    *,
    draws: int,
    bootstrap: int,
    rng: np.random.Generator,
) -> Fidelity:
    """KID of samples (s, d), train images and reconstructions `floor` (h, d) of H against H (h, d).

    All sides have n = min(s, t, h) images, drawn anew in each of `draws` draws; the point values are means over them.
    The bootstrap draws n images, and of their groups with replacement, each sample being a group of its own. H has the
    same multiplicities in all three distances of a draw, so its noise cancels in the gap.
    """
    own = np.array([f"sample {k}" for k in range(len(samples))])
    sets = {"samples": Cloud(samples, own), "train": train, "floor": Cloud(floor, held_out.groups), "real": held_out}
    n = min(len(samples), len(train.features), len(held_out.features))
    groups = len(np.unique(held_out.groups))
    if n < 2 or groups < 2:
        return Fidelity(n, groups, *[None] * 8)
    kernels = {name: _Kernels(cloud, held_out) for name, cloud in sets.items() if name != "real"}
    within = polynomial_kernel(held_out.features, held_out.features), different(held_out.groups, held_out.groups)

    def distances(count: int, resample: bool) -> dict[str, np.ndarray]:
        parts: dict[str, list[np.ndarray]] = {name: [] for name in kernels}
        for start in range(0, count, CHUNK):
            here = min(CHUNK, count - start)
            weights = {
                name: _weights(sets[name].groups, n, here, resample, rng) for name in ("samples", "train", "real")
            }
            weights["floor"] = weights["real"]  # the reconstruction of each drawn image
            real = _weighted_mean(*within, weights["real"], weights["real"])
            for name, kernel in kernels.items():
                parts[name].append(kernel.distance(weights[name], weights["real"], real))
        return {name: np.concatenate(values) for name, values in parts.items()}

    point = {name: float(np.nanmean(values)) for name, values in distances(draws, resample=False).items()}
    spread = distances(bootstrap, resample=True)
    gap = spread["samples"] - spread["train"]
    low, high = np.nanpercentile(gap, [2.5, 97.5])
    return Fidelity(
        n=n,
        groups=groups,
        kid=point["samples"],
        kid_floor=point["floor"],
        kid_real=point["train"],
        gap=point["samples"] - point["train"],
        gap_low=float(low),
        gap_high=float(high),
        gap_floor=point["floor"] - point["train"],
        real_sd=float(np.nanstd(spread["train"])),
    )


class _Kernels:
    """Kernel matrices of one set against itself and against H, computed once for all draws."""

    def __init__(self, cloud: Cloud, held_out: Cloud) -> None:
        self.own = polynomial_kernel(cloud.features, cloud.features), different(cloud.groups, cloud.groups)
        self.cross = polynomial_kernel(cloud.features, held_out.features), different(cloud.groups, held_out.groups)

    def distance(self, left: np.ndarray, right: np.ndarray, real: np.ndarray) -> np.ndarray:
        """(B,) KID with multiplicities left (B, n), right (B, h); real (B,) is the mean kernel inside H."""
        return _weighted_mean(*self.own, left, left) + real - 2.0 * _weighted_mean(*self.cross, left, right)


def _weights(groups: np.ndarray, n: int, count: int, resample: bool, rng: np.random.Generator) -> np.ndarray:
    """(count, N) multiplicities: n rows drawn without replacement; with `resample` their groups are drawn again."""
    weights = np.zeros((count, len(groups)))
    labels = np.unique(groups, return_inverse=True)[1]
    for draw in weights:
        rows = rng.permutation(len(groups))[:n] if n < len(groups) else np.arange(len(groups))
        if resample:
            present, where = np.unique(labels[rows], return_inverse=True)
            drawn = np.bincount(rng.integers(len(present), size=len(present)), minlength=len(present))
            draw[rows] = drawn[where]
        else:
            draw[rows] = 1.0
    return weights


def goal(fidelity: Fidelity, needed_groups: int = 80) -> str:
    """ "met", "missed" or "not decided": the upper bound of the samples' gap is at most the floor's gap plus one sd."""
    if fidelity.gap_high is None or fidelity.gap_floor is None or fidelity.real_sd is None:
        return "not decided"
    if fidelity.groups < needed_groups:
        return "not decided"
    return "met" if fidelity.gap_high <= fidelity.gap_floor + fidelity.real_sd else "missed"


def manifold_scores(
    samples: np.ndarray, real: np.ndarray, *, k: int, draws: int, rng: np.random.Generator
) -> Mapping[str, float | None]:
    """Precision, recall, density, coverage (Kynkaanniemi et al. 2019; Naeem et al. 2020), mean over draws of equal n.

    A ball reaches from each image to its k-th neighbor of its own set. precision: samples in a ball of real images;
    recall: real images in a ball of samples; density: balls of real images around a sample, over k; coverage: real
    images whose ball holds a sample. None below 10 k images of either set: such balls say nothing.
    """
    n = min(len(samples), len(real))
    if n < 10 * k:
        return dict.fromkeys(("precision", "recall", "density", "coverage"))
    scores = []
    for _ in range(draws):
        s = samples[rng.permutation(len(samples))[:n]]
        h = real[rng.permutation(len(real))[:n]]
        cross = _distances(s, h)
        radius_s, radius_h = (np.partition(_distances(a, a), k, axis=1)[:, k] for a in (s, h))
        in_real, in_sample = cross <= radius_h[None, :], cross <= radius_s[:, None]
        scores.append(
            (
                in_real.any(axis=1).mean(),
                in_sample.any(axis=0).mean(),
                in_real.sum(axis=1).mean() / k,
                in_real.any(axis=0).mean(),
            )
        )
    means = np.mean(scores, axis=0)
    return dict(zip(("precision", "recall", "density", "coverage"), map(float, means), strict=True))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) Euclidean distances."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    return np.sqrt(np.clip(squares, 0.0, None))
