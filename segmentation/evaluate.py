"""Stages evaluate, evaluate_synthetic, evaluate_phantom: the one place that opens test images.

`python -m segmentation.evaluate --arm both --seed 0`. Writes per_case.csv, metrics.json and overlays; for arms that
learned from synthetic images also how many of those copy a test image.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.case import Prepared, groups_of, leaked_cases, load_prepared, rows_of_part
from pipelines.datasets.images import inner_box
from pipelines.params.evaluate import EvaluateParams
from pipelines.runtime.artifacts import write_csv, write_json, write_png
from pipelines.runtime.errors import DataError
from pipelines.runtime.randomness import numpy_generator_for
from pipelines.runtime.stage import Run, Stage, run_stage
from segmentation.batches import ARMS
from segmentation.copies import copies_of_test
from segmentation.inference import predict_rows
from segmentation.metrics import dice
from segmentation.overlays import overlay
from segmentation.scores import COLUMNS, Scoring, of_class, pooled_error_auroc, score_all
from segmentation.statistics import Row, aggregate, extremes, reliability
from segmentation.system import SystemConfig, load_system
from segmentation.uncertainty import seed_agreement

OVERLAY_COLUMNS = ("file", "kind", "case", "foreground", "dice")
SEEDLESS = ("direct", "twin")  # modes in which nothing is drawn


def run(run: Run) -> None:
    """The stage's body."""
    settings: EvaluateParams = run.params.settings
    prepared = load_prepared(run.inputs["prepared"])
    rows = test_rows(prepared, run.inputs["split"])
    images = np.asarray(prepared.images[rows])
    cases = [prepared.cases[row] for row in rows]
    names = [case["case"] for case in cases]
    groups, leaked = groups_of(prepared, run.inputs["split"]), leaked_cases(run.inputs["split"])

    system = load_system(run.inputs["segmenter"], run.device)
    diffusion = run.params.mask_diffusion
    predicted = predict_rows(
        system,
        images,
        names,
        steps=diffusion.steps,
        seeds=diffusion.seeds,
        mode=diffusion.mode,
        views=settings.views,
        device=run.device,
        progress=run.progress(len(images)).update,
    )
    modes = modes_of(system.config, diffusion.mode, predicted.probability, predicted.extras)
    scoring = Scoring(tuple(prepared.dataset["foreground"]), settings.ece_bins, settings.margin)
    labels = np.asarray(prepared.labels[rows])
    natives = [prepared.native_label(row) for row in rows]
    scored = [
        row
        for mode, probability in modes.items()
        for row in score_all(probability, labels, natives, cases, groups, leaked, mode, scoring)
    ]
    write_csv(run.out / "per_case.csv", scored, COLUMNS)

    primary = next(iter(modes))
    table = numbers(scored, tuple(modes), scoring.foreground, settings.bootstrap)
    for mode, probability in modes.items():
        for index, name in enumerate(scoring.foreground, start=1):
            pooled = pooled_error_auroc(probability, labels, cases, index, scoring)
            own = reliability(of(scored, mode, name))
            table["modes"][mode][name]["uncertainty"] = {"pooled": pooled, **own}
    table |= {"arm": run.arguments["arm"], "seed": int(run.arguments["seed"]), "primary": primary}
    table |= {"dataset": run.dataset, "phantom": bool(prepared.dataset["phantom"]), "images": len(rows)}
    table |= {"views": settings.views}
    table |= subsets(scored, tuple(modes), scoring.foreground, settings.bootstrap)
    if "calls" in predicted.extras:
        table["dice_by_call"] = dice_by_call(predicted.extras["calls"], labels, cases, scoring.foreground)
    if primary not in SEEDLESS and diffusion.seeds > 1 and "epistemic" in predicted.extras:
        agreement = seed_agreement(predicted.extras["epistemic"], predicted.uncertainty)
        table["seed_agreement"] = {"seeds": diffusion.seeds, **agreement}
    copied: Sequence[tuple[str, str]] = ()
    if "synthetic" in run.inputs:
        copies = copies_of_test(
            run.inputs["synthetic"], run.inputs["audit"], images, names, [groups[name] for name in names]
        )
        table["copies_of_test"] = {"samples": copies.samples, "flagged": copies.flagged, "hard": copies.hard}
        copied = copies.cases
    write_json(run.out / "metrics.json", table)

    chosen = of(scored, primary, scoring.foreground[0])
    write_overlays(run.out, chosen, settings.overlays, images, labels, names, modes[primary], predicted.uncertainty)
    for line in summary(table, scoring.foreground[0], copied):
        run.log(line)


