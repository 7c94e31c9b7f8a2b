"""Recall and precision of the duplicate rule on planted copies, and what it finds in sets as they are.

`python -m benchmarks.duplicates_planted tune` (BUS-BRA fold 2 and a phantom seed: the thresholds were chosen there),
`confirm` (BUS-BRA fold 3, thyroid crops, another phantom seed) or `busi` (no planting). The real sets lie where
SONOSYNTH_DATA says, or in ../shared/data beside the project. For each kind, every image of a set and one copy of each
are searched together. A found pair is right where both images are of one source and wrong where they are of two
patients; other pairs of one patient (views of a lesion) count neither way. No pair is marked by hand.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.copies import KINDS, Make
from pipelines.datasets.adapters import bus_bra, busi
from pipelines.datasets.descriptors import describe
from pipelines.datasets.duplicates import Pair, Rule, cluster_sizes, find_pairs
from pipelines.datasets.images import decode_image
from pipelines.datasets.phantom.emission import make_images
from pipelines.params.loader import load_params
from pipelines.runtime.randomness import numpy_generator_for
from tests.support.shared_data import find_shared_data

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("benign", "malignant", "normal")


@dataclass(frozen=True)
class Set:
    """Images (h, w) uint8 with their names and patients."""

    name: str
    images: list[np.ndarray]
    cases: list[str]
    patients: list[str]


@dataclass(frozen=True)
class Score:
    """found: sources whose copy was found, of `planted`; wrong: pairs of two patients; right: pairs of one source."""

    planted: int
    found: int
    right: int
    wrong: int

    @property
    def recall(self) -> float:
        return self.found / self.planted

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)


def default_rule() -> Rule:
    return Rule(**load_params(ROOT / "pipelines" / "default.yaml").prepare.duplicates.model_dump())


def plant(images: Sequence[np.ndarray], make: Make, name: str, seed: int) -> list[np.ndarray]:
    """The originals, then one copy of each."""
    made = [make(image, numpy_generator_for(seed, f"planted/{name}", row)) for row, image in enumerate(images)]
    return [original for original, _ in made] + [copy for _, copy in made]


def score(pairs: Sequence[Pair], patients: Sequence[str]) -> Score:
    """Pairs of rows of a planted list: source = row modulo the number of originals."""
    count = len(patients)
    sources = [(pair.a % count, pair.b % count) for pair in pairs]
    right = [(a, b) for a, b in sources if a == b]
    wrong = [(a, b) for a, b in sources if patients[a] != patients[b]]
    return Score(count, len(set(right)), len(right), len(wrong))


def sets_of(name: str) -> Iterator[Set]:
    """The sets of `tune`, `confirm` or `busi`."""
    shared = find_shared_data(ROOT, os.environ)
    if name == "busi":
        cases = busi.read(shared / "busi", SimpleNamespace(classes=list(CLASSES))).cases
        names = [case.case for case in cases]
        yield Set("BUSI, reduced copy", [decode_image(case.image) for case in cases], names, names)
        return
    fold, seed = (2, 1001) if name == "tune" else (3, 2002)
    cases = bus_bra.read(shared / "bus_bra", SimpleNamespace(folds=[fold], test_fold=3)).cases
    images = [decode_image(case.image) for case in cases]
    yield Set(f"BUS-BRA fold {fold}", images, [case.case for case in cases], [case.identity for case in cases])
    made = list(make_images(seed, 200, CLASSES, 0.2))
    patients = [str(item.view.patient) for item in made]
    yield Set(f"phantom seed {seed}", [item.image for item in made], [item.view.case for item in made], patients)
    if name == "confirm":
        paths = sorted((shared / "thyroid_crops" / "images").iterdir())
        patients = ["_".join(path.stem.split("_")[:2]) for path in paths]  # ddti_<patient>_<image>
        yield Set("thyroid crops", [decode_image(path) for path in paths], [path.stem for path in paths], patients)


def report_plain(data: Set, rule: Rule) -> None:
    """What the rule finds in the set as it is."""
    started = time.perf_counter()
    known = describe(data.images)
    pairs = find_pairs(known, rule)
    seconds = time.perf_counter() - started
    print(f"\n{data.name}: {len(data.images)} images as they are, {seconds:.1f} s")
    for label, some in (
        ("whole thumbnails", [pair for pair in pairs if pair.rule != "aligned"]),
        ("with re-framed copies", pairs),
    ):
        sizes = cluster_sizes(len(data.images), some)
        images = sum(size * number for size, number in sizes.items())
        crossing = sum(data.patients[pair.a] != data.patients[pair.b] for pair in some)
        print(
            f"  {label}: {len(some)} pairs ({crossing} of two patients) in {sum(sizes.values())} clusters of {images} "
            f"images, {images - sum(sizes.values())} redundant; clusters per size {sizes}"
        )
    print(f"  kinds: {dict(sorted(Counter(f'{pair.rule}: {pair.kind}' for pair in pairs).items()))}")
    strange = [pair for pair in pairs if data.patients[pair.a] != data.patients[pair.b]]
    if data.name.startswith("BUSI"):
        strange = [pair for pair in strange if data.cases[pair.a].split()[0] != data.cases[pair.b].split()[0]]
    for pair in strange:
        print(
            f"    {data.cases[pair.a]} and {data.cases[pair.b]}: {pair.rule}, {pair.kind}, NCC {pair.aligned_ncc}, "
            f"hash {pair.aligned_phash_distance}, detail {pair.aligned_detail}"
        )


def report_planted(data: Set, rule: Rule, seed: int) -> None:
    """Recall and precision per kind, and the weakest evidence among the right pairs."""
    print(f"\n{data.name}: {len(data.images)} sources, one copy of each per kind")
    print(f"  {'kind':36}{'recall':>8}{'(base)':>8}{'precision':>11}{'wrong':>7}   1st percentile of NCC, detail")
    total = []
    for name, make in KINDS.items():
        pairs = find_pairs(describe(plant(data.images, make, name, seed)), rule)
        result = score(pairs, data.patients)
        base = score([pair for pair in pairs if pair.rule != "aligned"], data.patients)
        total.append(result)
        right = [pair for pair in pairs if pair.a % result.planted == pair.b % result.planted]
        weak = [np.quantile([getattr(pair, key) for pair in right], 0.01) for key in ("aligned_ncc", "aligned_detail")]
        print(
            f"  {name:36}{result.recall:8.4f}{base.recall:8.4f}{result.precision:11.4f}{result.wrong:7}   "
            f"{weak[0]:.3f} {weak[1]:.3f}",
            flush=True,
        )
    whole = Score(*(sum(getattr(item, key) for item in total) for key in ("planted", "found", "right", "wrong")))
    print(f"  {'all':36}{whole.recall:8.4f}{'':8}{whole.precision:11.4f}{whole.wrong:7}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=("tune", "confirm", "busi"))
    parser.add_argument("--seed", type=int, default=0, help="of the planting")
    arguments = parser.parse_args()
    rule = default_rule()
    print(rule)
    for data in sets_of(arguments.name):
        report_plain(data, rule)
        if arguments.name != "busi":
            report_planted(data, rule, arguments.seed)


if __name__ == "__main__":
    main()
