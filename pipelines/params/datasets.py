"""`datasets`: one block per dataset; only the selected one is an input of `prepare`."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.params.block import Block

Lesion = Literal["benign", "malignant", "normal"]


class PhantomParams(Block):
    """The embedded physics phantom. seed: of the anatomy and of the speckle."""

    seed: int = Field(ge=0)
    classes: list[Lesion] = Field(min_length=1)


class BusiParams(Block):
    """Dataset_BUSI_with_GT. classes: which of the three folders are read."""

    classes: list[Lesion] = Field(min_length=1)


class BusBraParams(Block):
    """BUSBRA. folds: which of the authors' five patient-disjoint folds are read."""

    folds: list[Annotated[int, Field(ge=1, le=5)]] = Field(min_length=1)


class FolderParams(Block):
    """The user's own folder. foreground: what the masks show, for captions."""

    foreground: str = Field(min_length=1, max_length=40)


class DatasetsParams(Block):
    phantom: PhantomParams
    busi: BusiParams
    bus_bra: BusBraParams
    folder: FolderParams
