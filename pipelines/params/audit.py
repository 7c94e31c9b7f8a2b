"""`audit`: the gate between generated images and their use."""

from pydantic import Field

from pipelines.params.block import Block


class AuditParams(Block):
    """quantile: tau is this quantile of real-to-other-patients similarity. ratio: nearest / second nearest group, as
    distances. hard_ncc: aligned correlation that is a copy by itself. max_excess, max_width: limits of the verdict.
    """

    seed: int = Field(ge=0)
    quantile: float = Field(gt=0.5, lt=1.0)
    ratio: float = Field(gt=0.0, lt=1.0)
    hard_ncc: float = Field(gt=0.5, le=1.0)
    max_excess: float = Field(gt=0.0, lt=1.0)
    max_width: float = Field(gt=0.0, lt=1.0)
    bootstrap: int = Field(ge=100, le=100_000)
    kid_draws: int = Field(ge=1, le=1000)
