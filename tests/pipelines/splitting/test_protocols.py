"""Protocols; the properties that hold for any set are in test_properties.py."""

import re

import pytest

from pipelines.datasets.case import PARTS
from pipelines.runtime.errors import DataError
from tests.support.split_sets import Rows, case, divided, draw, pair, parts_of

UNLUCKY = 1  # with this seed six groups c0..c5 leave a part empty


def singles(count: int, **more: str) -> Rows:
    return [case(f"c{index}", **more) for index in range(count)]


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (singles(1), r"1 groups give .*needed 2.*it takes 4: add patients, or give the identities"),
        (singles(2), "2 groups give .*it takes 4"),
        (singles(3), "3 groups give .*it takes 4"),
        (singles(4), r"4 groups give .*or set split\.seed: \d+ before any training"),
        (singles(6), r"6 groups give .*or set split\.seed: \d+ before any training"),
        ([case(f"c{index}", "p") for index in range(9)], "1 groups give"),
        (singles(9, official="external"), "all are placed by external: add patients"),
    ],
)
def test_tiny_sets_say_what_is_needed(cases, message):
    with pytest.raises(DataError, match=message) as caught:
        parts_of(cases, [], draw(UNLUCKY))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [4, 6])
def test_the_proposed_seed_works(count):
    with pytest.raises(DataError) as caught:
        parts_of(singles(count), [], draw(UNLUCKY))
    seed = int(re.findall(r"split\.seed: (\d+)", str(caught.value))[0])
    assert set(parts_of(singles(count), [], draw(seed)).values()) == set(PARTS)


def test_official_parts_are_kept_and_the_rest_is_hashed():
    given = ["train", "train", "val", "test", "test"]
    cases = [case(f"c{index}", official=part) for index, part in enumerate(given)] + [case("near"), case("free")]
    found = parts_of(cases, [pair("near", "c3")], draw(), "official")
    assert list(found.values()) == [*given, "test", draw().part("free")]
    with pytest.raises(DataError, match="found test, train"):
        parts_of(cases, [pair("c1", "c4")], draw(), "official")
    assert set(parts_of(cases * 1 + singles(0), [], draw(), "official").values()) == set(PARTS)


def test_val_is_carved_from_train_where_the_owner_names_none():
    cases = [case(f"c{index}", official="train" if index < 60 else "test") for index in range(80)]
    found = parts_of(cases, [], draw(), "official")
    assert {found[row["case"]] for row in cases[60:]} == {"test"}
    assert {found[row["case"]] for row in cases[:60]} == {"train", "val"}


def test_official_without_parts_is_refused():
    with pytest.raises(DataError, match=r"expected train, val or test of the owner.*set split\.protocol: clean"):
        parts_of(singles(9), [], draw(), "official")


def test_members_that_are_not_where_they_belong_are_named():
    cases = [*singles(60), case("x0", official="external"), case("x1", "", "malignant", official="external")]
    groups, division = divided(cases, [pair("c0", "x0"), pair("c1", "x1")], draw())
    assert division.warnings == (
        "group c0 holds images of another site: c0 lie in test with them",
        "group c1 has contradicting classes: x1 of another site lie in train",
    )
    assert division.parts[0] == division.parts[60] == "test"
    assert division.parts[1] == division.parts[61] == "train"
    assert len(groups) == 60
    own = [case(f"c{index}", official="test" if index < 9 else "train") for index in range(60)]
    own[0]["class"] = "malignant"
    assert divided(own, [pair("c0", "c1")], draw(), "official")[1].warnings == (
        "group c0 has contradicting classes: c0, c1 of the owner's test lie in train",
    )
