"""What people and machines draw over an image: caliper marks, text, a ruler, a black border.

Of each kind a fixed share of the images, drawn from the image's own stream and listed in phantom.json.
`make_image` draws them, `scan_image` does not: two arms, to see whether a network takes a shortcut.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SHARES = {"calipers": 0.12, "text": 0.15, "ruler": 0.08, "border": 0.06}  # calipers: of the images with a lesion
SIDES = ("RT", "LT", "RT AXILLA", "LT UOQ")
INK = 235


def draw_kinds(rng: np.random.Generator, lesion: bool) -> tuple[str, ...]:
    """Names of the nuisances of one image, in the order in which they are drawn."""
    return tuple(kind for kind, share in SHARES.items() if rng.random() < share and (lesion or kind != "calipers"))


def annotate(
    image: np.ndarray, masks: np.ndarray, kinds: tuple[str, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the nuisances over an image (h, w) uint8 with masks (L, h, w) bool; a border makes both larger."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    height, width = image.shape
    if "calipers" in kinds:
        for axis in (0, 1):
            _caliper(pen, *_ends(masks[0], axis))
    if "text" in kinds:
        words = f"PHANTOM {SIDES[int(rng.integers(len(SIDES)))]}"
        place = (float(rng.uniform(0.05, 0.5)) * width, float(rng.uniform(0.75, 0.92)) * height)
        pen.text(place, words, fill=INK, font=ImageFont.load_default_imagefont())
    if "ruler" in kinds:
        for mark, y in enumerate(range(2, height, max(height // 40, 4))):
            pen.line((width - (8 if mark % 5 == 0 else 4), y, width - 1, y), fill=INK)
    image = np.array(picture)
    if "border" in kinds:
        margin = tuple(int(side) for side in rng.integers(4, 20, 4))
        room = ((margin[0], margin[1]), (margin[2], margin[3]))
        image, masks = np.pad(image, room), np.pad(masks, ((0, 0), *room))
    return image, masks


def _ends(mask: np.ndarray, axis: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two outermost points ((x, y), (x, y)) of a mask along rows (0) or columns (1)."""
    places = np.argwhere(mask)
    first, last = places[places[:, axis].argmin()], places[places[:, axis].argmax()]
    return (int(first[1]), int(first[0])), (int(last[1]), int(last[0]))


def _caliper(pen: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int]) -> None:
    """A dotted line between two crosses."""
    for x, y in (start, end):
        pen.line((x - 4, y, x + 4, y), fill=INK)
        pen.line((x, y - 4, x, y + 4), fill=INK)
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for k in range(0, steps, 4):
        share = k / steps
        pen.point((round(start[0] + share * (end[0] - start[0])), round(start[1] + share * (end[1] - start[1]))), INK)
