"""Seconds and memory of the search for duplicates: `python -m benchmarks.duplicates --images 10000`.

Cheap random pictures with the broad structure of ultrasound (bright layers above, dark below, a dark spot, grain), one
in fifty a planted copy (re-encoded, cropped or mirrored) of an earlier one. They are drawn and described one at a time,
their thumbnails lie in a file, and the search runs in a child process whose peak memory is its own. On a machine that
others use, seconds of CPU say more than seconds, and OMP_NUM_THREADS=1 keeps threads from waiting for one another.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.copies import crop, mirror, reencode
from benchmarks.duplicates_planted import default_rule
from pipelines.datasets.descriptors import SIDE, Descriptors, describe_one
from pipelines.datasets.duplicates import cluster_sizes, search
from pipelines.runtime.randomness import numpy_generator_for

EVERY = 50
EARLIER = 25  # a copy is of the picture so many places before it
SIZE = (224, 192)
SCALES = ((6, 2, 30.0), (12, 6, 22.0), (24, 16, 14.0), (56, 64, 10.0))  # rows, columns, gray levels of the noise


def picture(row: int) -> np.ndarray:
    """(224, 192) uint8, the same for the same row."""
    rng = numpy_generator_for(0, "benchmark/picture", row)
    height, width = SIZE
    values = np.zeros(SIZE, np.float32)
    for rows, columns, level in SCALES:
        noise = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
        values += level * np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
    depth = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    values += 150.0 - 90.0 * depth
    y, x = np.mgrid[:height, :width].astype(np.float32)
    at_y, at_x, radius = rng.uniform(0.25, 0.65) * height, rng.uniform(0.25, 0.75) * width, rng.uniform(12, 50)
    values -= 60.0 * (np.hypot((y - at_y) * 1.3, x - at_x) < radius)
    values += rng.normal(0.0, 12.0, SIZE).astype(np.float32)
    return np.clip(values, 0, 255).astype(np.uint8)


def pictures(count: int) -> Iterator[np.ndarray]:
    """`count` pictures; places EARLIER, EARLIER + EVERY, ... hold copies."""
    for row in range(count):
        if row % EVERY != EARLIER:
            yield picture(row)
            continue
        rng = numpy_generator_for(0, "benchmark/copy", row)
        image = picture(row - EARLIER)
        for step in ((reencode,), (crop,), (mirror,), (mirror, crop))[rng.integers(4)]:
            image = step(image, rng)
        yield image


def measure(count: int, folder: Path) -> dict[str, float]:
    """Describe and search `count` pictures in this process."""
    started = time.perf_counter()
    thumbnails = np.lib.format.open_memmap(folder / "thumbnails.npy", "w+", np.uint8, (count, SIDE, SIDE))
    digests = []
    for row, image in enumerate(pictures(count)):
        digest, thumbnails[row] = describe_one(image)
        digests.append(digest)
    thumbnails.flush()
    described, spent = time.perf_counter(), time.process_time()
    before = peak()
    known = Descriptors(tuple(digests), np.load(folder / "thumbnails.npy", mmap_mode="r"))
    result = search(known, default_rule())
    pairs = result.pairs
    searched = time.perf_counter()
    planted = {(row - EARLIER, row) for row in range(count) if row % EVERY == EARLIER}
    found = {(pair.a, pair.b) for pair in pairs}
    return {
        "images": count,
        "drawn_and_described_s": round(described - started, 1),
        "searched_s": round(searched - described, 1),
        "searched_cpu_s": round(time.process_time() - spent, 1),
        "peak_before_search_mb": before,
        "peak_mb": peak(),
        "planted": len(planted),
        "found": len(planted & found),
        "others": len(found - planted),
        "passed_over": result.passed_over,
        "largest_cluster": max(cluster_sizes(count, pairs), default=1),
    }


def peak() -> float:
    """Peak resident memory of this process so far, in MB; pages of the thumbnails' file that are in memory count."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, nargs="+", default=[780, 10000])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.images[0], arguments.child)))
        return
    for count in arguments.images:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.duplicates", "--images", str(count), "--child", folder]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        facts = json.loads(answer)
        print(", ".join(f"{key} {value}" for key, value in facts.items()), f"; load before {load:.1f}", flush=True)


if __name__ == "__main__":
    main()
