"""Stages segment, segment_synthetic, segment_phantom: train one segmenter on one arm with one seed.

`python -m segmentation.train --arm both --seed 0`. The arm decides what is read: synthetic images only as far as the
audit kept them, and not at all where its verdict is `fail`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.datasets.case import Prepared, groups_of, labeled_rows, load_prepared, rows_of_part
from pipelines.datasets.images import valid_region
from pipelines.datasets.training import load_pool, stacked
from pipelines.params.segmenter import SegmentParams
from pipelines.runtime.artifacts import load_array, read_csv, read_json
from pipelines.runtime.errors import ParamsError, RefusedError
from pipelines.runtime.randomness import derive
from pipelines.runtime.stage import Run, Stage, run_stage
from pipelines.runtime.trainer import Step, TrainSettings, train
from segmentation.batches import ARMS, Kind, Pool, Pools, View, check_pools, make_batch, strong_views
from segmentation.intensity import mean_and_std
from segmentation.progress_curves import collapse
from segmentation.system import System, SystemConfig, as_module, build_system, save_system
from segmentation.validation import make_observer

PRETRAINED_MEAN = PRETRAINED_STD = 0.5  # what the lite0 weights were trained with


def run(run: Run) -> None:
    """The stage's body."""
    arm, seed = run.arguments["arm"], seed_of(run.arguments["seed"])
    settings: SegmentParams = run.params.settings
    prepared = load_prepared(run.inputs["prepared"])
    pools = make_pools(run, prepared, arm)
    check_pools(pools, arm, settings.batch_labeled, settings.batch_unlabeled, run.world)
    parts = ", ".join(f"{len(pool.rows)} {kind}" for kind, pool in pools.unlabeled.items()) or "none"
    run.log(f"{len(pools.labeled.rows)} labeled images; unlabeled: {parts}")
    config = make_config(run, prepared, pools, arm, seed)
    system = fresh_system(config)
    trained = train(
        as_module(system),
        make_losses(system, pools, settings, run.params.augment.labeled),
        TrainSettings(
            total_steps=settings.total_steps,
            lr=settings.lr,
            seed=seed,
            ema_decay=settings.ema_decay,
            checkpoint_every=settings.checkpoint_every,
        ),
        run,
        param_groups=param_groups(system),
        observe=make_observer(run, prepared, settings, pools.classes),
    )
    confident = config.system == "crossdiff" or config.method.semi in ("fixmatch", "unimatch")  # pixels alone teach
    for warning in collapse(read_csv(run.out / "metrics.csv"), learns=confident and pools.weight > 0):
        run.log(f"warning: {warning}")
    save_system(trained, run.out)  # type: ignore[arg-type]


def seed_of(text: str) -> int:
    """The seed of the command line."""
    if not text.isdecimal():
        raise ParamsError(f"--seed: expected a number of at least 0, found {text!r}")
    return int(text)


def make_pools(run: Run, prepared: Prepared, arm: str) -> Pools:
    """Rows and arrays of an arm. Of the dataset only the train part is learned from; of synthetic images only those the
    audit kept; of other datasets' images those that `pool` let in and that duplicate no labeled image.
    """
    split, kind = run.inputs["split"], ARMS[arm]
    fraction = 1.0 if kind.all_labels else run.params.label_fraction
    labeled, rest = labeled_rows(prepared, split, fraction)
    names = [row["case"] for row in prepared.cases]
    pools: dict[Kind, Pool] = {}
    for stream in kind.streams:
        if stream == "real":
            pools[stream] = real_pool(run, prepared, labeled, rest)
        elif stream == "labeled":
            cases = padded_cases([prepared.cases[row] for row in labeled], prepared)
            pools[stream] = Pool(prepared.images, labeled, [names[row] for row in labeled], cases)
        elif stream == "synthetic":
            pools[stream] = kept_pool(run.inputs["synthetic"], run.inputs["audit"], run.log)
        else:
            folder = run.inputs["phantom_pool"]
            images = load_array(folder / "images.npy")
            rows = list(range(len(images)))
            pools[stream] = Pool(images, rows, [f"phantom-{row}" for row in rows])
    foreground = len(prepared.dataset["foreground"])
    return Pools(
        labeled=Pool(prepared.images, labeled, [names[row] for row in labeled]),
        labels=prepared.labels,
        unlabeled=pools,
        classes=1 if foreground == 1 else foreground + 1,
        weight=kind.weight,
        views=strong_views(run.params.method.semi),
    )


def real_pool(run: Run, prepared: Prepared, labeled: Sequence[int], rest: Sequence[int]) -> Pool:
    """The unlabeled train images `rest`, then images of other datasets whose group holds no labeled image."""
    cases = [prepared.cases[row] for row in rest]
    groups = groups_of(prepared, run.inputs["split"])
    more = load_pool(run.inputs["pool"])
    joining = more.rows_outside({groups[prepared.cases[row]["case"]] for row in labeled})
    images, rows = prepared.images, list(rest)
    if joining:
        images, rows = stacked(prepared.images[rows], more.images[joining]), list(range(len(rows) + len(joining)))
        cases += [more.cases[row] for row in joining]
    return Pool(images, rows, [case["case"] for case in cases], padded_cases(cases, prepared))


