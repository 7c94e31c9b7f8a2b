"""What the generator must beat: a blur of equal rate, its own first loss, the gray levels of real images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape: 10 log10(255^2 / MSE); inf when equal."""
    if a.shape != b.shape:
        raise ValueError(f"psnr: expected arrays of one shape, found {a.shape} and {b.shape}")
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0.0 else 10.0 * math.log10(255.0**2 / error)


def mean_psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over images of the PSNR in dB; a, b: (N, H, W) uint8."""
    return float(np.mean([psnr(x, y) for x, y in zip(a, b, strict=True)]))


def blur_of_equal_rate(gray: np.ndarray, numbers: int) -> np.ndarray:
    """The baseline of an autoencoder with `numbers` latent values per image: a thumbnail of as many pixels, enlarged.

    gray: (N, H, W) uint8 -> (N, H, W) uint8. The thumbnail has side ceil(sqrt(numbers)) (so it never holds fewer
    numbers than the latent), each pixel the mean of its area and unrounded; bicubic up. With f = 4 and 4 channels an
    image of 64 x 64 becomes 32 x 32 = 1024 numbers. A thumbnail as large as the image returns the image.
    """
    side = min(math.ceil(math.sqrt(numbers)), *gray.shape[1:])
    height, width = gray.shape[1:]
    blurred = []
    for image in gray:
        small = Image.fromarray(image.astype(np.float32)).resize((side, side), Image.Resampling.BOX)
        large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
        blurred.append(np.clip(np.rint(large), 0, 255).astype(np.uint8))
    return np.stack(blurred)


def loss_ratio(losses: Sequence[float], head: float = 0.02, tail: float = 0.1) -> float:
    """Mean of the last `tail` share of a learning curve over the mean of its first `head` share (at least 1 value)."""
    if len(losses) < 2:
        raise ValueError(f"loss_ratio: expected at least 2 values, found {len(losses)}")
    first = losses[: max(1, round(head * len(losses)))]
    last = losses[-max(1, round(tail * len(losses))) :]
    return (sum(last) / len(last)) / (sum(first) / len(first))


def gray_statistics(gray: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the gray levels of all pixels, each in 0 ... 255, of (N, H, W) uint8."""
    return float(gray.mean(dtype=np.float64)), float(gray.std(dtype=np.float64))
