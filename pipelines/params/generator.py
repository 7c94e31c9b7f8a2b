"""`scales.<scale>.{autoencoder, diffusion, sample}`: budgets and sizes of the generator."""

from typing import Annotated

from pydantic import Field, model_validator

from pipelines.params.block import Block

Channels = Annotated[int, Field(ge=4, le=2048)]
MAX_STEPS = 10_000_000


class AutoencoderParams(Block):
    """channels: one entry per resolution, so the factor is 2^(n - 1). kl_weight: of the KL per image."""

    channels: list[Channels] = Field(min_length=1, max_length=6)
    latent_channels: int = Field(ge=1, le=64)
    layers: int = Field(ge=1, le=8)
    kl_weight: float = Field(ge=0.0, le=1.0)
    perceptual_weight: float = Field(ge=0.0, le=10.0)
    total_steps: int = Field(ge=1, le=MAX_STEPS)
    batch: int = Field(ge=1, le=4096)
    lr: float = Field(gt=0.0, le=1.0)
    ema_decay: float = Field(ge=0.0, lt=1.0)
    checkpoint_every: int = Field(ge=1)
    seed: int = Field(ge=0)


class DiffusionParams(Block):
    """channels: one entry per resolution of the latent U-Net. T: steps of the noise schedule."""

    channels: list[Channels] = Field(min_length=1, max_length=6)
    layers: int = Field(ge=1, le=8)
    dropout: float = Field(ge=0.0, lt=1.0)
    T: int = Field(ge=2, le=10_000)
    condition_dropout: float = Field(ge=0.0, le=1.0)
    total_steps: int = Field(ge=1, le=MAX_STEPS)
    batch: int = Field(ge=1, le=4096)
    lr: float = Field(gt=0.0, le=1.0)
    ema_decay: float = Field(ge=0.0, lt=1.0)
    checkpoint_every: int = Field(ge=1)
    seed: int = Field(ge=0)


class SampleParams(Block):
    """count: images. batch: how many at once; it changes no image. guidance: 1 is none (classifier-free)."""

    count: int = Field(ge=1, le=1_000_000)
    batch: int = Field(ge=1, le=4096)
    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=0.0, le=20.0)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _batch(self) -> "SampleParams":
        if self.batch > self.count:
            raise ValueError(f"batch ({self.batch}) must not be larger than count ({self.count})")
        return self
