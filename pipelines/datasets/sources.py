"""Where each dataset comes from and under which terms, for `python -m pipelines check`: the sets are not shipped."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pipelines.datasets.adapters import bus_bra, busi, ddti, folder, phantom, stu, tn3k, udiat

LOOKED_AT = 50  # folders on one level


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from. layout: what has to lie in data/raw/<name>. signs: names by which a copy of it that
    lies elsewhere is recognized: of the folder itself, or patterns below it.
    """

    where: str
    terms: str
    layout: str
    signs: tuple[str, ...]


def _terms(adapter: ModuleType) -> str:
    """As the adapter writes them into dataset.json."""
    return f"{adapter.TERMS}; to cite: {adapter.CITATION}"


SOURCES = {
    "phantom": Source(
        terms=_terms(phantom),
        where="it is made here, from a seed",
        layout="a note; restore the folder from the project",
        signs=(),
    ),
    "busi": Source(
        terms=_terms(busi),
        where="the page that Al-Dhabyani et al. name, Data in Brief 28:104863, 2020, doi 10.1016/j.dib.2019.104863",
        layout="Dataset_BUSI_with_GT/{benign,malignant,normal}/, as published",
        signs=("Dataset_BUSI_with_GT", "benign/benign (1).png"),
    ),
    "bus_bra": Source(
        terms=_terms(bus_bra),
        where="doi 10.5281/zenodo.8231412",
        layout="BUSBRA/{Images,Masks}/, BUSBRA/bus_data.csv, BUSBRA/5-fold-cv.csv, as published",
        signs=("BUSBRA", "bus_data.csv"),
    ),
    "folder": Source(
        terms=_terms(folder),
        where="your own images",
        layout="images/ and masks/, equal file names; optional groups.csv (see docs/datasets.md)",
        signs=("images/", "Images/", "*/*_mask.*"),  # folders in it: one called so is not the set itself
    ),
    "stu": Source(
        terms=_terms(stu),
        where="the repository xbhlk/STU-Hospital",
        layout="Hospital/Test_Image_1.png, Hospital/mask_1.png, ..., as published",
        signs=("Hospital", "Test_Image_1.png"),
    ),
    "udiat": Source(
        terms=_terms(udiat),
        where="its owners, who send it after a signed release agreement (Yap et al., IEEE JBHI, 2018)",
        layout="BUS/original/ and BUS/GT/, as released",
        signs=("BUS/original", "original/000001.png"),
    ),
    "tn3k": Source(
        terms=_terms(tn3k),
        where="the repository that Gong et al. name, ISBI 2021, doi 10.1109/ISBI48211.2021.9434087",
        layout="tn3k/{trainval-image,trainval-mask,test-image,test-mask}/, tn3k/tn3k-trainval-fold0.json, as published",
        signs=("Thyroid Dataset", "tn3k", "trainval-image"),
    ),
    "ddti": Source(
        terms=_terms(ddti),
        where="the page that Pedraza et al. name, An open access thyroid ultrasound image database, 2015",
        layout="1.xml beside 1_1.jpg; or 2_preprocessed_data/stage1/{p_image,p_mask}/; or DDTI/{image,mask}/",
        signs=("1.xml", "2_preprocessed_data", "stage1/p_image", "p_image", "DDTI"),
    ),
}


def look_alike(parent: Path, signs: tuple[str, ...], known: Collection[str]) -> str:
    """The folder up to two levels below `parent` that holds a sign of a dataset, relative to it; "" where none does.

    known: names of folders right below `parent` that are other sets. Links are not followed.
    """
    level = [parent]
    for _ in range(2):
        entries = [entry for folder in level if os.access(folder, os.R_OK) for entry in sorted(folder.glob("[!.]*"))]
        level = [entry for entry in entries if entry.is_dir() and not entry.is_symlink() and entry.name not in known]
        level = level[:LOOKED_AT]
        for entry in level:
            if entry.name in signs or any(next(entry.glob(sign), None) for sign in signs):
                return entry.relative_to(parent).as_posix()
    return ""
