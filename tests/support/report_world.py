"""A small made-up workspace with everything that the report reads: folders of all stages with true manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.params.loader import load_params, select
from pipelines.report.__main__ import STAGE
from pipelines.report.gather import Cell, Gathered
from pipelines.report.origin import Selection
from pipelines.report.table import AVERAGED
from pipelines.runtime.artifacts import read_manifest, save_array, write_csv, write_json, write_manifest, write_png
from pipelines.runtime.stage import plain
from pipelines.splitting.groups import find_groups
from pipelines.splitting.leakage import describe_split, leaked_rows
from pipelines.splitting.parts import LISTED, Draw, Placed
from pipelines.splitting.protocols import Division, Rule
from tests.support.split_sets import SHARES, case, pair
from tests.support.workspaces import smoke_params

SIZE, TRAIN, TEST = 32, 12, 6
GENERATOR = {  # folder -> (its inputs, the parameters that its stage records), as in dvc.yaml
    "data/prepared": ((), ("datasets.{dataset}", "prepare", "scales.{scale}.prepare")),
    "data/split": (("prepared",), ("split",)),
    "data/pool": (("prepared", "split"), ("unlabeled", "prepare")),
    "models/autoencoder": (("prepared", "split", "pool"), ("scales.{scale}.autoencoder", "runtime")),
    "models/diffusion": (("autoencoder",), ("scales.{scale}.diffusion", "runtime")),
    "data/synthetic": (("diffusion",), ("scales.{scale}.sample", "runtime")),
    "data/audit": (("synthetic", "prepared", "split", "pool", "autoencoder"), ("audit", "runtime")),
}
SEGMENTER = ("evaluate", "scales.{scale}.segment", "segmenter.system", "segmenter.label_fraction", "segmenter.encoder")
SEGMENTER = (
    *SEGMENTER,
    "segmenter.mask_diffusion",
    "segmenter.semi",
    "segmenter.augment",
    "segmenter.{system}",
    "runtime",
)
SCORES = ("dice", "iou", "hd95", "assd", "ece", "brier", "ece_box", "brier_box")


def leakage_of(
    rows: list[dict[str, str]], near: list[dict[str, str]], parts: tuple[str, ...], protocol: str = "clean"
) -> tuple[dict[str, Any], set[str]]:
    """(leakage.json, names of the leaked cases) of these parts."""
    groups = find_groups(rows, near)
    placed = {group.name: Placed(parts[group.rows[0]], LISTED) for group in groups}
    facts = {"source": "lists", "seed": 41, "note": "as published", "test": {"images": 6, "sha256": "0" * 64}}
    division = Division(parts, placed, Rule(), (), {"literature": facts} if protocol == "literature" else {})
    report = describe_split(protocol, rows, near, groups, division, Draw(1, "toy", SHARES))
    return report, {rows[row]["case"] for row in leaked_rows(groups, parts)}


def doubt(dice: float = 0.6, auroc: float | None = 0.9) -> dict[str, Any]:
    """The block `uncertainty` of metrics.json: at each share a gain of a tenth of it, half of what an oracle gains."""
    shares = (0.0, 0.05, 0.1, 0.2, 0.3)
    table = [{"share": s, "referred": round(5 * s), "random": dice} for s in shares]
    table = [row | {"uncertainty": dice + row["share"] / 10, "oracle": dice + row["share"] / 5} for row in table]
    referral = {"images": 5, "table": table, "area": 0.01, "oracle_area": 0.02, "of_oracle": 0.5}
    return {"pooled": {"error_auroc": auroc, "error_auroc_box": 0.7}, "referral": referral}


class World:
    """Writes folders below `root`; every method may be called again with other arguments."""

    def __init__(self, root: Path, *, dataset: str = "phantom", arms: dict[str, list[str]] | None = None) -> None:
        self.root, self.dataset = root, dataset
        root.mkdir(parents=True, exist_ok=True)
        self.arms = arms or {"plain": ["supervised", "control"], "synthetic": ["both"], "phantom": []}
        self.cases = [f"case{i:02d}" for i in range(TRAIN + TEST + 2)]
        self.protocol = "clean"
        self.near = [(0, 1)]  # pairs of places in `cases`
        self.sites = [""] * len(self.cases)
        self.excluded: list[dict[str, str]] = []
        self.sources: list[dict[str, Any]] = []
        self.pool_warnings: list[str] = []
        self.pooled: list[tuple[str, str]] = []  # (source, group) of each image of the pool
        self.leaked: set[str] = set()
        self.write_params()

    def write_params(self, **changes: Any) -> None:
        def edit(tree: dict[str, Any]) -> None:
            tree.update({"dataset": self.dataset, "arms": self.arms, "seeds": [0]} | changes)

        (self.root / "params.yaml").write_bytes(smoke_params(edit))

    def publish(self, folder: str, sources: tuple[str, ...] = (), **facts: Any) -> Path:
        """Write the manifest of a folder, its inputs being other folders of this world."""
        digests = {name: read_manifest(self.root / STAGE.inputs[name]).sha256 for name in sources}
        known = {"dataset": self.dataset, "params": {}, "arguments": {}, "versions": {"numpy": "2"}}
        write_manifest(self.root / folder, **(known | {"inputs": digests} | facts))
        return self.root / folder

    def blocks(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """The parameters at these keys as a manifest records them."""
        loaded = load_params(self.root / "params.yaml")
        return {key: plain(select(loaded, key)) for key in keys}

    def selection(self, *arms: str) -> Selection:
        """What the stage would make of params, for these arms and seed 0."""
        keys = tuple(key for key in STAGE.params.values() if key not in ("scale", "arms", "seeds"))
        return Selection(self.dataset, "smoke", arms, (0,), 0.5, self.blocks(keys))

    def publish_known(self, folder: str, **facts: Any) -> None:
        """Publish a folder of GENERATOR with its true origin; `facts` replace parts of it."""
        sources, keys = GENERATOR[folder]
        self.publish(folder, sources, **({"params": self.blocks(keys)} | facts))

    def data(self, **dataset: Any) -> None:
        """data/prepared, data/split and data/pool."""
        count = len(self.cases)
        folder = self.root / "data" / "prepared"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 255, (count, SIZE, SIZE)).astype(np.uint8)
        save_array(folder / "images.npy", pixels)
        save_array(folder / "labels.npy", np.zeros((count, SIZE, SIZE), np.uint8))
        rows = [
            case(name, f"g{place // 2}", site=site, area=0.0 if place == TRAIN + TEST - 1 else 0.05)
            for place, (name, site) in enumerate(zip(self.cases, self.sites, strict=True))
        ]
        write_csv(folder / "cases.csv", rows, tuple(rows[0]))
        near = [pair(self.cases[a], self.cases[b]) for a, b in self.near]
        write_csv(folder / "duplicates.csv", near, ("a", "b", "kind"))
        finding = {"severity": "warning", "check": "area", "case": self.cases[0], "file": ""}
        finding |= {"expected": "a lesion", "found": "a small one", "remedy": "look at it"}
        report = {"errors": 0, "warnings": 1, "flags": 0, "excluded": self.excluded, "findings": [finding]}
        write_json(folder / "integrity.json", report)
        phantom = self.dataset == "phantom"
        facts = {
            "name": self.dataset,
            "terms": "none",
            "citation": "nobody",
            "phantom": phantom,
            "foreground": ["lesion"],
        }
        write_json(folder / "dataset.json", facts | dataset)
        self.publish_known("data/prepared")

        folder = self.root / "data" / "split"
        folder.mkdir(parents=True, exist_ok=True)
        parts = ("train",) * TRAIN + ("test",) * TEST + ("val",) * 2
        leakage, self.leaked = leakage_of(rows, near, parts, self.protocol)
        lines = [
            {"case": c, "part": p, "group": f"g{i // 2}", "leaked": c in self.leaked}
            for i, (c, p) in enumerate(zip(self.cases, parts, strict=True))
        ]
        write_csv(folder / "split.csv", lines, ("case", "part", "group", "leaked"))
        ranks = [{"case": self.cases[i], "label_rank": i // 2} for i in range(TRAIN)]
        write_csv(folder / "labels.csv", ranks, ("case", "label_rank"))
        write_json(folder / "leakage.json", leakage)
        self.publish_known("data/split")

        folder = self.root / "data" / "pool"
        folder.mkdir(parents=True, exist_ok=True)
        save_array(folder / "images.npy", np.zeros((len(self.pooled), SIZE, SIZE), np.uint8))
        joined = [
            {"case": f"{source}/{row}", "source": source, "class": "", "group": group}
            for row, (source, group) in enumerate(self.pooled)
        ]
        write_csv(folder / "cases.csv", joined, ("case", "source", "class", "group"))
        write_csv(folder / "excluded.csv", [], ("case", "source", "reason", "other"))
        write_json(
            folder / "pool.json",
            {"sources": self.sources, "images": len(self.pooled), "bridges": [], "warnings": self.pool_warnings},
        )
        self.publish_known("data/pool")

    def generator(self, verdict: str = "inconclusive") -> None:
        """models/autoencoder, models/diffusion, data/synthetic, data/audit."""
        for name in ("autoencoder", "diffusion"):
            folder = self.root / "models" / name
            folder.mkdir(parents=True, exist_ok=True)
            write_csv(folder / "metrics.csv", self.curve(), ("step", "lr", "total"))
            self.publish_known(f"models/{name}")
        folder = self.root / "data" / "synthetic"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(1).integers(0, 255, (10, SIZE, SIZE)).astype(np.uint8)
        save_array(folder / "images.npy", pixels)
        self.publish_known("data/synthetic")
        folder = self.root / "data" / "audit"
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        write_json(
            folder / "verdict.json",
            {"verdict": verdict, "reasons": ["planted copies: 12 per transform"], "warnings": ["few groups"]},
        )
        numbers = {"kid": 0.123, "kid_floor": 0.05, "kid_real": 0.001}
        excess = {"pixels": {"value": 0.01, "low": -0.02, "high": 0.04}}
        planted = {"jpeg_50": {"found": 11, "count": 12, "required": 0.99, "recall": 11 / 12}}
        write_json(folder / "metrics.json", numbers | {"excess": excess, "planted": planted, "recall": None})
        write_csv(folder / "decisions.csv", [{"sample": f"s{i}"} for i in range(10)], ("sample",))
        write_csv(folder / "kept.csv", [{"sample": f"s{i}", "row": i} for i in range(1, 10)], ("sample", "row"))
        write_png(folder / "pictures" / "00.png", np.zeros((20, 60), np.uint8))
        picture = {
            "picture": "pictures/00.png",
            "sample": "s0",
            "nearest": self.cases[0],
            "flagged": True,
            "metric": "hard",
        }
        write_csv(folder / "pictures.csv", [picture], tuple(picture))
        self.publish_known("data/audit")

    def result(
        self, arm: str, seed: int = 0, dice: float = 0.7, *, params: dict[str, Any] | None = None, **facts: Any
    ) -> None:
        """models/segmenter/<arm>-<seed> and results/<arm>-<seed>; facts and params go into both manifests."""
        blocks = self.blocks(SEGMENTER) | (params or {})
        facts = {"arguments": {"arm": arm, "seed": str(seed)}, "params": blocks} | facts
        sources = ("prepared", "split", "pool", *(("synthetic", "audit") if arm in self.arms["synthetic"] else ()))
        model = self.root / "models" / "segmenter" / f"{arm}-{seed}"
        model.mkdir(parents=True, exist_ok=True)
        write_csv(model / "metrics.csv", self.curve(), ("step", "lr", "total"))
        self.publish(f"models/segmenter/{arm}-{seed}", sources, **facts)

        folder = self.root / "results" / f"{arm}-{seed}"
        (folder / "overlays").mkdir(parents=True, exist_ok=True)
        rows = [
            self.score(case, place, mode, dice) for mode in ("refine", "direct") for place, case in enumerate(self.test)
        ]
        write_csv(folder / "per_case.csv", rows, tuple(rows[0]))
        copies = {"copies_of_test": {"samples": 9, "flagged": 1, "hard": 0}} if arm == "both" else {}
        modes = {mode: {"lesion": {"uncertainty": doubt(dice)}} for mode in ("refine", "direct")}
        write_json(folder / "metrics.json", {"arm": arm, "modes": modes} | copies)
        write_png(folder / "overlays" / "best_0.png", np.zeros((16, 48, 3), np.uint8))
        shown = {"file": "best_0.png", "kind": "best", "case": self.test[0], "foreground": "lesion", "dice": dice}
        write_csv(folder / "overlays" / "overlays.csv", [shown], tuple(shown))
        self.publish(f"results/{arm}-{seed}", sources, **facts)
        self.link(arm, seed)

    def link(self, arm: str, seed: int = 0) -> None:
        """Make the result name the model it was computed from, as `evaluate` does."""
        folder = self.root / "results" / f"{arm}-{seed}"
        facts = read_manifest(folder).facts
        facts["inputs"]["segmenter"] = read_manifest(self.root / "models" / "segmenter" / f"{arm}-{seed}").sha256
        write_manifest(folder, **facts)

    @property
    def test(self) -> list[str]:
        return self.cases[TRAIN : TRAIN + TEST]

    def curve(self) -> list[dict[str, Any]]:
        return [{"step": step, "lr": 0.001, "total": 1.0 / (1 + step)} for step in range(8)]

    def score(self, case: str, place: int, mode: str, dice: float) -> dict[str, Any]:
        """One line of per_case.csv; the last test image has no lesion."""
        lesion = place < TEST - 1
        value = dice + 0.01 * place - (0.05 if mode == "direct" else 0.0)
        row = {
            "case": case,
            "group": f"g{(TRAIN + place) // 2}",
            "class": "benign",
            "site": self.sites[TRAIN + place],
            "leaked": case in self.leaked,
            "foreground": "lesion",
            "mode": mode,
        }
        row |= {"empty": "" if lesion else "target", "empty_native": "", "target_area": 0.1 if lesion else 0.0}
        row |= {"predicted_area": 0.1, "largest_component": 0.1}
        row |= dict.fromkeys(SCORES, value) | {f"{name}_native": value for name in SCORES}
        return row | {"hd95_mm": None, "assd_mm": None}

    def everything(self) -> World:
        self.data()
        self.generator()
        for number, arm in enumerate((*self.arms["plain"], *self.arms["synthetic"])):
            self.result(arm, dice=0.6 + 0.05 * number)
        return self


def line(
    case: str,
    dice: float,
    *,
    mode: str = "refine",
    area: float = 0.1,
    empty: str = "",
    empty_native: str | None = None,
    predicted: float = 0.1,
    site: str = "",
    leaked: bool = False,
) -> dict:
    row = {"case": case, "group": case[0], "mode": mode, "foreground": "lesion", "empty": empty, "site": site}
    row |= {"leaked": "true" if leaked else "false", "empty_native": empty if empty_native is None else empty_native}
    row |= {"target_area": str(area), "predicted_area": str(predicted), "largest_component": str(predicted)}
    return row | dict.fromkeys(AVERAGED, str(dice)) | {"hd95_mm": "", "assd_mm": ""}


def gathered(
    cells: dict[tuple[str, int], list[dict]], arms: tuple[str, ...], seeds: tuple[int, ...], **metrics
) -> Gathered:
    known = {
        key: Cell(*key, rows=rows, metrics=metrics.get(key[0], {}), overlays=[], curve=[])
        for key, rows in cells.items()
    }
    return Gathered(
        selection=Selection("phantom", "smoke", arms, seeds, 0.5, {}),
        dataset={},
        counts=[],
        integrity={"errors": 0, "warnings": 0, "flags": 0, "excluded": [], "findings": []},
        leakage=leakage_of([case(name) for name in "abc"], [], ("train", "val", "test"))[0],
        duplicates={},
        training=np.zeros((1, 4, 4), np.uint8),
        cells={(arm, seed): known.get((arm, seed)) for arm in arms for seed in seeds},
    )
