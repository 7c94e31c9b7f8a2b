"""Small pictures for tests: tissue-like scenes, lesions, and headers that lie."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from scipy.ndimage import gaussian_filter

HEIGHT, WIDTH = 90, 120


def scene(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth noise, (height, width) uint8."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), 6)
    return np.clip(120 + 40 * noise / noise.std(), 10, 240).astype(np.uint8)


def disc(height: int = HEIGHT, width: int = WIDTH, radius: int = 20) -> np.ndarray:
    """A white disc in the middle, (height, width) uint8 of 0 and 255."""
    y, x = np.mgrid[:height, :width]
    return (np.hypot(y - height / 2, x - width / 2) < radius) * np.uint8(255)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces so many pixels and holds one byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
