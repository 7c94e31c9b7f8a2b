"""`evaluate`: scores and overlays."""

from pydantic import Field

from pipelines.params.block import Block


class EvaluateParams(Block):
    """overlays: best, median and worst cases, so many of each. margin: enlargement of the lesion's box."""

    overlays: int = Field(ge=0, le=50)
    ece_bins: int = Field(ge=2, le=100)
    margin: float = Field(ge=0.0, le=2.0)
