"""Seconds that one phantom image takes on one thread, against the target of .3 s per 256 x 256 image and core.

python -m benchmarks.phantom [--images 24] [--montage docs/images/phantom.png]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from PIL import Image

from pipelines.datasets.phantom.emission import emit
from pipelines.datasets.phantom.image import make_image
from pipelines.datasets.phantom.plan import plan

CLASSES = ("benign", "malignant", "normal")
TARGET, PIXELS = 0.3, 256 * 256  # s of one core, per image of so many pixels


def measure(site: str, images: int) -> None:
    """Print median and slowest CPU seconds of `images` images of a site, and the ratio to the target.

    The images are a little larger than 256 x 256; the seconds are not scaled down for that.
    """
    views = [view for view in plan(0, 12 * images, CLASSES, 0.5) if view.site == site][: images + 1]
    seconds, sizes = [], []
    for view in views:
        started = time.process_time()
        made = make_image(0, view)
        seconds.append(time.process_time() - started)
        sizes.append(made.image.size / PIXELS)
    del seconds[0], sizes[0]  # warms caches up
    median, worst = statistics.median(seconds), max(seconds)
    print(
        f"site {site}: {len(seconds)} images of {statistics.mean(sizes):.2f} x 256 x 256 pixels: median {median:.3f} s,"
        f" slowest {worst:.3f} s of CPU per image; {median / TARGET:.2f} of the target of {TARGET} s"
    )


def draw_montage(path: Path, columns: int = 6, side: int = 200) -> None:
    """Write a sheet for eyes: four rows, benign, malignant and normal of site A, then site B; one image per patient."""
    views = [view for view in plan(0, 400, CLASSES, 0.2) if view.view == 0]
    rows = [[view for view in views if (view.site, view.class_name) == ("A", name)] for name in CLASSES]
    rows.append([view for view in views if view.site == "B"])
    sheet = Image.new("L", (columns * side, len(rows) * side), 255)
    for y, row in enumerate(rows):
        for x, view in enumerate(row[:columns]):
            picture = Image.fromarray(make_image(0, view).image)
            picture.thumbnail((side - 4, side - 4), Image.Resampling.BOX)
            sheet.paste(picture, (x * side + (side - picture.width) // 2, y * side + (side - picture.height) // 2))
    sheet.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--montage", type=Path, help="write a sheet of phantom images there and stop")
    arguments = parser.parse_args()
    if arguments.montage:
        draw_montage(arguments.montage)
        return
    images = arguments.images
    for site in ("A", "B"):
        measure(site, images)
    with tempfile.TemporaryDirectory() as folder:
        busy, started = time.process_time(), time.perf_counter()
        emit(Path(folder) / "phantom", 0, 2 * images, CLASSES, 0.2, plant=True)
        busy, wall = time.process_time() - busy, time.perf_counter() - started
    print(
        f"emission of {2 * images} images in threads, files written: {busy / 2 / images:.3f} s of CPU and "
        f"{wall / 2 / images:.3f} s of wall time per image"
    )


if __name__ == "__main__":
    main()
