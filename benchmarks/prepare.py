"""Seconds and peak memory of the stage `prepare` on sets of cheap random images: memory must not grow with the set.

python -m benchmarks.prepare [--counts 2000 20000] [--size 256] [--whole]

--whole leaves out the search for re-framed copies, which compares all pairs and takes most of the time of large sets.

Each set is run in a process of its own. Anonymous memory is what the process itself holds; mapped files (the thumbnails
during the search for duplicates) are counted apart, since the kernel takes them back whenever it needs the room. Linux.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SIDE, GRAINS = 96, 12
MIB = 2**20


@dataclass(frozen=True)
class Peak:
    """Of one run: seconds, and peaks in MiB of what it held itself and of files that it had mapped."""

    seconds: float
    anonymous: float
    mapped: float


def make_set(folder: Path, count: int) -> None:
    """`count` pairs of unlike 96 x 96 images and masks: blocks of noise, made smooth, and a square."""
    rng = np.random.default_rng(count)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(30, 220, (GRAINS, GRAINS), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(folder / "images" / f"{number:06d}.png")
        mask = np.zeros((SIDE, SIDE), bool)
        top, left = rng.integers(5, 60, 2)
        mask[top : top + 30, left : left + 30] = True
        Image.fromarray(mask).save(folder / "masks" / f"{number:06d}.png")


def make_workspace(root: Path, count: int, size: int, *, whole: bool) -> None:
    """A workspace whose dataset is `folder` with `count` images; whole: duplicates by whole thumbnails alone."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree |= {"dataset": "folder", "scale": "smoke", "unlabeled": []}
    tree["scales"]["smoke"]["prepare"]["size"] = size
    if whole:
        tree["prepare"]["duplicates"]["aligned_resemblance"] = 1.1
    (root / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    make_set(root / "data" / "raw" / "folder", count)


def measure(root: Path) -> Peak:
    """Run `prepare` in `root` and watch it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "pipelines.prepare"], cwd=root, env=environment)
    anonymous = mapped = 0
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            break
        sizes = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Rss")}
        anonymous = max(anonymous, int(sizes.get("RssAnon", "0")))
        mapped = max(mapped, int(sizes.get("RssFile", "0")))
        time.sleep(0.02)
    if child.wait():
        raise SystemExit(f"prepare ended with {child.returncode}")
    return Peak(time.monotonic() - started, anonymous / 1024, mapped / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    peaks: list[Peak] = []
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make_workspace(root, count, options.size, whole=options.whole)
            peaks.append(measure(root))
            written = sum(path.stat().st_size for path in (root / "data" / "prepared").iterdir()) / MIB
        found = peaks[-1]
        print(
            f"{count} images: {found.seconds:.1f} s ({1000 * found.seconds / count:.1f} ms each), peak "
            f"{found.anonymous:.0f} MiB of its own and {found.mapped:.0f} MiB of mapped files; "
            f"{written:.0f} MiB written; {found.anonymous / peaks[0].anonymous:.2f} of the memory of the first run",
            flush=True,
        )


if __name__ == "__main__":
    main()
