"""Seconds that one phantom image takes on one thread, against the target of .3 s per 256 x 256 image and core.

python -m benchmarks.phantom [--images 24] [--montage docs/images/phantom.png] [--beside data/raw/busi] [--contrast]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter

from pipelines.datasets.images import decode, resize_image, resize_label
from pipelines.datasets.phantom.emission import emit, make_images
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


def draw_montage(path: Path, columns: int = 6, side: int = 168) -> None:
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


def describe(name: str, images: Iterable[np.ndarray]) -> None:
    """Print what eyes compare, as means over images at 256 x 256 in display units 0..1."""
    rows = []
    for image in images:
        shown = resize_image(image, 256) / 255.0
        smooth, middle = gaussian_filter(shown, 8), gaussian_filter(shown, 2)
        texture = [smooth.std(), (middle - smooth).std(), (shown - middle).std()]
        rows.append([*np.quantile(shown, (0.1, 0.5, 0.9)), shown[:64].mean(), shown[-64:].mean(), *texture])
    numbers = ", ".join(f"{value:.3f}" for value in np.mean(rows, axis=0))
    print(f"{name}: {len(rows)} images; p10, p50, p90, top quarter, bottom quarter, sd coarse, middle, fine: {numbers}")


def compare(folder: Path, images: int) -> None:
    """The same numbers of the phantom's site A and of real images below `folder`; nothing of these is written."""
    files = sorted(path for path in folder.rglob("*.png") if "_mask" not in path.stem)
    chosen = np.random.default_rng(0).permutation(len(files))[:images]
    describe(folder.name, (decode(files[index]).gray for index in chosen))
    describe("phantom", (made.image for made in make_images(0, images, CLASSES)))


def contrast(images: int) -> None:
    """Lesion mean minus the mean of a ring around it, in display units at 256 x 256: quantiles by site."""
    for site in ("A", "B"):
        found: list[float] = []
        for view in plan(0, 8 * images, CLASSES[:2], 0.2):
            if view.site != site or view.view or len(found) == images:
                continue
            made = make_image(0, view, ())
            shown = resize_image(made.image, 256) / 255.0
            lesion = resize_label(np.asarray(made.masks.any(axis=0), np.uint8), 256) > 0
            ring = binary_dilation(lesion, iterations=12) & ~binary_dilation(lesion, iterations=2)
            ring &= (shown > 0) | (site == "A")  # beside a fan there is nothing
            found.append(float(shown[lesion].mean() - shown[ring].mean()))
        low, middle, high = np.quantile(found, (0.05, 0.5, 0.95))
        print(
            f"contrast at site {site}, {len(found)} patients: p5 {low:.3f}, median {middle:.3f}, p95 {high:.3f}; "
            f"{100 * np.mean(np.abs(found) < 0.05):.0f} % within .05, {100 * np.mean(np.array(found) < 0):.0f} % darker"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--montage", type=Path, help="write a sheet of phantom images there and stop")
    parser.add_argument("--beside", type=Path, help="print gray statistics beside those of real images there and stop")
    parser.add_argument("--contrast", action="store_true", help="print lesions against their rings and stop")
    arguments = parser.parse_args()
    if arguments.montage:
        draw_montage(arguments.montage)
        return
    images = arguments.images
    if arguments.contrast:
        contrast(images)
        return
    if arguments.beside:
        compare(arguments.beside, images)
        return
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
