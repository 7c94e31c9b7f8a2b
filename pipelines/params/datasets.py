"""`datasets`: one block per dataset; only the selected one is an input of `prepare`.

The key is the dataset's name: its files lie in data/raw/<name>. `adapter` says who reads them; it may be left out where
the name is that of an adapter, so `clinic_a: {adapter: folder, ...}` is a second folder of one's own.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from pipelines.params.block import Block


def unique(values: list[Any]) -> list[Any]:
    """The values, if none is there twice."""
    if len(set(values)) < len(values):
        raise ValueError(f"expected each value once, found {values}")
    return values


Lesion = Literal["benign", "malignant", "normal"]
DatasetName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Lesions = Annotated[list[Lesion], Field(min_length=1), AfterValidator(unique)]
Fold = Annotated[int, Field(ge=1, le=5)]
Folds = Annotated[list[Fold], Field(min_length=1), AfterValidator(unique)]
Foreground = Annotated[str, StringConstraints(min_length=1, max_length=40, strip_whitespace=True)]


class PhantomParams(Block):
    """The embedded physics phantom. seed: of the anatomy and of the speckle; site_b: share of the patients who are
    scanned with another machine, always tested on; plant: put the oddities of BUSI into sets of 48 images and more.
    """

    adapter: Literal["phantom"]
    seed: int = Field(ge=0)
    classes: Lesions
    site_b: float = Field(ge=0.0, le=0.5)
    plant: bool


class BusiParams(Block):
    """Dataset_BUSI_with_GT. classes: which of the three folders are read."""

    adapter: Literal["busi"]
    classes: Lesions


class BusBraParams(Block):
    """BUSBRA. folds: which of the authors' five patient-disjoint folds are read. test_fold: which of them is the test
    part under split.protocol: official.
    """

    adapter: Literal["bus_bra"]
    folds: Folds
    test_fold: Fold

    @model_validator(mode="after")
    def _read(self) -> "BusBraParams":
        if self.test_fold not in self.folds:
            raise ValueError(f"test_fold must be one of folds {self.folds}, found {self.test_fold}")
        return self


class FolderParams(Block):
    """The user's own folder. foreground: what the masks show, one name per foreground class. masks: binary (a file per
    class) or labels (one file per image with the values 0 ... K).
    """

    adapter: Literal["folder"]
    foreground: list[Foreground] = Field(min_length=1, max_length=20)
    masks: Literal["binary", "labels"]

    @model_validator(mode="after")
    def _unique(self) -> "FolderParams":
        if len(set(self.foreground)) < len(self.foreground):
            raise ValueError(f"foreground names a class twice: {self.foreground}")
        return self


class StuParams(Block):
    """STU-Hospital, for tests and unlabeled images."""

    adapter: Literal["stu"]


class UdiatParams(Block):
    """UDIAT Dataset B."""

    adapter: Literal["udiat"]


class Tn3kParams(Block):
    """TN3K. fold: whose lists give train and val under split.protocol: official; null: the lists are not read."""

    adapter: Literal["tn3k"]
    fold: Annotated[int, Field(ge=0, le=4)] | None


class DdtiParams(Block):
    """DDTI in whichever layout is there."""

    adapter: Literal["ddti"]


DatasetBlock = Annotated[
    PhantomParams | BusiParams | BusBraParams | FolderParams | StuParams | UdiatParams | Tn3kParams | DdtiParams,
    Field(discriminator="adapter"),
]


def with_adapter(blocks: Any) -> Any:
    """Fill in `adapter` where the name says it."""
    if not isinstance(blocks, dict):
        return blocks
    return {name: {"adapter": name, **block} if isinstance(block, dict) else block for name, block in blocks.items()}


DatasetsParams = Annotated[dict[DatasetName, DatasetBlock], BeforeValidator(with_adapter)]
