"""`split`: parts of whole groups."""

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
    """seed: of the hash that gives each group its part. official: keep the owner's parts where they are published."""

    seed: int = Field(ge=0)
    shares: Shares
    official: bool
