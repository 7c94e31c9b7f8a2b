"""What the denoiser is good for: `python -m segmentation.diagnose --arm real --seed 0`. No stage: nothing hangs on it.

Compares, image by image, the direct head with the refiner at several starts and numbers of calls, the sampler from pure
noise and the ensemble; and with the refiner that starts from the true mask, which bounds what any start could win. By
default on the *unlabeled images of the train part*: their pseudo-labels are what the denoiser is to repair, and their
masks, which this arm's training never saw, are read for this diagnosis alone.
`--from FOLDER` starts the same refiner from the masks of another segmenter too. Prints a table and writes
results/diagnosis/<arm>-<seed>-<rows>.json (with --from: ...-from-<its folder>.json).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from pipelines.datasets.case import Prepared, groups_of, labeled_rows, load_prepared, rows_of_part
from pipelines.runtime.artifacts import Manifest, verify_folder, write_json
from pipelines.runtime.errors import ArtifactError, DataError, ParamsError, SonoSynthError
from pipelines.runtime.progress import Progress
from segmentation.batches import ARMS
from segmentation.refinement import Material, Refiner, diagnose
from segmentation.system import System, load_system

NOTES = {
    "unlabeled": "note: the masks of unlabeled images are read for this diagnosis alone; this training never saw them",
    "val": "note: the masks of val are read; choose by them, and test by others",
    "test": "warning: this opens the test part, and counts as opening it: choose nothing by what it shows",
}


def run(arguments: argparse.Namespace, root: Path) -> Path:
    """Load, predict, print, write; returns the file."""
    folder = root / "models" / "segmenter" / f"{arguments.arm}-{arguments.seed}"
    inputs = {name: verify_folder(root / "data" / name) for name in ("prepared", "split")}
    manifest = trained_here(folder, inputs)
    device = device_of(arguments.device)
    system = load_system(folder, device)
    refiner = as_refiner(system, folder)
    fraction = label_fraction(manifest, arguments.arm)
    prepared, split = load_prepared(root / "data" / "prepared"), root / "data" / "split"
    rows, groups = choose_rows(prepared, split, arguments.rows, fraction), groups_of(prepared, split)
    other = None
    if arguments.other is not None:
        other = load_other(arguments.other, system, inputs, arguments.rows, fraction, device)
    print(f"diagnose: {NOTES[arguments.rows]}", file=sys.stderr)
    material = Material(prepared, rows, [groups[prepared.cases[row]["case"]] for row in rows])
    progress = Progress("diagnose", len(rows)).update
    found = diagnose(system, refiner, other, material, arguments.seeds, device, progress)
    for name, table in found.items():
        print(f"{name}: {table['images']} of {len(rows)} images ({arguments.rows}) in {table['groups']} groups")
        print("\n".join(lines(table)))
    facts: dict[str, Any] = {"arm": arguments.arm, "seed": arguments.seed, "rows": arguments.rows}
    facts |= {"dataset": manifest.facts["dataset"], "segmenter": manifest.sha256, "label_fraction": fraction}
    facts |= {"seeds": arguments.seeds, "device": device.type, "foreground": found}
    if arguments.other is not None:
        facts["from"] = {"folder": arguments.other.as_posix(), "segmenter": verify_folder(arguments.other).sha256}
    suffix = f"-from-{arguments.other.resolve().name}" if arguments.other is not None else ""
    path = root / "results" / "diagnosis" / f"{arguments.arm}-{arguments.seed}-{arguments.rows}{suffix}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, facts)
    return path


def trained_here(folder: Path, inputs: Mapping[str, Manifest]) -> Manifest:
    """The manifest of a segmenter; ArtifactError unless it learned from this very data/prepared and data/split.

    Under another split the unlabeled images may be ones that it was trained on.
    """
    manifest = verify_folder(folder)
    for name, current in inputs.items():
        found = str(manifest.facts["inputs"].get(name))
        if found != current.sha256:
            raise ArtifactError(
                f"{folder}: expected a segmenter trained on data/{name} as it is now ({current.sha256[:12]}), found "
                f"one trained on another ({found[:12]}); train it again"
            )
    return manifest


def label_fraction(manifest: Manifest, arm: str) -> float:
    """The share of the train part whose masks this training saw."""
    return 1.0 if ARMS[arm].all_labels else float(manifest.facts["params"]["segmenter.label_fraction"])


def as_refiner(system: System, folder: Path) -> Refiner:
    """The same object under its other type; ArtifactError where the system has no denoiser to start."""
    if not isinstance(system, Refiner):
        raise ArtifactError(
            f"{folder}: expected a segmenter that can refine an estimate (crossdiff), found {system.config.system}; "
            "diagnose another one"
        )
    return cast(Refiner, system)


def choose_rows(prepared: Prepared, split: Path, rows: str, fraction: float) -> list[int]:
    """Rows of the named part; for `unlabeled`, the train images whose masks no training saw. DataError without one."""
    unlabeled = rows == "unlabeled"
    chosen = labeled_rows(prepared, split, fraction)[1] if unlabeled else rows_of_part(prepared, split, rows)
    if not chosen:
        raise DataError(
            f"{split}: expected images for --rows {rows} (label fraction {fraction:g}), found none; choose others"
        )
    return chosen


def load_other(
    folder: Path, system: System, inputs: Mapping[str, Manifest], rows: str, fraction: float, device: torch.device
) -> System:
    """The segmenter of --from. ArtifactError where it does not fit this one, or has seen masks that are to judge it."""
    manifest = trained_here(folder, inputs)
    other = load_system(folder, device)
    mine, theirs = system.config, other.config
    if (theirs.classes, theirs.size, theirs.resize) != (mine.classes, mine.size, mine.resize):
        raise ArtifactError(
            f"{folder}: expected {mine.classes} channels at {mine.size} pixels ({mine.resize}), found {theirs.classes} "
            f"at {theirs.size} ({theirs.resize}); train it under the same params"
        )
    used = label_fraction(manifest, theirs.arm)
    if rows == "unlabeled" and used > fraction:
        raise ArtifactError(
            f"{folder}: expected at most label fraction {fraction:g}, found {used:g}: it was trained on masks of these "
            "images; use --rows val"
        )
    return other


def lines(found: Mapping[str, Any]) -> list[str]:
    """One class's numbers as a table for the terminal."""
    text = [f"{'prediction':<30} {'Dice':>6}  {'95% interval':<17} {'one seed':>8} {'sd':>6}  gain, 95% interval"]
    for name, entry in found["methods"].items():
        score, gain = entry["dice"], entry.get("gain")
        span = f"{score['low']:.4f} to {score['high']:.4f}"
        single = f"{entry['one_seed']:8.4f} {entry['seed_sd']:6.4f}" if "one_seed" in entry else " " * 15
        difference = f"{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})" if gain else ""
        text.append(f"{name:<30} {score['mean']:6.4f}  {span:<17} {single}  {difference}".rstrip())
    return text


