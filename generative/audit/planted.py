"""Altered copies of train images: does the detector find them on this data? Recall is counted per transform.

Only the pixel rule and the hard rule are applied here, which costs a tenth of all three metrics. The full detector
flags whatever these flag, so the counts are lower bounds of its recall.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from generative.audit.features import hard, pixel_similarity
from generative.audit.memorization import Detector, decide
from generative.audit.verdict import PLANTED, Planted
from pipelines.datasets.descriptors import describe

Transform = Callable[[np.ndarray], np.ndarray]


def shifted(image: np.ndarray, pixels: int) -> np.ndarray:
    """Moved to the right by `pixels` of a 128-pixel image; the edge is repeated."""
    step = max(1, round(pixels * image.shape[1] / 128))
    return np.pad(image, ((0, 0), (step, 0)), mode="edge")[:, : image.shape[1]]


def jpeg(image: np.ndarray, quality: int = 50) -> np.ndarray:
    """Encoded as JPEG and decoded again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.array(Image.open(buffer))


def gain(image: np.ndarray, factor: float) -> np.ndarray:
    """Gray levels times `factor`, clipped."""
    return np.clip(image.astype(np.float64) * factor, 0, 255).round().astype(np.uint8)


def gamma(image: np.ndarray, exponent: float) -> np.ndarray:
    """Gray levels to the power of `exponent` on a scale of 0 to 1."""
    return ((image / 255.0) ** exponent * 255.0).round().astype(np.uint8)


def zoomed(image: np.ndarray, factor: float = 1.05) -> np.ndarray:
    """The middle of the enlarged image."""
    height, width = image.shape
    large = Image.fromarray(image).resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC)
    top, left = (large.height - height) // 2, (large.width - width) // 2
    return np.array(large)[top : top + height, left : left + width]


# transform and the share of copies that must be found
TRANSFORMS: dict[str, tuple[Transform, float]] = {
    "identical": (lambda image: image, 0.99),
    "mirrored": (lambda image: image[:, ::-1], 0.99),
    "shift_4": (lambda image: shifted(image, 4), 0.99),
    "shift_8": (lambda image: shifted(image, 8), 0.99),
    "jpeg_50": (jpeg, 0.99),
    "bits_6": (lambda image: image & 0xFC, 0.99),
    "gain_1.2": (lambda image: gain(image, 1.2), 0.99),
    "gain_0.8": (lambda image: gain(image, 0.8), 0.99),
    "gamma_0.8": (lambda image: gamma(image, 0.8), 0.99),
    "gamma_1.25": (lambda image: gamma(image, 1.25), 0.99),
    "zoom_1.05": (zoomed, 0.95),
    "mirrored_shift_4": (lambda image: shifted(image[:, ::-1], 4), 0.95),
}


def plant(train: np.ndarray, detector: Detector, hard_ncc: float) -> dict[str, Planted]:
    """Recall per transform on train images (R, H, W) uint8: on all, or on 300 spread evenly over them."""
    found = {}
    rows = np.unique(np.linspace(0, len(train) - 1, min(PLANTED, len(train))).round().astype(int))
    originals = describe(train)
    for name, (transform, required) in TRANSFORMS.items():
        copies = np.stack([np.ascontiguousarray(transform(image)) for image in train[rows]])
        aligned = pixel_similarity(copies, train)
        decision = decide({"pixels": aligned}, hard(describe(copies), originals, aligned, hard_ncc), detector)
        # a flag counts where it names the patient that was copied
        right = detector.groups[decision.row] == detector.groups[rows]
        found[name] = Planted(int((decision.flagged & right).sum()), len(rows), required)
    return found
