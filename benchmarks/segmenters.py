"""Time, arithmetic and memory of every segmenter, and whether the targets are met, as Markdown.

python -m benchmarks.segmenters [--size 256] [--scale full] [--device auto] [--repeats 7] [--systems ...] [--compile]

Three calls take turns: a training step of the arm `both` as the stage does it, from arrays in memory (rows, draws,
warps, photometric; then losses, backward, clip, optimizer, moving average); the same step on a batch made beforehand;
and the making of a batch alone. The first over the second says what waits for data. Then the predictions of all systems
take turns at each batch size, beside the U-Net with a ResNet-34. An image counts once, however many views, calls and
samples it is given. Pixels are random, weights are those that a training starts from, parameters are those of
pipelines/default.yaml. Medians decide, the smallest and the largest stand beside. Memory is counted on CUDA alone.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from benchmarks import costs
from benchmarks.segmenters_table import REFERENCE, Row, markdown, targets
from benchmarks.segmenters_work import Work, make_config, prediction_works, training_works
from pipelines.params.loader import load_params
from pipelines.params.root import Params
from pipelines.params.segmenter import EncoderParams, SegmentParams
from pipelines.runtime.artifacts import write_json
from pipelines.runtime.stage import versions
from pipelines.study.hardware import cpu_model
from segmentation.system import SYSTEMS
from segmentation.views import MULTIPLE

DEFAULTS = Path(__file__).resolve().parents[1] / "pipelines" / "default.yaml"
BATCHES = (1, 16)  # of predictions


def timed(works: Sequence[Work], repeats: int, device: torch.device) -> list[Row]:
    """The rows with their seconds."""
    calls = {str(place): call for place, (_, call) in enumerate(works)}
    seconds = costs.interleaved(calls, repeats, device)
    return [replace(row, seconds=seconds[str(place)]) for place, (row, _) in enumerate(works)]


def measure(
    params: Params, scale: str, size: int, systems: Sequence[str], device: torch.device, repeats: int, *, faster: bool
) -> list[Row]:
    """All rows; faster: every system once more, compiled."""
    budget: SegmentParams = getattr(params.scales, scale).segment
    encoder, view = params.segmenter.encoder, params.segmenter.augment.labeled
    resnet = EncoderParams(name="resnet34", weights="none", norm="auto", lr_scale=1.0)
    configs = {name: make_config(params, name, size, budget.width, encoder) for name in ("unet", *systems)}
    variants = (False, True) if faster else (False,)
    works: list[Work] = []
    for name, variant in itertools.product(systems, variants):
        works += training_works(_named(name, variant), configs[name], budget, view, device, faster=variant)
    rows = timed(works, repeats, device)
    configs = {REFERENCE: make_config(params, "unet", size, budget.width, resnet), **configs}
    for images in BATCHES:
        works = []
        for name, variant in itertools.product(configs, variants):
            works += prediction_works(_named(name, variant), configs[name], images, device, faster=variant)
        rows += timed(works, repeats, device)
    return rows


def _named(system: str, faster: bool) -> str:
    return f"{system}, compiled" if faster else system


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.segmenters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", type=int, default=256, help=f"px of a side, a multiple of {MULTIPLE}")
    parser.add_argument("--scale", choices=("smoke", "demo", "full"), default="full", help="whose widths and batches")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--systems", nargs="+", choices=tuple(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--compile", action="store_true", help="each system again under torch.compile: minutes more")
    parser.add_argument("--json", type=Path, help="write the same there")
    options = parser.parse_args(argv)
    if options.size < MULTIPLE or options.size % MULTIPLE:
        parser.error(f"--size: expected a positive multiple of {MULTIPLE}, found {options.size}")
    if options.repeats < 1:
        parser.error(f"--repeats: expected at least 1, found {options.repeats}")
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    return options


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(argv)
    params, device = load_params(DEFAULTS), torch.device(options.device)
    torch.set_num_threads(params.runtime.threads)
    name = costs.device_name(device)
    facts = {
        "device": name,
        "cpu": f"{cpu_model()}, {params.runtime.threads} threads, load before {costs.load():.1f}",
        "size": f"{options.size} px, width and batches of scale {options.scale}",
        "repeats": f"{options.repeats}, in turns; median (smallest to largest)",
        "versions": ", ".join(f"{package} {version}" for package, version in versions().items()),
    }
    rows = measure(
        params, options.scale, options.size, options.systems, device, options.repeats, faster=options.compile
    )
    two_cores = device.type == "cpu" and params.runtime.threads == 2
    found, peak = targets(rows, size=options.size, two_cores=two_cores), costs.peak_flops(name)
    print(markdown(rows, found, facts, peak))
    if options.json:
        shown = [asdict(target) | {"verdict": target.verdict} for target in found]
        write_json(options.json, {"facts": facts, "rows": [asdict(row) for row in rows], "targets": shown})


if __name__ == "__main__":
    main()
