"""Stage sample: draw synthetic images. Sample i is a function of (seed, i): of no batch, count, process or order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from generative.autoencoder.model import to_gray
from generative.diffusion.folder import load_pipeline
from generative.diffusion.pipeline import UltrasoundPipeline
from pipelines.params.generator import SampleParams
from pipelines.runtime.artifacts import save_array, write_csv
from pipelines.runtime.errors import DataError, ParamsError
from pipelines.runtime.randomness import derive
from pipelines.runtime.stage import Run, Stage, run_stage

STREAM = "sample"


def classes_in_order(counts: Sequence[int], count: int) -> list[int]:
    """Class index of the first `count` samples: each next one goes to the class that lacks most (ties: lower index).

    Every prefix has the frequencies `counts` up to one image, so sample i keeps its class when more are drawn.
    """
    total = sum(counts)
    if total <= 0:
        raise DataError("models/diffusion: expected train images with a class, found none; check the class column")
    given = [0] * len(counts)
    order = []
    for i in range(count):
        lack = [wanted * (i + 1) - had * total for wanted, had in zip(counts, given, strict=True)]
        chosen = lack.index(max(lack))
        given[chosen] += 1
        order.append(chosen)
    return order


def noise_of(pipeline: UltrasoundPipeline, ids: Sequence[int], seed: int) -> torch.Tensor:
    """Starting noise (len(ids), c, h, w): row j from the generator seeded with derive(seed, "sample", ids[j])."""
    unet = pipeline.unet.config
    shape = (1, unet.in_channels, unet.sample_size, unet.sample_size)
    generators = [torch.Generator().manual_seed(derive(seed, STREAM, i)) for i in ids]
    return torch.cat([torch.randn(shape, generator=generator) for generator in generators])


def draw_samples(
    pipeline: UltrasoundPipeline,
    ids: Sequence[int],
    labels: Sequence[int] | None,
    params: SampleParams,
    on_batch: Callable[[int], None] = lambda _done: None,
) -> np.ndarray:
    """The images of these sample ids, (len(ids), H, W) uint8; any subset of ids gives the same images.

    labels: class of each id, None where the generator has no classes. ParamsError when params.steps does not divide T.
    """
    T = pipeline.scheduler.config.num_train_timesteps
    if T % params.steps:
        raise ParamsError(f"sample.steps: expected a divisor of diffusion.T = {T}, found {params.steps}")
    parts = []
    for start in range(0, len(ids), params.batch):
        part = slice(start, start + params.batch)
        images = pipeline(
            class_labels=None if labels is None else list(labels[part]),
            num_inference_steps=params.steps,
            guidance_scale=params.guidance,
            latents=noise_of(pipeline, ids[part], params.seed),
            output_type="pt",
        ).images
        parts.append(to_gray(images * 2.0 - 1.0))
        on_batch(start + len(parts[-1]))
    return np.concatenate(parts)


def shard(ids: Sequence[int], rank: int, world: int) -> list[int]:
    """The ids of one of `world` processes: every world-th, the last one repeated until all have equally many."""
    padded = [*ids, *[ids[-1]] * (-len(ids) % world)]
    return padded[rank::world]


def gather(images: np.ndarray, count: int, run: Run) -> np.ndarray:
    """The images of all processes in the order of their ids, (count, H, W) uint8, from this process's shard."""
    if run.world == 1:
        return images
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=run.device.type == "cpu")
    blocks = accelerator.gather(torch.from_numpy(images).to(accelerator.device))  # rank after rank
    together = blocks.view(run.world, -1, *images.shape[1:]).transpose(0, 1).flatten(0, 1)
    return together[:count].cpu().numpy()


def run(run: Run) -> None:
    """The stage's body. Several processes draw a shard each."""
    params: SampleParams = run.params.settings
    pipeline = load_pipeline(run.inputs["diffusion"]).to(run.device)
    names, counts = pipeline.config.class_names, pipeline.config.class_counts
    labels = classes_in_order(counts, params.count) if names else None
    ids = shard(range(params.count), run.rank, run.world)
    mine = None if labels is None else [labels[i] for i in ids]
    images = draw_samples(pipeline, ids, mine, params, run.progress(len(ids)).update)
    images = gather(images, params.count, run)
    save_array(run.out / "images.npy", images)
    rows = [
        {
            "sample": f"s{i:06d}",
            "row": i,
            "class": "" if labels is None else names[labels[i]],
            "seed": derive(params.seed, STREAM, i),
        }
        for i in range(params.count)
    ]
    write_csv(run.out / "samples.csv", rows, ["sample", "row", "class", "seed"])


STAGE = Stage(
    name="sample",
    module="generative.diffusion.sample",
    run=run,
    output="data/synthetic",
    inputs={"diffusion": "models/diffusion"},
    params={"settings": "scales.{scale}.sample", "runtime": "runtime"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
