"""`scales`: the budgets of smoke, demo and full."""

from pydantic import Field

from pipelines.params.block import Block
from pipelines.params.generator import AutoencoderParams, DiffusionParams, SampleParams
from pipelines.params.segmenter import SegmentParams


class PrepareScale(Block):
    """size: side of the square working image, pixels. phantom_images: how many the phantom makes."""

    size: int = Field(ge=32, le=2048, multiple_of=32)
    phantom_images: int = Field(ge=12, le=100_000)


class Scale(Block):
    prepare: PrepareScale
    autoencoder: AutoencoderParams
    diffusion: DiffusionParams
    sample: SampleParams
    segment: SegmentParams


class ScalesParams(Block):
    smoke: Scale
    demo: Scale
    full: Scale
