"""`evaluate`: scores and overlays."""

from pydantic import Field

from pipelines.params.block import Block


class EvaluateParams(Block):
    """overlays: best, median and worst cases, so many of each. ece_bins: equal-width bins of the calibration error.
    bootstrap: draws of the intervals over groups. margin: enlargement of the lesion's box. views: of each image,
    predicted and averaged: 1 the image, 2 also mirrored, 3 also enlarged; each is a whole prediction.
    """

    overlays: int = Field(ge=0, le=50)
    ece_bins: int = Field(ge=2, le=100)
    bootstrap: int = Field(ge=100, le=100_000)
    margin: float = Field(ge=0.0, le=2.0)
    views: int = Field(ge=1, le=3)
