"""`runtime`: how the machine is used, as far as the bytes of a result depend on it."""

from typing import Literal

from pydantic import Field

from pipelines.params.block import Block


class RuntimeParams(Block):
    """threads: CPU threads of torch (sums are ordered by them). precision: bf16 means autocast of the trainings' steps.

    Weights, moving averages, augmentations, samples, predictions and scores are float32 whatever it says, so a model
    scores the same wherever it was trained.
    """

    threads: int = Field(ge=1, le=256)
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
