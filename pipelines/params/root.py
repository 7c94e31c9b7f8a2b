"""The whole of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.params.audit import AuditParams
from pipelines.params.block import Block
from pipelines.params.datasets import DatasetName, DatasetsParams
from pipelines.params.evaluate import EvaluateParams
from pipelines.params.prepare import PrepareParams
from pipelines.params.runtime import RuntimeParams
from pipelines.params.scales import Scale, ScalesParams
from pipelines.params.segmenter import SegmenterParams
from pipelines.params.split import SplitParams

PlainArm = Literal["supervised", "control", "augmented", "real", "all_labels"]
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
    dataset: DatasetName
    unlabeled: list[DatasetName]
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
        _check_datasets(self)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds names a seed twice: {self.seeds}")
        diffusion = self.segmenter.mask_diffusion
        if diffusion.start >= diffusion.T:
            raise ValueError(f"segmenter.mask_diffusion.start ({diffusion.start}) must be below T ({diffusion.T})")
        arms = self.arms
        if not (arms.plain or arms.synthetic or arms.phantom):
            raise ValueError("arms: at least one of plain, synthetic and phantom must name an arm")
        for name in ("smoke", "demo", "full"):
            _check_scale(name, getattr(self.scales, name), both="both" in arms.synthetic)
        return self


def _check_datasets(params: Params) -> None:
    known = ", ".join(sorted(params.datasets))
    for key, names in (("dataset", [params.dataset]), ("unlabeled", params.unlabeled)):
        for name in names:
            if name not in params.datasets:
                raise ValueError(f"{key}: expected a block of datasets ({known}), found {name!r}; add datasets.{name}")
    if len(set(params.unlabeled)) < len(params.unlabeled):
        raise ValueError(f"unlabeled names a dataset twice: {params.unlabeled}")
    if params.dataset in params.unlabeled:
        raise ValueError(
            f"unlabeled: {params.dataset!r} is the dataset itself, whose unlabeled images are used already; remove it"
        )
    adapter = params.datasets[params.dataset].adapter
    if params.split.protocol == "literature" and adapter != "busi":
        raise ValueError(
            f"split.protocol: literature lists are known for adapter busi alone, found dataset {params.dataset!r} of "
            f"adapter {adapter!r}; set it to clean"
        )
    if params.arms.phantom and "phantom" not in params.datasets:
        raise ValueError("arms.phantom needs the block datasets.phantom")


def _check_scale(name: str, scale: Scale, *, both: bool) -> None:
    """What would otherwise be refused only when hours of training are done."""
    if scale.diffusion.T % scale.sample.steps:
        raise ValueError(
            f"scales.{name}.sample.steps ({scale.sample.steps}) must divide scales.{name}.diffusion.T "
            f"({scale.diffusion.T})"
        )
    factor = 2 ** (len(scale.autoencoder.channels) + len(scale.diffusion.channels) - 2)
    if scale.prepare.size % factor:
        raise ValueError(
            f"scales.{name}.prepare.size ({scale.prepare.size}) must be a multiple of {factor}: the levels of "
            "autoencoder.channels and diffusion.channels halve it so often"
        )
    if both and scale.segment.batch_unlabeled % 2:
        raise ValueError(
            f"scales.{name}.segment.batch_unlabeled ({scale.segment.batch_unlabeled}) must be even: arm `both` takes "
            "half of it from either stream"
        )
