"""`prepare`: how images become arrays, and what the integrity check tolerates."""

from typing import Literal

from pydantic import Field

from pipelines.params.block import Block


class DuplicatesParams(Block):
    """A pair is a near-duplicate when both hold: Hamming distance of 64-bit pHashes, NCC of 64 x 64 thumbnails."""

    phash_distance: int = Field(ge=0, le=64)
    ncc: float = Field(ge=0.0, le=1.0)


Check = Literal[
    "unreadable",
    "link",
    "name",
    "dimensions",
    "small image",
    "missing mask",
    "mask without image",
    "ambiguous mask",
    "mask size",
    "value range",
    "swapped",
    "constant image",
    "empty mask",
    "full mask",
    "inverted mask",
    "lesion in a normal case",
    "different masks",
    "class conflict",
    "duplicates",
    "duplicate chain",
    "mask values",
    "overlap",
    "area",
    "components",
    "vanished lesion",
    "count",
    "order",
    "table",
    "unread",
    "layout",
    "color",
    "reduced copy",
]
Severity = Literal["error", "exclude", "warning", "flag"]


class PrepareParams(Block):
    """resize: stretch changes the aspect, letterbox pads. strict: warnings become errors.

    policy: what a check of the integrity report does, where it is not to do what docs/datasets.md says: error (stops
    the run), exclude (the case is left out and named), warning (named), flag (noted with the case).
    """

    resize: Literal["stretch", "letterbox"]
    strict: bool
    policy: dict[Check, Severity]
    duplicates: DuplicatesParams
