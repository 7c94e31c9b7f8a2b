"""Decoding, resizing and the geometry of the working square: numpy and Pillow only, pure functions."""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from pipelines.runtime.errors import DataError

T = TypeVar("T")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS, MAX_SIDE = 64_000_000, 20_000  # refused from the header, before a pixel is decoded
# what Pillow raises on damaged files, beside its own errors
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, LookupError, TypeError, ArithmeticError)
MIN_SIDE = 64
MIN_DEEP = 4096  # 16-bit files whose values stay below hold 8 or 12 bits: scaled by 65535 they would be near black
COLOR_DIFFERENCE, COLOR_SHARE = 12, 0.001


class ImageFault(DataError):
    """A file that gives no pixels; check: `unreadable`, `dimensions` or `value range` of the integrity check."""

    def __init__(self, check: str, name: str, expected: str, found: str, remedy: str) -> None:
        super().__init__(f"{name}: expected {expected}, found {found}; {remedy}")
        self.check, self.expected, self.found, self.remedy = check, expected, found, remedy


@dataclass(frozen=True)
class Decoded:
    """gray: (h, w) uint8; color: share of pixels whose channels differ by more than 12 levels; deep: the largest value
    of a file of 16 bits, before it was scaled, 0 of any other.
    """

    gray: np.ndarray
    color: float
    deep: int = 0