def summary(table: Mapping[str, Any], foreground: str, copied: Sequence[tuple[str, str]]) -> list[str]:
    """Lines for the log: the primary mode's Dice of one class, and warnings of what its reader must know.

    table: as in metrics.json. copied: (sample, the test image that it copies).
    """
    primary = table["primary"]
    found = table["modes"][primary][foreground]
    mean, count = found["lesion"]["dice"]["mean"], found["lesion"]["dice"]["n"]
    lines = [f"{primary}: Dice {mean:.3f} over {count} images" if mean is not None else "no lesion"]
    lines += [
        f"warning: {sample} is a copy of test image {case}: the split leaks, these are no test scores"
        for sample, case in copied
    ]
    if "clean_subset" in table:
        clean = table["clean_subset"]
        score = clean["modes"][primary][foreground]["lesion"]["dice"]["mean"]
        lines.append(
            f"warning: {table['leaked_images']} of {table['images']} test images have a relative in train or val; "
            + (f"Dice {score:.3f} over the other {clean['images']}" if score is not None else "no lesion in the others")
        )
    if found["collapsed"]:
        lines.append("warning: one and the same mask for every test image; the segmenter has collapsed")
    return lines


def test_rows(prepared: Prepared, split: Path) -> list[int]:
    """Rows of the test part; DataError without one."""
    rows = rows_of_part(prepared, split, "test")
    if not rows:
        raise DataError(f"{split / 'split.csv'}: expected test images, found none; raise split.shares.test")
    return rows


