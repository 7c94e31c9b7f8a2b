"""Copies as sets of ultrasound images have them: for the planted benchmark of duplicates and its tests.

Each kind makes (original, copy), both (h, w) uint8, from one image and a generator; amounts are drawn anew each time.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Make = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def reencode(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return jpeg(image, int(rng.choice((20, 30, 50, 75, 90))))


def six_bits(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (image >> 2 << 2) + np.uint8(2)


def resize(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By .5 to 1.5, and up to 10% more on one axis than on the other."""
    factor, aspect = np.exp(rng.uniform(np.log(0.5), np.log(1.5))), np.exp(rng.uniform(-0.1, 0.1))
    height, width = (
        max(64, round(side * by)) for side, by in zip(image.shape, (factor / aspect, factor * aspect), strict=True)
    )
    resample = FILTERS[rng.integers(len(FILTERS))]
    return np.array(Image.fromarray(image).resize((width, height), resample))


def crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each side loses 0 to 10% of the image."""
    return _crop(image, rng.uniform(0.0, 0.1, 4))


def crop_all_sides(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _crop(image, np.full(4, 0.1))


def _crop(image: np.ndarray, shares: np.ndarray) -> np.ndarray:
    height, width = image.shape
    top, bottom, left, right = (
        round(share * side) for share, side in zip(shares, (height, height, width, width), strict=True)
    )
    return image[top : height - bottom, left : width - right]


def brighten(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma .6 to 1.6, contrast .7 to 1.4 about the mean, gain .7 to 1.4, offset up to 8%; clipped."""
    values = (image / 255.0) ** np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    mean = values.mean()
    values = (values - mean) * np.exp(rng.uniform(np.log(0.7), np.log(1.4))) + mean + rng.uniform(-0.08, 0.08)
    values *= np.exp(rng.uniform(np.log(0.7), np.log(1.4)))
    return np.clip(np.rint(values * 255.0), 0, 255).astype(np.uint8)


def mirror(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1])


def annotate(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two calipers, a dotted line between them, and a word."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    height, width = image.shape
    ends = [(rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height) for _ in range(2)]
    for x, y in ends:
        draw.line((x - 5, y, x + 5, y), fill=255)
        draw.line((x, y - 5, x, y + 5), fill=255)
    for part in np.linspace(0.0, 1.0, 25):
        x, y = (a + part * (b - a) for a, b in zip(*ends, strict=True))
        draw.point((x, y), fill=255)
    draw.text((rng.uniform(0.05, 0.6) * width, rng.uniform(0.7, 0.9) * height), "LT BREAST 2.1 cm", fill=255)
    return np.array(picture)


def speckle(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Multiplicative noise of 15% per pixel."""
    return np.clip(np.rint(image * rng.normal(1.0, 0.15, image.shape)), 0, 255).astype(np.uint8)


def shift_into_fill(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moved by 2 to 8% along one axis or both; what comes in is black, gray, or the repeated border."""
    (height, width), (dy, dx) = image.shape, _shift(image, rng)
    y, x = np.arange(height) - dy, np.arange(width) - dx
    moved = image[np.clip(y, 0, height - 1)][:, np.clip(x, 0, width - 1)].copy()
    fill = (0, int(image.mean()), None)[rng.integers(3)]
    if fill is not None:
        moved[(y < 0) | (y >= height)] = fill
        moved[:, (x < 0) | (x >= width)] = fill
    return moved


def shifted_views(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two windows of one image, 2 to 8% apart: each shows what the other does not."""
    (height, width), (dy, dx) = image.shape, _shift(image, rng)
    first = image[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
    second = image[max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)]
    return first, second


def _shift(image: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    shares = rng.uniform(0.02, 0.08, 2) * rng.choice((-1, 1), 2)
    shares *= ((0, 1), (1, 0), (1, 1))[rng.integers(3)]
    return round(shares[0] * image.shape[0]), round(shares[1] * image.shape[1])


def copied(*steps: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Make:
    """The image itself, and the image after these steps."""

    def make(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        copy = image
        for step in steps:
            copy = step(copy, rng)
        return image, copy

    return make


def reviewed(*steps: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Make:
    """Two shifted views of the image, the second after these steps."""

    def make(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        first, second = shifted_views(image, rng)
        for step in steps:
            second = step(second, rng)
        return first, second

    return make


KINDS: dict[str, Make] = {
    "re-encoded": copied(reencode),
    "6 bits": copied(six_bits),
    "resized": copied(resize),
    "gain, contrast, gamma": copied(brighten),
    "cropped": copied(crop),
    "cropped 10% on all sides": copied(crop_all_sides),
    "shifted into fill": copied(shift_into_fill),
    "shifted, new content": reviewed(),
    "mirrored": copied(mirror),
    "mirrored, cropped, re-encoded": copied(mirror, crop, reencode),
    "mirrored, shifted": reviewed(mirror),
    "cropped, gain, resized, re-encoded": copied(crop, brighten, resize, reencode),
    "shifted, gain, resized, re-encoded": reviewed(brighten, resize, reencode),
    "annotated, cropped": copied(annotate, crop),
    "speckled": copied(speckle),
}
