"""`segmenter`: the method, and `scales.<scale>.segment`: its budget."""

from typing import Literal

from pydantic import Field, model_validator

from pipelines.params.block import Block
from pipelines.params.generator import MAX_STEPS


class EncoderParams(Block):
    """weights: `lite0` is the ImageNet file of the pip package. norm: auto = frozen_bn with weights, bn without.

    frozen_bn: running statistics constant; gn: GroupNorm with the scale and shift of the BatchNorm that it replaces.
    lr_scale: factor on the learning rate of an encoder that comes with weights; one without learns at the full rate.
    """

    name: str
    weights: Literal["none", "lite0"]
    norm: Literal["auto", "bn", "frozen_bn", "gn"]
    lr_scale: float = Field(gt=0.0, le=10.0)

    @model_validator(mode="after")
    def _weights_fit(self) -> "EncoderParams":
        if self.weights == "lite0" and not self.name.endswith("tf_efficientnet_lite0"):
            raise ValueError(
                f"weights lite0 belong to tu-tf_efficientnet_lite0, found name {self.name!r}; set weights: none"
            )
        return self


class MaskDiffusionParams(Block):
    """T, beta_start, beta_end: linear schedule. input_scale: b. start, steps, seeds: of the warm-started refiner.

    estimate, strength: what the denoiser starts from in training, and how damaged it is (1: as the defaults say).
    ensemble: weight of the refined probability beside the direct one in the mode of that name.
    """

    T: int = Field(ge=2, le=10_000)
    beta_start: float = Field(gt=0.0, lt=1.0)
    beta_end: float = Field(gt=0.0, lt=1.0)
    input_scale: float = Field(gt=0.0, le=1.0)
    mode: Literal["direct", "refine", "fast", "quality", "ensemble", "posterior"]
    start: int = Field(ge=1)
    steps: int = Field(ge=1, le=1000)
    seeds: int = Field(ge=1, le=64)
    estimate: Literal["corrupt", "teacher", "self", "truth"]
    strength: float = Field(ge=0.0, le=3.0)
    ensemble: float = Field(ge=0.0, le=1.0)


class AugmentParams(Block):
    """labeled: `weak` moves labeled images alone; `strong` changes brightness and texture too, as a scanner does.

    channel_dropout: share of the encoder's channels that a second pass over the labeled images goes without; 0: no such
    pass.
    """

    labeled: Literal["weak", "strong"]
    channel_dropout: float = Field(ge=0.0, lt=1.0)


class SemiParams(Block):
    """w_max, ramp: consistency weight w(u). lc: weight of the cross-consistency. kappa: confidence per class.

    rectify: whether the denoiser repairs pseudo-labels (`refine`), or is averaged with them (`mean`). confidence: which
    pixels teach, by the teacher's probability or by the agreement of four samples of the denoiser. Both are read by
    `crossdiff` alone: `unet` has no denoiser. The methods mean_teacher and bcp take all pixels, as published.
    """

    w_max: float = Field(ge=0.0, le=100.0)
    lc: float = Field(ge=0.0, le=100.0)
    ramp: float = Field(gt=0.0, le=1.0)
    kappa_foreground: float = Field(ge=0.5, lt=1.0)
    kappa_background: float = Field(ge=0.5, lt=1.0)
    rectify: Literal["none", "refine", "mean"]
    confidence: Literal["probability", "agreement"]


SemiMethod = Literal["mean_teacher", "fixmatch", "unimatch", "bcp"]


class UnetParams(Block):
    """semi: what teaches from unlabeled images (segmentation/semi)."""

    semi: SemiMethod


class CrossdiffParams(Block):
    """semi: what teaches the direct head from unlabeled images. twin: the same network and calls without diffusion, the
    denoiser hearing no mask (`zero`) or the mask so far without noise (`cascade`). aux_decoders: perturbed decoders
    beside the main one. global_context: attention over the coarsest map. multi_scale: the image enters the denoiser at
    all scales.
    """

    semi: SemiMethod
    twin: Literal["none", "zero", "cascade"]
    aux_decoders: int = Field(ge=0, le=3)
    global_context: bool
    multi_scale: bool


class SegmenterParams(Block):
    system: Literal["unet", "crossdiff"]
    label_fraction: float = Field(gt=0.0, le=1.0)
    encoder: EncoderParams
    mask_diffusion: MaskDiffusionParams
    augment: AugmentParams
    semi: SemiParams
    unet: UnetParams
    crossdiff: CrossdiffParams

    @model_validator(mode="after")
    def _samples_can_disagree(self) -> "SegmenterParams":
        twin = self.crossdiff.twin
        if self.system == "crossdiff" and twin != "none" and self.semi.confidence == "agreement":
            raise ValueError(
                f"semi.confidence agreement compares samples of the denoiser, and crossdiff.twin {twin} draws nothing "
                f"in which they could differ; set semi.confidence: probability, or crossdiff.twin: none"
            )
        return self


class SegmentParams(Block):
    """width: multiplies the widths of guidance and denoiser (1 is the published size).

    validate_every: steps between two looks at the Dice of validation images, for the log alone; 0: never.
    """

    width: float = Field(gt=0.0, le=4.0)
    total_steps: int = Field(ge=1, le=MAX_STEPS)
    batch_labeled: int = Field(ge=1, le=4096)
    batch_unlabeled: int = Field(ge=1, le=4096)
    lr: float = Field(gt=0.0, le=1.0)
    ema_decay: float = Field(ge=0.0, lt=1.0)
    checkpoint_every: int = Field(ge=1)
    validate_every: int = Field(ge=0)
