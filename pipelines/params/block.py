"""The base of all parameter blocks."""

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """Frozen, closed, strict about numbers: an unknown key, a NaN or a text in the place of a number is an error.

    There are no default values: every value that a result depends on stands in params.yaml, where DVC sees it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