def modes_of(
    config: SystemConfig, mode: str, probability: np.ndarray, extras: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Name of a way of prediction -> (N, K, H, W), the one that params asks for first, then the direct head.

    A system without diffusion has the direct head alone; the twin's second look is named as such, since no mask
    diffusion takes place.
    """
    direct = extras.get("direct")
    if direct is None or np.array_equal(probability, direct):
        return {"direct": probability}
    return {"twin" if getattr(config.method, "twin", "none") != "none" else mode: probability, "direct": direct}


def numbers(scored: Sequence[Row], modes: Sequence[str], foreground: Sequence[str], draws: int) -> dict[str, Any]:
    """mode -> foreground class -> the table of `statistics.aggregate`."""
    return {
        "modes": {
            mode: {
                name: aggregate(of(scored, mode, name), draws, numpy_generator_for(0, f"evaluate/{mode}/{name}"))
                for name in foreground
            }
            for mode in modes
        }
    }


def of(scored: Sequence[Row], mode: str, foreground: str) -> list[Row]:
    """The rows of one mode and foreground class."""
    return [row for row in scored if row["mode"] == mode and row["foreground"] == foreground]


def subsets(scored: Sequence[Row], modes: Sequence[str], foreground: Sequence[str], draws: int) -> dict[str, Any]:
    """Numbers of parts of the test images, each as `numbers` gives them, with the number of images.

    leaked_images: how many have a near-duplicate or an image of the same patient in train or val; where there are any,
    clean_subset holds the scores of all others. sites: site -> scores, where the test images are of more than one.
    """

    def block(rows: Sequence[Row]) -> dict[str, Any]:
        return {"images": len({row["case"] for row in rows}), **numbers(rows, modes, foreground, draws)}

    table: dict[str, Any] = {"leaked_images": len({row["case"] for row in scored if row["leaked"]})}
    if table["leaked_images"]:
        table["clean_subset"] = block([row for row in scored if not row["leaked"]])
    sites = sorted({row["site"] for row in scored})
    if len(sites) > 1:
        table["sites"] = {site or "unnamed": block([row for row in scored if row["site"] == site]) for site in sites}
    return table


def dice_by_call(
    calls: np.ndarray, labels: np.ndarray, cases: Sequence[Mapping[str, str]], foreground: Sequence[str]
) -> dict[str, list[float]]:
    """Mean Dice over images with a lesion after each call of the denoiser: more calls must not make it worse.

    calls: (N, calls, K, H, W) in [0, 1]; labels: (N, H, W) label maps at working size; cases: their rows of cases.csv,
    whose padding does not count.
    """
    inside = [inner_box(dict(case)).slices for case in cases]
    table = {}
    for index, name in enumerate(foreground, start=1):
        places = [place for place, label in enumerate(labels) if (label[inside[place]] == index).any()]

        def score(place: int, call: int, index: int = index) -> float:
            mask = of_class(calls[place, call], index)[0]
            return dice(mask[inside[place]], labels[place][inside[place]] == index)

        table[name] = [
            float(np.mean([score(place, call) for place in places])) for call in range(calls.shape[1]) if places
        ]
    return table


def write_overlays(
    out: Path,
    scored: Sequence[Row],
    count: int,
    images: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    probability: np.ndarray,
    uncertainty: np.ndarray,
) -> None:
    """overlays/<kind>_<k>.png and overlays.csv for the first foreground class. File names hold no case names."""
    folder = out / "overlays"
    folder.mkdir()
    place = {name: index for index, name in enumerate(names)}
    lines = []
    for kind, rows in extremes(scored, count).items():
        for number, row in enumerate(rows):
            index = place[row["case"]]
            mask = of_class(probability[index], 1)[0]
            picture = overlay(images[index], mask, labels[index] == 1, uncertainty[index])
            name = f"{kind}_{number}.png"
            write_png(folder / name, picture)
            lines.append({"file": name, "kind": kind, **{key: row[key] for key in ("case", "foreground", "dice")}})
    write_csv(folder / "overlays.csv", lines, OVERLAY_COLUMNS)


MORE_INPUTS: Mapping[str, Mapping[str, str]] = {
    "evaluate": {},
    "evaluate_synthetic": {"synthetic": "data/synthetic", "audit": "data/audit"},
    "evaluate_phantom": {},
}


def _stage(name: str) -> Stage:
    return Stage(
        name=name,
        module="segmentation.evaluate",
        run=run,
        output="results/{arm}-{seed}",
        inputs={
            "prepared": "data/prepared",
            "split": "data/split",
            "segmenter": "models/segmenter/{arm}-{seed}",
            **MORE_INPUTS[name],
        },
        params={"settings": "evaluate", "mask_diffusion": "segmenter.mask_diffusion", "runtime": "runtime"},
        arguments=("arm", "seed"),
        selected=("segmentation.systems.{system}",),
    )


STAGES: Mapping[str, Stage] = {name: _stage(name) for name in MORE_INPUTS}


def stage_of(arm: str) -> Stage:
    """The stage of dvc.yaml that evaluates this arm, by what the arm learned from."""
    streams = ARMS[arm].streams
    kind = "_synthetic" if "synthetic" in streams else "_phantom" if "phantom" in streams else ""
    return STAGES[f"evaluate{kind}"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m segmentation.evaluate", description="score one segmenter")
    parser.add_argument("--arm", required=True, choices=tuple(ARMS))
    parser.add_argument("--seed", required=True)
    return run_stage(stage_of(parser.parse_args(argv).arm), argv)


if __name__ == "__main__":
    raise SystemExit(main())
