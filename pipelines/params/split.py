"""`split`: parts of whole groups."""

from typing import Literal

from pydantic import Field, model_validator

from pipelines.params.block import Block


class Shares(Block):
    """Nominal shares of the three parts; they add up to 1."""

    train: float = Field(gt=0.0, lt=1.0)
    val: float = Field(gt=0.0, lt=1.0)
    test: float = Field(gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _complete(self) -> "Shares":
        total = self.train + self.val + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train + val + test must be 1, found {total:g}")
        return self


class SplitParams(Block):
    """How train, val and test are found.

    protocol: clean (whole groups by hash), official (the owner's parts, the rest by hash) or literature (BUSI: lists
    of published papers, which leak; counted). seed: of the hash. literature_seed: which of the published lists.
    """

    protocol: Literal["clean", "official", "literature"]
    seed: int = Field(ge=0)
    literature_seed: Literal[41, 64, 1337]
    shares: Shares
