import numpy as np
import pytest

from pipelines.splitting.groups import find_groups
from pipelines.splitting.ranks import AREA_EDGES, SIZES, group_size, label_ranks, size_of
from tests.support.split_sets import case, draw


def test_sizes_by_hand():
    areas = (0.0, 0.001, 0.0219, 0.022, 0.058, 0.131, 0.9)
    assert [SIZES.index(size_of(area)) for area in areas] == [0, 1, 1, 2, 3, 4, 4]
    assert all(f"{edge:g}" in SIZES[place + 1] for place, edge in enumerate(AREA_EDGES))


def test_a_group_has_the_size_of_its_median_lesion():
    cases = [case("a", "p", area=0.2), case("b", "p", area=0.01), case("c", "p", area=0.0), case("d", "p", area=0.03)]
    assert group_size(cases, find_groups(cases, [])[0]) == size_of(0.03)
    free = [case("a", area=0.0)]
    assert group_size(free, find_groups(free, [])[0]) == "no lesion"


@pytest.fixture(scope="module")
def cases():
    areas = (0.01, 0.03, 0.1, 0.2)
    benign = [case(f"b{index:03d}", area=areas[min(3, index % 5)]) for index in range(90)]
    return benign + [case(f"m{index:03d}", "", "malignant", area=areas[index % 4]) for index in range(30)]


def test_every_prefix_holds_classes_and_sizes_in_proportion(cases):
    groups = find_groups(cases, [])
    ranks = label_ranks(cases, groups, draw())
    assert sorted(ranks.values()) == list(range(120))
    ordered = sorted(ranks, key=lambda name: ranks[name])
    size = {row["case"]: size_of(float(row["area"])) for row in cases}
    share = {stratum: np.mean([size[name] == stratum for name in size if name[0] == "b"]) for stratum in SIZES}
    for length in range(1, 121):
        benign = [name for name in ordered[:length] if name.startswith("b")]
        assert abs(length - len(benign) - length / 4) <= 1.0
        for stratum in SIZES:
            assert abs(sum(size[name] == stratum for name in benign) - share[stratum] * len(benign)) <= 1.5


def test_order_of_files_does_not_matter_and_the_seed_does(cases):
    groups = find_groups(cases, [])
    ranks = label_ranks(cases, groups, draw())
    assert label_ranks(cases, groups[::-1], draw()) == ranks
    assert label_ranks(cases, groups, draw(1)) != ranks


def test_single_groups_of_a_size_are_not_all_put_in_the_middle_in_order_of_name():
    """With one group to a stratum all are equally due; the hash decides, not the alphabet."""
    cases = [case(f"c{index}", area=area) for index, area in enumerate((0.01, 0.03, 0.1, 0.2))]
    groups = find_groups(cases, [])
    firsts = {min(ranks, key=ranks.__getitem__) for ranks in (label_ranks(cases, groups, draw(s)) for s in range(40))}
    assert firsts == {"c0", "c1", "c2", "c3"}
