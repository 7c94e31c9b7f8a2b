"""The lists of the papers: names, order and digests (data/busi_val{1,2,3}.txt and busi_train{1,2,3}.txt of the
benchmark repository by the CMUNeXt authors). When this test was written the three scored lists were compared name for
name, order included; of the training lists the number of characters and the last names: they are what is left over."""

import re
from pathlib import Path

import pytest

from pipelines.runtime.errors import DataError
from pipelines.splitting.literature import check_names, list_digest, published_lists, published_names
from pipelines.splitting.protocols import divide
from tests.support.split_sets import case, dataset, divided, draw, pair

PUBLISHED = {  # seed -> first and last of the scored list, its digest; first and last of the training list, its digest
    41: (
        ["benign (301)", "malignant (91)", "benign (379)", "benign (259)", "benign (255)", "malignant (191)"],
        "29971678a827a660fb30f69710eb9f3097e916b3287ddf42315bf8cc95a05baa",
        ["malignant (84)", "malignant (137)", "malignant (63)", "benign (318)", "benign (389)", "benign (171)"],
        "f9a3c4fe35c1e9560b063d09196e230e7c82e776ef9c3eca56af7d3d62cfd979",
    ),
    64: (
        ["benign (40)", "benign (64)", "malignant (118)", "benign (306)", "malignant (137)", "malignant (21)"],
        "6c9ae632ba34e8669b8907f7610e11dc5f08827933dc148944309a4f9a34c93c",
        ["benign (346)", "benign (300)", "benign (393)", "benign (249)", "benign (206)", "malignant (112)"],
        "7b437cde0918c88999c2d06b6179b605604815f8bc87b814bc937ff57960608a",
    ),
    1337: (
        ["benign (128)", "malignant (186)", "benign (378)", "malignant (141)", "benign (414)", "malignant (148)"],
        "c20d8e2cab13cab0cc940362db5dba55e6add3c35ad151554cd3aa2f2a13e7fa",
        ["benign (94)", "benign (272)", "benign (130)", "benign (308)", "benign (27)", "benign (235)"],
        "a29ada2d42ee8c75ad9178c6b6652e0cf178c6adbeb304c2de91b6845f515ce1",
    ),
}
BUSI = dataset("busi", "busi")
PARTS = ("train", "val", "test")


@pytest.mark.parametrize("seed", PUBLISHED)
def test_lists_are_the_published_ones(seed):
    trained, scored = published_lists(seed)
    ends, digest, train_ends, train_digest = PUBLISHED[seed]
    assert (len(trained), len(scored)) == (452, 195)
    assert scored[:3] + scored[-3:] == ends
    assert trained[:3] + trained[-3:] == train_ends
    assert (list_digest(scored), list_digest(trained)) == (digest, train_digest)
    assert sorted(trained + scored) == published_names()


def test_the_names_are_those_of_the_real_copy(shared_data: Path):
    folder = shared_data / "busi" / "Dataset_BUSI_with_GT"
    files = [path.stem for name in ("benign", "malignant") for path in (folder / name).glob("*.png")]
    assert sorted(name for name in files if not re.search("_mask", name)) == published_names()


def busi_cases():
    return [case(name, "", name.split()[0]) for name in published_names()]


@pytest.mark.parametrize("seed", PUBLISHED)
def test_division_is_the_lists_with_val_inside_the_training_one(seed):
    cases = busi_cases()
    near = [pair("benign (301)", "benign (302)"), pair("benign (40)", "malignant (40)")]
    groups, _ = divided(cases, near, draw())
    division = divide("literature", cases, groups, draw(), BUSI, seed)
    by_part = {part: {row["case"] for row, p in zip(cases, division.parts, strict=True) if p == part} for part in PARTS}
    trained, scored = published_lists(seed)
    assert by_part["test"] == set(scored)
    assert by_part["train"] | by_part["val"] == set(trained)
    assert 25 <= len(by_part["val"]) <= 65  # a tenth of 452, by hash
    for group in groups:  # val holds no near-duplicate of train
        assert len({division.parts[row] for row in group.rows} - {"test"}) <= 1
    assert {"malignant (40)", "benign (40)"} & by_part["val"] == set()  # contradicting classes
    facts = division.facts["literature"]
    assert facts["test"] == {"images": 195, "sha256": PUBLISHED[seed][1]}
    assert facts["train_and_val"] == {"images": 452, "sha256": PUBLISHED[seed][3]}


def test_what_is_not_the_whole_set_is_refused():
    names = published_names()
    check_names(names, BUSI)
    with pytest.raises(
        DataError, match=r"found 2 more, first 'normal \(1\)'.*set datasets\.busi\.classes: \[benign, mal"
    ):
        check_names([*names, "normal (1)", "normal (2)"], BUSI)
    with pytest.raises(DataError, match=r"found 645, missing 2, first 'benign \(1\)'"):
        check_names(names[1:-1], BUSI)
    with pytest.raises(DataError, match=r"expected a dataset of adapter busi.*found clinic of adapter folder.*clean"):
        check_names(names, dataset("clinic", "folder"))


def test_a_val_share_of_nothing_is_named():
    cases = busi_cases()
    groups, _ = divided(cases, [], draw())
    shares = {"train": 0.69999, "val": 0.00001, "test": 0.3}
    with pytest.raises(DataError, match=r"the lists give .*val 0 \(needed 1\).*raise split\.shares\.val"):
        divide("literature", cases, groups, draw(0, shares), BUSI, 41)
