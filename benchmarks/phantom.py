"""Seconds that one phantom image takes on one thread, against the target of .3 s per 256 x 256 image and core.

python -m benchmarks.phantom [--images 24]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24)
    images = parser.parse_args().images
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
