"""What is timed of a segmenter: parts of a training step, and predictions; each a call with the facts of its row."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import costs
from benchmarks.segmenters_table import ARRAYS, BATCH, PREDICTION, READY, Row
from pipelines.params.root import Params
from pipelines.params.segmenter import EncoderParams, SegmentParams
from pipelines.runtime.randomness import generator_for, numpy_generator_for
from pipelines.runtime.trainer import Losses, Step, TrainSettings, build_optimizer, learning_rate, update_ema
from segmentation.batches import ARMS, Pool, Pools, View, make_batch, strong_views
from segmentation.system import Batch, SystemConfig, as_module
from segmentation.train import PRETRAINED_MEAN, PRETRAINED_STD, fresh_system, make_losses, param_groups

ARM, HALF = "both", 0.5  # every loss is on in the middle of a training
IMAGES = 64  # rows of each array
MODE, CALLS = "refine", 3

Work = tuple[Row, costs.Call]


def make_config(params: Params, system: str, size: int, width: float, encoder: EncoderParams) -> SystemConfig:
    """As the stage would write it."""
    segmenter = params.segmenter
    return SystemConfig(
        system=cast(Any, system),
        method=getattr(segmenter, system),
        classes=1,
        width=width,
        mean=PRETRAINED_MEAN,
        std=PRETRAINED_STD,
        encoder=encoder,
        mask_diffusion=segmenter.mask_diffusion,
        semi=segmenter.semi,
        augment=segmenter.augment,
        size=size,
        resize="stretch",
        foreground=["lesion"],
        dataset="phantom",
        phantom=True,
        arm=ARM,
        seed=0,
    )


def make_pools(config: SystemConfig) -> Pools:
    """Random images, label maps of one square, and an unlabeled pool per stream of the arm."""
    random, size = numpy_generator_for(0, "benchmark/segmenters"), config.size

    def pool(name: str) -> Pool:
        images = random.integers(0, 256, (IMAGES, size, size), np.uint8)
        return Pool(images, range(IMAGES), [f"{name}-{row}" for row in range(IMAGES)])

    labels = np.zeros((IMAGES, size, size), np.uint8)
    labels[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    unlabeled = {stream: pool(stream) for stream in ARMS[ARM].streams}
    views = strong_views(config.method.semi)
    return Pools(pool("labeled"), labels, unlabeled, classes=1, weight=ARMS[ARM].weight, views=views)


def training_step(
    module: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    losses: Losses,
    step: Step,
) -> None:
    """What the trainer does in one step of one process (`pipelines.runtime.trainer.train`)."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step.u) * group["lr_scale"]
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(step.device.type, torch.bfloat16, enabled=step.device.type == "cuda"):
        parts = losses(step, teacher)
    parts["total"].backward()
    torch.stack([value.detach().float().reshape(()) for value in parts.values()]).tolist()
    float(nn.utils.clip_grad_norm_(module.parameters(), settings.clip))
    optimizer.step()
    update_ema(teacher, module, step.index, settings.ema_decay)


def compile_parts(module: nn.Module) -> None:
    """torch.compile of each part's forward, in place: losses and samplers, which draw, stay as they are."""
    for part in module.children():
        part.compile()


def training_works(
    name: str, config: SystemConfig, budget: SegmentParams, view: View, device: torch.device, *, faster: bool = False
) -> list[Work]:
    """Both training steps and the batch alone; view: of labeled images; faster: compiled."""
    pools, before = make_pools(config), costs.allocated(device)
    system = fresh_system(config)
    module = as_module(system).to(device).train()
    teacher = copy.deepcopy(module).eval().requires_grad_(False)
    settings = TrainSettings(budget.total_steps, budget.lr, 0, budget.ema_decay, budget.checkpoint_every)
    optimizer = build_optimizer(module, settings, param_groups(system))
    steps = (Step(index, HALF, 0, device) for index in itertools.count())

    def batch() -> Batch:
        return make_batch(pools, next(steps), budget.batch_labeled, budget.batch_unlabeled, view)

    ready = batch()

    def losses_of_ready(step: Step, ema: Any) -> dict[str, Tensor]:
        return system.losses(ready, step.u, step.draws(budget.batch_labeled), ema)

    def run(losses: Losses) -> None:
        training_step(module, teacher, optimizer, settings, losses, next(steps))

    from_arrays = partial(run, make_losses(system, pools, budget, view))
    row = Row(
        name,
        ARRAYS,
        images=budget.batch_labeled + budget.batch_unlabeled,
        flops=costs.count_flops(from_arrays),
        parameters=costs.count_parameters(module),
        bf16=device.type == "cuda",
    )
    if faster:
        compile_parts(module)
        compile_parts(teacher)
        from_arrays()
    row = replace(row, memory=costs.peak_memory(from_arrays, device, before))
    return [
        (row, from_arrays),
        (replace(row, work=READY, memory=None), partial(run, losses_of_ready)),
        (Row(name, BATCH, row.images), batch),
    ]


def prediction_works(
    name: str, config: SystemConfig, images: int, device: torch.device, *, faster: bool = False
) -> list[Work]:
    """One row for a system that draws no samples, else one for a single sample and one for as many as params ask (2 at
    least, which tell such a system by their arithmetic).
    """
    before = costs.allocated(device)
    system = fresh_system(config)
    module = as_module(system).to(device).eval()
    pixels = torch.rand(images, 1, config.size, config.size, generator=generator_for(0, "benchmark/pixels")).to(device)
    names = [f"case-{row}" for row in range(images)]

    def call(seeds: int) -> costs.Call:
        return partial(system.predict, pixels, steps=CALLS, seeds=seeds, mode=MODE, case_ids=names)

    counts = (1, max(2, config.mask_diffusion.seeds))
    flops = [costs.count_flops(call(seeds)) for seeds in counts]
    parameters = costs.parameters_run(module, call(1))
    if faster:
        compile_parts(module)
    row = Row(name, PREDICTION, images, flops[0], parameters)
    if flops[0] == flops[1]:
        return [(replace(row, memory=costs.peak_memory(call(1), device, before)), call(1))]
    works: list[Work] = []
    for seeds, flop in zip(counts, flops, strict=True):
        detail = f"{MODE}, {CALLS} calls, {seeds} seed{'s' if seeds > 1 else ''}"
        memory = costs.peak_memory(call(seeds), device, before)
        works.append((replace(row, flops=flop, detail=detail, seeds=seeds, memory=memory), call(seeds)))
    return works
