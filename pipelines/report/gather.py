"""What the report shows, read from the folders of the stages.

Only the arms and seeds of params are opened, by name: results of dropped arms stay on disk, and folders are never
listed. What another dataset, other parameters or other inputs made is refused, not shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.case import PARTS, Prepared, groups_of, labeled_rows, load_prepared, rows_of_part
from pipelines.report.figures import evenly
from pipelines.report.origin import Selection, check_origin, trace
from pipelines.runtime.artifacts import Manifest, load_array, read_csv, read_json, verify_folder
from pipelines.runtime.errors import ArtifactError, RefusedError

Curve = list[tuple[int, float]]
TILES = 24  # images of each kind in the sample grids


@dataclass(frozen=True)
class Overlay:
    """One picture of a test image with its prediction; png: bytes."""

    kind: str
    case: str
    dice: float
    png: bytes


@dataclass(frozen=True)
class Cell:
    """One arm under one seed: per_case.csv, metrics.json, overlays, and the loss of its training."""

    arm: str
    seed: int
    rows: list[dict[str, str]]
    metrics: dict[str, Any]
    overlays: list[Overlay]
    curve: Curve


@dataclass(frozen=True)
class Picture:
    """A sample beside its nearest training image and their difference; png: bytes."""

    sample: str
    nearest: str
    flagged: bool
    metric: str
    png: bytes


@dataclass(frozen=True)
class Audit:
    """data/audit: verdict.json, metrics.json, the number of samples and of kept ones, pictures."""

    verdict: dict[str, Any]
    metrics: dict[str, Any]
    samples: int
    kept: int
    pictures: list[Picture]


@dataclass
class Gathered:
    """Everything on the page. counts: (label, images, groups) of each part; pool: of `read_pool`; a cell that was not
    run is None.
    """

    selection: Selection
    dataset: dict[str, Any]
    counts: list[tuple[str, int, int]]
    integrity: Any
    leakage: Any
    duplicates: dict[str, int]
    training: np.ndarray
    pool: dict[str, Any] | None = None
    synthetic: np.ndarray | None = None
    audit: Audit | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    cells: dict[tuple[str, int], Cell | None] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    manifests: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def gather(root: Path, inputs: Mapping[str, Path], selection: Selection, partial: bool) -> Gathered:
    """Read all folders. inputs: folders by name; `prepared` and `split` must be there.

    With `partial` a missing result stays empty, and an outdated or foreign folder is left out and named in `notices`;
    otherwise ArtifactError or RefusedError.
    """
    manifests, notices = trace(inputs, selection, partial)
    prepared = load_prepared(inputs["prepared"])
    train = rows_of_part(prepared, inputs["split"], "train")
    found = Gathered(
        selection=selection,
        dataset=prepared.dataset,
        counts=count_parts(prepared, inputs["split"], selection.label_fraction),
        integrity=read_json(inputs["prepared"] / "integrity.json"),
        leakage=read_leakage(inputs["split"]),
        duplicates=count_duplicates(inputs["prepared"]),
        training=np.stack([prepared.images[train[place]] for place in evenly(len(train), TILES)]),
        notices=notices,
        manifests={name: manifest.sha256 for name, manifest in sorted(manifests.items())},
        versions=manifests["prepared"].facts.get("versions", {}),
    )
    if "pool" in manifests:
        found.pool = read_pool(inputs["pool"], prepared, inputs["split"], selection.label_fraction)
    for name in ("autoencoder", "diffusion"):
        if name in manifests:
            found.curves[name] = read_curve(inputs[name] / "metrics.csv")
    if "audit" in manifests:
        found.audit = read_audit(inputs["audit"])
    if "synthetic" in manifests and "audit" in manifests:
        kept = [int(row["row"]) for row in read_csv(inputs["audit"] / "kept.csv")]
        images = load_array(inputs["synthetic"] / "images.npy")
        if kept:
            found.synthetic = np.stack([images[kept[place]] for place in evenly(len(kept), TILES)])
    for arm in selection.arms:
        for seed in selection.seeds:
            found.cells[arm, seed] = read_cell(root, arm, seed, found, manifests, partial)
            cell = found.cells[arm, seed]
            if cell:
                found.curves[f"{arm}-{seed}"] = cell.curve
    return found


def count_parts(prepared: Prepared, split: Path, fraction: float) -> list[tuple[str, int, int]]:
    """(label, images, groups) of train, its labeled and unlabeled share, val and test."""
    groups = groups_of(prepared, split)

    def line(label: str, rows: Sequence[int]) -> tuple[str, int, int]:
        return label, len(rows), len({groups[prepared.cases[row]["case"]] for row in rows})

    parts = {part: rows_of_part(prepared, split, part) for part in PARTS}
    labeled, unlabeled = labeled_rows(prepared, split, fraction)
    return [
        line("train", parts["train"]),
        line("train, labeled", labeled),
        line("train, unlabeled", unlabeled),
        line("val", parts["val"]),
        line("test", parts["test"]),
    ]


def read_leakage(split: Path) -> Any:
    """leakage.json; ArtifactError for one of an earlier version, which does not say all that the page tells."""
    found = read_json(split / "leakage.json")
    for key, meaning in (("protocol", "the protocol"), ("images_with_identity", "the number of images with identity")):
        if key not in found:
            raise ArtifactError(f"{split / 'leakage.json'}: expected {meaning}, found none; run `dvc repro`")
    return found


def read_pool(folder: Path, prepared: Prepared, split: Path, fraction: float) -> dict[str, Any]:
    """pool.json, and in each source's line `unlabeled`: how many of its images join the segmenter's unlabeled stream,
    those of no group that is labeled at this fraction. ArtifactError for one of an earlier version.
    """
    found = dict(read_json(folder / "pool.json"))
    if "warnings" not in found:
        raise ArtifactError(f"{folder / 'pool.json'}: expected the warnings, found none; run `dvc repro`")
    groups = groups_of(prepared, split)
    labeled = {groups[prepared.cases[row]["case"]] for row in labeled_rows(prepared, split, fraction)[0]}
    free = Counter(case["source"] for case in read_csv(folder / "cases.csv") if case["group"] not in labeled)
    found["sources"] = [{**source, "unlabeled": free[source["name"]]} for source in found["sources"]]
    return found


def count_duplicates(folder: Path) -> dict[str, int]:
    """Pairs in duplicates.csv by kind."""
    counts: dict[str, int] = {}
    for row in read_csv(folder / "duplicates.csv"):
        counts[row["kind"]] = counts.get(row["kind"], 0) + 1
    return dict(sorted(counts.items()))


def read_curve(path: Path) -> Curve:
    """(step, total loss) of a training's metrics.csv."""
    return [(int(row["step"]), float(row["total"])) for row in read_csv(path) if row.get("total")]


