"""Decoding, resizing and the geometry of the working square: numpy and Pillow only, pure functions."""

from __future__ import annotations

import hashlib
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipelines.runtime.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 64_000_000  # refused from the header, before a pixel is decoded
MIN_SIDE = 64
COLOR_DIFFERENCE, COLOR_SHARE = 12, 0.001


@dataclass(frozen=True)
class Decoded:
    """gray: (h, w) uint8; color: share of pixels whose channels differ by more than 12 levels."""

    gray: np.ndarray
    color: float


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


def decode(path: Path) -> Decoded:
    """Decode a PNG, JPEG, BMP or TIFF file to 8-bit gray, EXIF orientation applied.

    Bilevel becomes 0 / 255, a palette is looked up, alpha is dropped (not composited), RGB becomes luma (ITU-R 601),
    16 bits are scaled by the full range. DataError: unreadable, truncated, animated, floating point, above 64 MP.
    """
    try:
        # Pillow only warns between one and two times its own limit; here every oversized header is refused.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(
                        f"{path.name}: {image.width} x {image.height} pixels; expected at most {MAX_PIXELS // 10**6} "
                        "megapixels; reduce or remove the file"
                    )
                frames = getattr(image, "n_frames", 1)
                if frames > 1:
                    raise DataError(f"{path.name}: {frames} frames; expected one; export the frames as files")
                image.load()
                upright = ImageOps.exif_transpose(image)
                return _to_gray(path.name, upright)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = MAX_PIXELS // 10**6
        raise DataError(f"{path.name}: the header announces more than {limit} megapixels; remove the file") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        reason = str(error).replace(str(path), path.name).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path.name}: does not decode ({reason}); expected a whole PNG, JPEG, BMP or TIFF") from error


def _to_gray(name: str, image: Image.Image) -> Decoded:
    if image.mode in ("1", "L"):
        return Decoded(np.array(image.convert("L")), 0.0)
    if image.mode in ("LA", "La"):
        return Decoded(np.array(image.getchannel(0)), 0.0)
    if image.mode.startswith("I"):
        values = np.array(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{name}: values {values.min()}..{values.max()}; expected 8 or 16 bits; convert the file")
        return Decoded(((values + 128) // 257).astype(np.uint8), 0.0)  # 65535 = 255 * 257
    if image.mode == "F":
        raise DataError(f"{name}: floating point pixels; expected 8 or 16 bits; convert the file")
    # By way of RGBA, so that a palette's transparency is dropped like any other alpha.
    rgb = np.array(image.convert("RGBA") if image.mode in ("P", "PA") else image.convert("RGB"))[..., :3]
    spread = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    gray = np.array(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))
    return Decoded(gray, float((spread > COLOR_DIFFERENCE).mean()))


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