def padded_cases(cases: Sequence[dict[str, str]], prepared: Prepared) -> Sequence[dict[str, str]] | None:
    """These rows of cases.csv where some of their images is padded to the working square of `prepared`, else None."""
    size = int(prepared.images.shape[1])
    padded = prepared.dataset["resize"] != "stretch" and any(not valid_region(case, size).all() for case in cases)
    return cases if padded else None


def kept_pool(synthetic: Path, audit: Path, log: Callable[[str], None] = print) -> Pool:
    """The samples that the audit kept. RefusedError on the verdict `fail`, naming its reasons; a warning otherwise."""
    verdict = read_json(audit / "verdict.json")
    reasons = "; ".join(verdict["reasons"])
    if verdict["verdict"] == "fail":
        raise RefusedError(
            f"{audit / 'verdict.json'}: expected pass or inconclusive, found fail: {reasons}; nothing is trained on "
            "these samples; change the generator or drop the arm from arms.synthetic"
        )
    if verdict["verdict"] == "inconclusive":
        log(f"warning: the audit is inconclusive: {reasons}")
    kept = read_csv(audit / "kept.csv")
    return Pool(
        load_array(synthetic / "images.npy"), [int(row["row"]) for row in kept], [row["sample"] for row in kept]
    )


def make_config(run: Run, prepared: Prepared, pools: Pools, arm: str, seed: int) -> SystemConfig:
    """Everything that rebuilds the segmenter and its input. Mean and spread are of the train images, not of padding."""
    params = run.params
    mean, std = PRETRAINED_MEAN, PRETRAINED_STD
    if params.encoder.weights == "none":
        rows = rows_of_part(prepared, run.inputs["split"], "train")
        mean, std = mean_and_std(prepared.images, rows, padded_cases([prepared.cases[row] for row in rows], prepared))
        std = max(std, 1e-3)
    return SystemConfig(
        system=params.system,
        method=params.method,
        classes=pools.classes,
        width=params.settings.width,
        mean=mean,
        std=std,
        encoder=params.encoder,
        mask_diffusion=params.mask_diffusion,
        semi=params.semi,
        augment=params.augment,
        size=int(prepared.images.shape[1]),
        resize=prepared.dataset["resize"],
        foreground=list(prepared.dataset["foreground"]),
        dataset=run.dataset,
        phantom=bool(prepared.dataset["phantom"]),
        arm=arm,
        seed=seed,
    )


def fresh_system(config: SystemConfig) -> System:
    """An untrained system whose first weights are a function of the seed: the same for all arms of that seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "init"))
        return build_system(config, pretrained=True)


def make_losses(
    system: System, pools: Pools, settings: SegmentParams, labeled_view: View
) -> Callable[[Step, Any], dict[str, Tensor]]:
    """The closure that the trainer calls; the moving average is the teacher."""

    def losses(step: Step, ema: Any) -> dict[str, Tensor]:
        # the trainer's autocast must not reach warps and blurs: their grids and weights need float32
        with torch.autocast(step.device.type, enabled=False):
            batch = make_batch(pools, step, settings.batch_labeled, settings.batch_unlabeled, labeled_view)
        step.cases = batch.names
        return system.losses(batch, step.u, step.draws(settings.batch_labeled), ema)

    return losses


def param_groups(system: System) -> list[dict[str, Any]]:
    """The pretrained encoder learns at a rate of its own."""
    module = as_module(system)
    encoder = [p for name, p in module.named_parameters() if name.startswith("encoder.")]
    rest = [p for name, p in module.named_parameters() if not name.startswith("encoder.")]
    known = system.config.encoder
    scale = known.lr_scale if known.weights != "none" else 1.0
    return [{"params": encoder, "lr_scale": scale}, {"params": rest, "lr_scale": 1.0}]


PLAIN_INPUTS = {"prepared": "data/prepared", "split": "data/split"}
MORE_INPUTS: Mapping[str, Mapping[str, str]] = {
    "segment": {"pool": "data/pool"},
    "segment_synthetic": {"pool": "data/pool", "synthetic": "data/synthetic", "audit": "data/audit"},
    "segment_phantom": {"phantom_pool": "data/phantom_pool/{arm}"},
}


def _stage(name: str) -> Stage:
    return Stage(
        name=name,
        module="segmentation.train",
        run=run,
        output="models/segmenter/{arm}-{seed}",
        inputs={**PLAIN_INPUTS, **MORE_INPUTS[name]},
        params={
            "settings": "scales.{scale}.segment",
            "system": "segmenter.system",
            "label_fraction": "segmenter.label_fraction",
            "encoder": "segmenter.encoder",
            "mask_diffusion": "segmenter.mask_diffusion",
            "semi": "segmenter.semi",
            "augment": "segmenter.augment",
            "method": "segmenter.{system}",
            "runtime": "runtime",
        },
        arguments=("arm", "seed"),
        selected=("segmentation.systems.{system}",),
    )


STAGES: Mapping[str, Stage] = {name: _stage(name) for name in MORE_INPUTS}


def stage_of(arm: str) -> Stage:
    """The stage of dvc.yaml that trains this arm, by what it reads."""
    streams = ARMS[arm].streams
    name = "segment_synthetic" if "synthetic" in streams else "segment_phantom" if "phantom" in streams else "segment"
    return STAGES[name]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m segmentation.train", description="train one segmenter")
    parser.add_argument("--arm", required=True, choices=tuple(ARMS))
    parser.add_argument("--seed", required=True)
    return run_stage(stage_of(parser.parse_args(argv).arm), argv)


if __name__ == "__main__":
    raise SystemExit(main())
