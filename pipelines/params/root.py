"""The whole of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.params.audit import AuditParams
from pipelines.params.block import Block
from pipelines.params.datasets import DatasetsParams
from pipelines.params.evaluate import EvaluateParams
from pipelines.params.prepare import PrepareParams
from pipelines.params.runtime import RuntimeParams
from pipelines.params.scales import ScalesParams
from pipelines.params.segmenter import SegmenterParams
from pipelines.params.split import SplitParams

PlainArm = Literal["supervised", "control", "real", "all_labels"]
SyntheticArm = Literal["synthetic", "both", "all_labels_synthetic"]


class ArmsParams(Block):
    """Three lists, because a DVC matrix cannot filter one: by what the arm reads besides the real images."""

    plain: list[PlainArm]
    synthetic: list[SyntheticArm]
    phantom: list[Literal["phantom"]]

    @model_validator(mode="after")
    def _unique(self) -> "ArmsParams":
        for name in ("plain", "synthetic", "phantom"):
            arms = getattr(self, name)
            if len(set(arms)) < len(arms):
                raise ValueError(f"{name} names an arm twice: {arms}")
        return self


class Params(Block):
    dataset: Literal["phantom", "busi", "bus_bra", "folder"]
    scale: Literal["smoke", "demo", "full"]
    arms: ArmsParams
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    runtime: RuntimeParams
    datasets: DatasetsParams
    prepare: PrepareParams
    split: SplitParams
    audit: AuditParams
    segmenter: SegmenterParams
    evaluate: EvaluateParams
    scales: ScalesParams

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds names a seed twice: {self.seeds}")
        diffusion = self.segmenter.mask_diffusion
        if diffusion.start >= diffusion.T:
            raise ValueError(f"segmenter.mask_diffusion.start ({diffusion.start}) must be below T ({diffusion.T})")
        return self