@dataclass(frozen=True)
class Box:
    """Where the image lies inside the working square, in working pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings: what it only warns of, a bomb or torn EXIF, is refused or ignored here by rule.

    The filters belong to the process, so a pool of threads is started inside one `quiet` and uses `read_pixels`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(path: Path) -> Decoded:
    """Decode a PNG, JPEG, BMP or TIFF file to 8-bit gray, EXIF orientation applied.

    Bilevel becomes 0 / 255, a palette is looked up, alpha is dropped (not composited), RGB becomes luma (ITU-R 601),
    16 bits are scaled by the full range. ImageFault: unreadable, truncated, animated, floating point, above 64 MP or
    20 000 pixels per side, 16 bits of which fewer than 13 are used.
    """
    with quiet():
        return read_pixels(path, to_gray)


def read_pixels(path: Path, convert: Callable[[str, Image.Image], T]) -> T:
    """convert(name, upright image) of a file whose header was found sound; ImageFault as `decode` says."""
    return convert(path.name, _load(path))


def _load(path: Path) -> Image.Image:
    """The one frame of a file, decoded whole and upright."""
    name = path.name
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_header(name, image)
            image.load()
            return ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageFault("dimensions", name, *_limits("a header of many more"), "remove the file") from None
    except UNREADABLE as error:
        reason = str(error).replace(str(path), name).splitlines()[0] if str(error) else type(error).__name__
        expected, remedy = "a whole PNG, JPEG, BMP or TIFF file", "fetch it again or remove it"
        raise ImageFault("unreadable", name, expected, f"one that does not decode ({reason})", remedy) from error


def check_header(name: str, image: Image.Image) -> None:
    """ImageFault for an opened file, not yet decoded, with absurd dimensions or several frames."""
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise ImageFault("dimensions", name, *_limits(f"{image.width} x {image.height}"), "reduce or remove the file")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ImageFault("unreadable", name, "one frame", f"{frames} frames", "export the frames as files")


def _limits(found: str) -> tuple[str, str]:
    return f"at most {MAX_PIXELS // 10**6} megapixels and {MAX_SIDE} pixels per side", found


def to_gray(name: str, image: Image.Image) -> Decoded:
    """An opened image to 8-bit gray; the rules of `decode`."""
    if image.mode in ("1", "L"):
        return Decoded(np.array(image.convert("L")), 0.0)
    if image.mode in ("LA", "La"):
        return Decoded(np.array(image.getchannel(0)), 0.0)
    if image.mode.startswith("I"):
        values = np.array(image).astype(np.int64)
        found = f"values {values.min()} to {values.max()}"
        if values.min() < 0 or values.max() > 65535:
            raise ImageFault("value range", name, "8 or 16 bits", found, "convert the file")
        if 0 < values.max() < MIN_DEEP:
            expected, remedy = f"a 16-bit file with values of {MIN_DEEP} and more", "scale it to 0 ... 65535 or 8 bits"
            raise ImageFault("value range", name, expected, found, remedy)
        return Decoded(((values + 128) // 257).astype(np.uint8), 0.0, int(values.max()))  # 65535 = 255 * 257
    if image.mode == "F":
        raise ImageFault("value range", name, "8 or 16 bits", "floating point pixels", "convert the file")
    # By way of RGBA, so that a palette's transparency is dropped like any other alpha.
    rgb = Image.merge("RGB", (image.convert("RGBA") if image.mode in ("P", "PA") else image.convert("RGB")).split()[:3])
    red, green, blue = (np.array(channel) for channel in rgb.split())
    # channel by channel: a reduction over an axis of three is ten times slower
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return Decoded(np.array(rgb.convert("L")), float((spread > COLOR_DIFFERENCE).mean()))


def to_values(name: str, image: Image.Image) -> np.ndarray:
    """(h, w) int64 labels of a label map: gray values or palette indices as they are, never looked up or scaled.

    ImageFault (value range): floating point, or colors.
    """
    if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
        channels = np.array(image.convert("RGB"))
        if (channels != channels[..., :1]).any():
            raise ImageFault("value range", name, "one label per pixel, gray or palette", "colors", "convert the file")
        return channels[..., 0].astype(np.int64)
    if image.mode == "F":
        raise ImageFault("value range", name, "whole numbers", "floating point pixels", "convert the file")
    plane = image.getchannel(0) if image.mode in ("LA", "La", "PA") else image
    return np.array(plane).astype(np.int64)


def decode_image(path: Path) -> np.ndarray:
    """(h, w) uint8 gray; errors as in `decode`."""
    return decode(path).gray


def decode_mask(path: Path) -> np.ndarray:
    """(h, w) bool foreground of a binary mask file: gray > 127, right for 0/255, JPEG and resampled masks alike."""
    return decode(path).gray > 127


def pixel_hash(image: np.ndarray) -> str:
    """sha256 over shape and pixels of an (h, w) uint8 image: equal for the same pixels in another file format."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def box_of(height: int, width: int, size: int, resize: str) -> Box:
    """Place of a native (height, width) image in the working square: all of it for stretch, centered for letterbox."""
    if resize == "stretch":
        return Box(0, 0, size, size)
    if resize != "letterbox":
        raise DataError(f"resize {resize!r}: expected stretch or letterbox")
    longest = max(height, width)
    inner_height, inner_width = max(1, round(height * size / longest)), max(1, round(width * size / longest))
    return Box((size - inner_height) // 2, (size - inner_width) // 2, inner_height, inner_width)


def resize_image(image: np.ndarray, size: int, resize: str = "stretch") -> np.ndarray:
    """(h, w) uint8 to (size, size) uint8 with a triangle filter (antialiased when shrinking); padding is 0."""
    box = box_of(image.shape[0], image.shape[1], size, resize)
    return _place(Image.fromarray(image), box, size, Image.Resampling.BILINEAR)


def resize_label(label: np.ndarray, size: int, resize: str = "stretch") -> np.ndarray:
    """(h, w) uint8 label map to (size, size) uint8, nearest neighbor; padding is background."""
    box = box_of(label.shape[0], label.shape[1], size, resize)
    return _place(Image.fromarray(label), box, size, Image.Resampling.NEAREST)


def _place(image: Image.Image, box: Box, size: int, resample: Image.Resampling) -> np.ndarray:
    square = np.zeros((size, size), np.uint8)
    square[box.slices] = np.array(image.resize((box.width, box.height), resample))
    return square


def inner_box(case: dict[str, str]) -> Box:
    """The image's place in the working square from a row of cases.csv."""
    return Box(*(int(case[f"inner_{key}"]) for key in ("top", "left", "height", "width")))


def valid_region(case: dict[str, str], size: int) -> np.ndarray:
    """(size, size) bool: True where the working square shows the image, False in the padding of a letterbox."""
    region = np.zeros((size, size), bool)
    region[inner_box(case).slices] = True
    return region


def to_native(probability: np.ndarray, case: dict[str, str]) -> np.ndarray:
    """Map an (H, W) float map at working size back to the native (h, w): padding removed, then bilinear."""
    inner = np.ascontiguousarray(probability[inner_box(case).slices], dtype=np.float32)
    native = Image.fromarray(inner).resize((int(case["width"]), int(case["height"])), Image.Resampling.BILINEAR)
    return np.array(native)
