"""`prepare`: how images become arrays, and what the integrity check tolerates."""

from typing import Literal

from pydantic import Field

from pipelines.params.block import Block


class DuplicatesParams(Block):
    """When two images are duplicates (pipelines/datasets/duplicates.py); equal pixels are one in any case.

    phash_distance and ncc, both: Hamming distance of 64-bit perceptual hashes, cross-correlation of 64 x 64 thumbnails.
    aligned_*, all: re-framed copies. resemblance: of the best window, what makes a pair a candidate (above 1: no such
    search); after alignment ncc, phash_distance, and detail (correlation of fine structure).
    """

    phash_distance: int = Field(ge=0, le=64)
    ncc: float = Field(ge=0.0, le=1.0)
    aligned_resemblance: float = Field(ge=0.5, le=1.1)
    aligned_ncc: float = Field(ge=0.0, le=1.0)
    aligned_phash_distance: int = Field(ge=0, le=64)
    aligned_detail: float = Field(ge=0.0, le=1.0)


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
    "resized mask",
    "value range",
    "swapped",
    "constant image",
    "dark image",
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
    "clipped outline",
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
