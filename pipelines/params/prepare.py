"""`prepare`: how images become arrays, and what the integrity check tolerates."""

from typing import Literal

from pydantic import Field

from pipelines.params.block import Block


class DuplicatesParams(Block):
    """A pair is a near-duplicate when both hold: Hamming distance of 64-bit pHashes, NCC of 64 x 64 thumbnails."""

    phash_distance: int = Field(ge=0, le=64)
    ncc: float = Field(ge=0.0, le=1.0)


class PrepareParams(Block):
    """resize: stretch changes the aspect, letterbox pads. strict: warnings become errors."""

    resize: Literal["stretch", "letterbox"]
    strict: bool
    duplicates: DuplicatesParams
