from collections import Counter

import numpy as np
import pytest

from pipelines.datasets.case import PARTS
from pipelines.runtime.errors import DataError
from pipelines.splitting.groups import Group, Unit, find_groups
from pipelines.splitting.parts import Placed, Rule, alone, place, unit_hash
from tests.support.split_sets import SHARES, case, draw


def group(*officials: str, conflict: bool = False, key: str = "k") -> Group:
    units = tuple(Unit(f"{key}{place}", official, (place,)) for place, official in enumerate(officials))
    return Group(key, key, tuple(range(len(officials))), ("benign",), units, conflict)


def test_hash_is_uniform_and_pinned():
    values = np.array([unit_hash(0, "toy", index) for index in range(4000)])
    assert 0 <= values.min() < values.max() < 1
    assert abs(np.histogram(values, 10, (0, 1))[0] - 400).max() < 80
    assert unit_hash(0, "a", "b") != unit_hash(0, "ab", "")
    # A change here would move cases of every published split.
    assert unit_hash(41, "busi", "benign (1)") == pytest.approx(0.212729, abs=1e-6)


def test_shares_are_met_over_many_groups():
    groups = find_groups([case(f"c{index:05d}") for index in range(6000)], [])
    found = Counter(place(one, draw(3), Rule()).part for one in groups)
    assert [found[part] / 6000 for part in PARTS] == pytest.approx(list(SHARES.values()), abs=0.02)
    carved = Counter(draw(3).carved(one.key) for one in groups)
    assert carved["val"] / 6000 == pytest.approx(0.1, abs=0.02)  # .07 of .70
    assert carved["test"] == 0


def test_who_decides_in_which_order():
    clean, official = Rule(), Rule(official=True)
    for seed in range(20):
        assert place(group("", conflict=True), draw(seed), clean) == Placed("train", "class conflict")
        assert place(group("test", conflict=True), draw(seed), official) == Placed("train", "class conflict")
        assert place(group("external"), draw(seed), clean) == Placed("test", "external")
        assert place(group("external", "train"), draw(seed), official) == Placed("test", "external")
        assert place(group("external", conflict=True), draw(seed), clean) == Placed("train", "class conflict")
        assert place(group("", "val"), draw(seed), official) == Placed("val", "owner")
        assert place(group("val"), draw(seed), clean).reason == "hash"
        carved = place(group("train"), draw(seed), Rule(official=True, carve=True))
        assert carved == Placed(draw(seed).carved("k"), "owner")


def test_two_parts_of_the_owner_in_one_group_are_refused():
    with pytest.raises(
        DataError, match=r"group k: expected one of the owner's parts, found test, train; set split\.pr"
    ):
        place(group("train", "test"), draw(), Rule(official=True))
    with pytest.raises(DataError, match="found holdout; correct the adapter"):
        place(group("holdout"), draw(), Rule())


def test_alone_is_the_part_of_the_unit_without_its_group():
    assert alone(Unit("x", "external", (0,)), draw(), Rule()) == "test"
    assert alone(Unit("x", "val", (0,)), draw(), Rule(official=True)) == "val"
    assert alone(Unit("x", "val", (0,)), draw(), Rule()) == draw().part("x")
    tested = next(name for name in map(str, range(99)) if draw().part(name) == "test")
    assert alone(Unit(tested, "", (0, 1)), draw(), Rule()) == "test"
    assert alone(Unit(tested, "", (0, 1), conflict=True), draw(), Rule()) == "train"
