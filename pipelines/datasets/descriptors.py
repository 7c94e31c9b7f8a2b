"""What images are compared by: sha256 of the pixels, and one canonical thumbnail that all else is computed from.

The thumbnail is the native gray image under a box filter at 128 x 128, 8 bits, whatever the aspect. The 64-bit
perceptual hash, the normalized cross-correlation and the mirrored ones follow from it, so a decision is a function of
what data/prepared holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn

from pipelines.datasets.images import pixel_hash

SIDE = 128  # of the canonical thumbnail
VECTOR_SIDE, HASH_SIDE = 64, 32
BLOCK = 1024  # thumbnails in floating point at a time
CONTRAST = 1e-3  # a norm (of gray levels) below it is rounding about a constant; one level on one pixel has about 1


@dataclass(frozen=True)
class Descriptors:
    """N images. pixels: sha256 of the decoded pixels; thumbnails: (N, 128, 128) uint8, an array or a memory map."""

    pixels: tuple[str, ...]
    thumbnails: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


def canonical(image: np.ndarray) -> np.ndarray:
    """(h, w) uint8 at native size to the (128, 128) uint8 thumbnail."""
    source = Image.fromarray(np.ascontiguousarray(image))
    return np.array(source.resize((SIDE, SIDE), Image.Resampling.BOX))


def describe_one(image: np.ndarray) -> tuple[str, np.ndarray]:
    """sha256 of the pixels, and the thumbnail, of an (h, w) uint8 image."""
    return pixel_hash(image), canonical(image)


def describe(images: Iterable[np.ndarray]) -> Descriptors:
    """Descriptors of (h, w) uint8 images, one at a time, so that a generator may decode them on the way."""
    pixels: list[str] = []
    thumbnails: list[np.ndarray] = []
    for image in images:
        digest, small = describe_one(image)
        pixels.append(digest)
        thumbnails.append(small)
    return Descriptors(tuple(pixels), np.stack(thumbnails) if thumbnails else np.zeros((0, SIDE, SIDE), np.uint8))


def shrink(thumbnails: np.ndarray, side: int) -> np.ndarray:
    """(..., 128, 128) to (..., side, side) float32, block means; side divides 128."""
    factor = SIDE // side
    if factor == 1:
        return thumbnails.astype(np.float32)
    blocks = thumbnails.reshape(*thumbnails.shape[:-2], side, factor, side, factor)
    return blocks.mean(axis=(-3, -1), dtype=np.float32)


def ncc(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Normalized cross-correlation (P,) float64 of two stacks (P, 128, 128) uint8, at 64 x 64; 0 without contrast.

    A value of one pair alone, whatever else is in the stacks: all sums are of whole numbers below 2^53, so they are
    exact in any order.
    """
    factor, count = SIDE // VECTOR_SIDE, VECTOR_SIDE**2
    blocks = (len(first), VECTOR_SIDE, factor, VECTOR_SIDE, factor)
    sums = (stack.reshape(blocks).sum(axis=(2, 4), dtype=np.float64) for stack in (first, second))
    a, b = (stack.reshape(len(first), count) for stack in sums)
    spread_a, spread_b = (count * np.einsum("nd,nd->n", z, z) - z.sum(axis=1) ** 2 for z in (a, b))
    shared = count * np.einsum("nd,nd->n", a, b) - a.sum(axis=1) * b.sum(axis=1)
    # Of sums over blocks, count times their squared norm: CONTRAST is of the norm of block means per pixel of a side.
    least = count * (factor**2 * CONTRAST * VECTOR_SIDE) ** 2
    known = (spread_a > least) & (spread_b > least)
    return np.where(known, shared / np.sqrt(np.where(known, spread_a * spread_b, 1.0)), 0.0)


def perceptual_hashes(thumbnails: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
    """64-bit perceptual hashes (N,) uint64 of (N, 128, 128) uint8, or of their mirror images (left to right).

    32 x 32 block means, DCT-II, top-left 8 x 8, bit = coefficient above the median of the 63 without the DC term;
    row-major, the DC term's bit first.
    """
    parts = [np.zeros(0, np.uint64)]
    for start in range(0, len(thumbnails), BLOCK):
        small = shrink(np.asarray(thumbnails[start : start + BLOCK]), HASH_SIDE)
        parts.append(hash_bits(small[..., ::-1] if mirrored else small))
    return np.concatenate(parts)


def hash_bits(small: np.ndarray) -> np.ndarray:
    """Perceptual hashes (N,) uint64 of (N, 32, 32) block means."""
    coefficients = dctn(small.astype(np.float64), type=2, norm="ortho", axes=(1, 2))[:, :8, :8].reshape(-1, 64)
    bits = coefficients > np.median(coefficients[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def phash64(image: np.ndarray) -> int:
    """The perceptual hash of one (h, w) uint8 image."""
    return int(perceptual_hashes(canonical(image)[None])[0])


def phash_hex(value: int) -> str:
    return f"{value:016x}"


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number of differing bits of two broadcastable uint64 arrays."""
    return np.bitwise_count(np.bitwise_xor(a, b)).astype(np.int64)
