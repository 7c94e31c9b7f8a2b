"""The lists by which papers split BUSI: reproduced from their recipe, since no list is shipped.

The MGCC / CMU-Net / CMUNeXt family (published as three pairs of lists, seeds 41, 64 and 1337, with the benchmark of the
same authors) splits the 647 images with a lesion by image: names without extension sorted as text, RandomState(seed)
.permutation, the first 30% (rounded up, as scikit-learn's train_test_split does) are scored, the rest is trained on.
Near-duplicates lie on both sides: the number is in leakage.json.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.runtime.errors import DataError

ADAPTER = "busi"
BENIGN, MALIGNANT = 437, 210
SCORED = 0.3
SOURCE = "MGCC / CMU-Net / CMUNeXt lists on 647 images"


def published_names() -> list[str]:
    """The 647 images with a lesion, sorted as the lists' recipe sorts them."""
    benign = [f"benign ({number})" for number in range(1, BENIGN + 1)]
    return sorted([*benign, *(f"malignant ({number})" for number in range(1, MALIGNANT + 1))])


def published_lists(seed: int) -> tuple[list[str], list[str]]:
    """(training list, scored list) in the published order."""
    names = published_names()
    order = np.random.RandomState(seed).permutation(len(names))
    scored = math.ceil(SCORED * len(names))
    return [names[place] for place in order[scored:]], [names[place] for place in order[:scored]]


def list_digest(names: Sequence[str]) -> str:
    """sha256 over the sorted names, one to a line: equal lists, equal digest, whatever their order."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def check_names(names: Sequence[str], dataset: Mapping[str, Any]) -> None:
    """DataError unless these are exactly the 647 images. dataset: the content of dataset.json."""
    name = dataset["name"]
    if dataset["adapter"] != ADAPTER:
        raise DataError(
            f"split.protocol literature: expected a dataset of adapter {ADAPTER} ({SOURCE}), found {name} of adapter "
            f"{dataset['adapter']}, for which no list is known; set split.protocol: clean"
        )
    expected = set(published_names())
    if extra := sorted(set(names) - expected):
        raise DataError(
            f"split.protocol literature: expected the {len(expected)} benign and malignant images of the lists, found "
            f"{len(extra)} more, first {extra[0]!r}; the lists leave normal images out: set datasets.{name}.classes: "
            "[benign, malignant]"
        )
    if missing := sorted(expected - set(names)):
        raise DataError(
            f"split.protocol literature: expected the {len(expected)} images of the lists, found {len(names)}, missing "
            f"{len(missing)}, first {missing[0]!r}; the lists are of the whole set: add them (prepare names what it "
            "left out) or set split.protocol: clean"
        )