def read_audit(folder: Path) -> Audit:
    """The published audit with the pictures that its pictures.csv names."""
    return Audit(
        verdict=read_json(folder / "verdict.json"),
        metrics=read_json(folder / "metrics.json"),
        samples=len(read_csv(folder / "decisions.csv")),
        kept=len(read_csv(folder / "kept.csv")),
        pictures=[
            Picture(
                row["sample"],
                row["nearest"],
                row["flagged"] == "true",
                row["metric"],
                (folder / "pictures" / Path(row["picture"]).name).read_bytes(),
            )
            for row in read_csv(folder / "pictures.csv")
        ],
    )


def read_cell(
    root: Path, arm: str, seed: int, found: Gathered, kept: Mapping[str, Manifest], partial: bool
) -> Cell | None:
    """One result with its training, or None where `partial` allows it to be missing or foreign."""
    result, model = root / "results" / f"{arm}-{seed}", root / "models" / "segmenter" / f"{arm}-{seed}"
    if partial and not (result.is_dir() and model.is_dir()):
        return None
    trained, scored = verify_folder(model), verify_folder(result)
    try:
        for folder, manifest in ((model, trained), (result, scored)):
            check_origin(folder, manifest, found.selection, kept, {"arm": arm, "seed": str(seed)})
        expected = scored.facts["inputs"].get("segmenter")
        if expected != trained.sha256:
            raise RefusedError(
                f"{result}: expected the result of {model} ({trained.sha256[:12]}), found that of another model "
                f"({str(expected)[:12]}); run `dvc repro`"
            )
    except RefusedError as error:
        if not partial:
            raise
        found.notices.append(f"left out: {error}")
        return None
    overlays = [
        Overlay(row["kind"], row["case"], float(row["dice"]), (result / "overlays" / row["file"]).read_bytes())
        for row in read_csv(result / "overlays" / "overlays.csv")
    ]
    return Cell(
        arm=arm,
        seed=seed,
        rows=read_csv(result / "per_case.csv"),
        metrics=read_json(result / "metrics.json"),
        overlays=overlays,
        curve=read_curve(model / "metrics.csv"),
    )