def device_of(choice: str) -> torch.device:
    """ParamsError where a device is asked for that is not there."""
    if choice == "cuda" and not torch.cuda.is_available():
        raise ParamsError("--device cuda: expected a CUDA device, found none; use --device cpu")
    return torch.device("cuda" if torch.cuda.is_available() and choice != "cpu" else "cpu")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m segmentation.diagnose",
        description="Compare ways of prediction of one segmenter, by default on the unlabeled train images.",
    )
    parser.add_argument("--arm", required=True, choices=tuple(ARMS))
    parser.add_argument("--seed", required=True, type=_number, help="of the training")
    parser.add_argument("--rows", choices=tuple(NOTES), default="unlabeled", help="test counts as opening it")
    parser.add_argument("--from", dest="other", type=Path, metavar="FOLDER", help="another segmenter to start from")
    parser.add_argument("--seeds", type=_number, default=4, help="samples that are averaged, at least 1 (default: 4)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 1:
        parser.error("--seeds: expected at least 1, found 0")
    return arguments


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, found {text!r}")
    return int(text)


def main(argv: Sequence[str] | None = None, *, root: Path | None = None) -> int:
    """0 when the table was written, 1 for an expected error, 2 for a wrong command line."""
    arguments = parse(argv)
    try:
        path = run(arguments, root or Path())
    except SonoSynthError as error:
        print(f"diagnose: error: {error}", file=sys.stderr)
        return 1
    print(f"diagnose: see {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
