"""What holds for any set of cases, whatever its identities, duplicates, classes and sites (datasets.md 2.3)."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.runtime.errors import DataError
from pipelines.splitting.groups import duplicate_clusters, find_groups
from pipelines.splitting.leakage import leaked_rows, moved_by_joining
from pipelines.splitting.parts import Draw
from pipelines.splitting.protocols import Division
from pipelines.splitting.ranks import label_ranks
from tests.support.split_sets import EVEN, Rows, case, divided, draw, pair, parts_of, sets

SEEDS = st.integers(0, 50)
FEW = settings(max_examples=60, deadline=None)


def try_divide(cases: Rows, pairs: Rows, with_draw: Draw, protocol: str = "clean") -> tuple[list, Division]:
    """Sets that are refused (too small, groups across the owner's parts) say nothing here."""
    try:
        return divided(cases, pairs, with_draw, protocol)
    except DataError:
        assume(False)
        raise


@FEW
@given(sets(owner=True), SEEDS, st.sampled_from(["clean", "official"]))
def test_partition_of_whole_groups(made, seed, protocol):
    cases, pairs = made
    groups, division = try_divide(cases, pairs, draw(seed, EVEN), protocol)
    assert len(division.parts) == len(cases)
    assert set(division.parts) == {"train", "val", "test"}
    assert sorted(row for group in groups for row in group.rows) == list(range(len(cases)))
    part = dict(zip((row["case"] for row in cases), division.parts, strict=True))
    assert all(part[line["a"]] == part[line["b"]] for line in pairs)
    for identity in {row["identity"] for row in cases} - {""}:
        assert len({part[row["case"]] for row in cases if row["identity"] == identity}) == 1
    assert leaked_rows(groups, division.parts) == set()


@FEW
@given(sets(owner=True), SEEDS, st.sampled_from(["clean", "official"]))
def test_conflicts_are_trained_on_and_other_sites_are_not(made, seed, protocol):
    cases, pairs = made
    groups, division = try_divide(cases, pairs, draw(seed, EVEN), protocol)
    clusters = duplicate_clusters(cases, pairs)
    classes = {
        one: {row["class"] for row, other in zip(cases, clusters, strict=True) if other == one} for one in clusters
    }
    for group in groups:
        found = {division.parts[row] for row in group.rows}
        if any(len(classes[clusters[row]]) > 1 for row in group.rows):
            assert found == {"train"}
        elif any(cases[row]["official_part"] == "external" for row in group.rows):
            assert found == {"test"}
        elif protocol == "official":
            owners = {cases[row]["official_part"] for row in group.rows} - {""}
            assert owners in (set(), found) or (owners == {"train"} and found <= {"train", "val"})


@FEW
@given(sets(), SEEDS, st.randoms(use_true_random=False))
def test_order_of_cases_and_pairs_changes_nothing(made, seed, random):
    cases, pairs = made
    _, division = try_divide(cases, pairs, draw(seed, EVEN))
    before = dict(zip((row["case"] for row in cases), division.parts, strict=True))
    mixed, turned = random.sample(cases, len(cases)), [pair(line["b"], line["a"]) for line in reversed(pairs)]
    assert parts_of(mixed, turned, draw(seed, EVEN)) == before
    ranks = label_ranks(cases, find_groups(cases, pairs), draw(seed))
    assert label_ranks(mixed, find_groups(mixed, turned), draw(seed)) == ranks


@FEW
@given(
    sets(),
    SEEDS,
    st.sampled_from(["", "p0", "p1", "p7", "a new patient", "z new patient"]),
    st.sampled_from(["benign", "malignant"]),
    st.sampled_from(["", "external"]),
    st.lists(st.integers(0, 39), max_size=2),
    st.sampled_from(["a new case", "c000", "z new case"]),
)
def test_adding_a_case_moves_only_the_groups_that_it_joins_and_these_are_listed(
    made, seed, identity, class_name, official, near, name
):
    cases, pairs = made
    before = try_divide(cases, pairs, draw(seed, EVEN))[1].parts
    more = [*cases, case(name, identity, class_name, official)]
    links = [*pairs, *(pair(name, cases[row % len(cases)]["case"]) for row in near)]
    groups, division = try_divide(more, links, draw(seed, EVEN))
    joined = next(set(group.rows) for group in groups if len(cases) in group.rows)
    moved = {row for row, part in enumerate(before) if division.parts[row] != part}
    assert moved <= joined
    listed = {
        name
        for entry in moved_by_joining(more, groups, division, draw(seed, EVEN))
        for unit in entry["identities"]
        for name in unit["cases"]
    }
    # a patient whose new image contradicts an old one goes to train by itself: that is listed as a class conflict
    own = {more[row]["case"] for group in groups if any(unit.conflict for unit in group.units) for row in group.rows}
    assert {cases[row]["case"] for row in moved} <= listed | own


@FEW
@given(sets(owner=True), SEEDS)
def test_a_case_with_the_owners_part_moves_only_its_group_too(made, seed):
    cases, pairs = made
    assume({"val", "train"} <= {row["official_part"] for row in cases})
    before = try_divide(cases, pairs, draw(seed, EVEN), "official")[1].parts
    for official in ("train", "val", "test"):
        more, links = [*cases, case("new", "", "benign", official)], [*pairs, pair("new", cases[0]["case"])]
        try:
            groups, division = divided(more, links, draw(seed, EVEN), "official")
        except DataError:
            continue  # the group lies in two of the owner's parts
        joined = next(group for group in groups if len(cases) in group.rows)
        moved = {row for row, part in enumerate(before) if division.parts[row] != part}
        assert moved <= set(joined.rows)
        listed = {entry["group"] for entry in moved_by_joining(more, groups, division, draw(seed, EVEN))}
        assert not moved or joined.name in listed


@FEW
@given(sets(external=False, smallest=8), SEEDS)
def test_labels_of_a_smaller_fraction_lie_inside_those_of_a_larger_one(made, seed):
    """Whole groups, by rank: the prefixes of 1/8, 1/4 and 1/2 are nested, and every group has one rank of its own."""
    cases, pairs = made
    groups = find_groups(cases, pairs)
    ranks = label_ranks(cases, groups, draw(seed))
    assert sorted(ranks.values()) == list(range(len(groups)))
    by_class: dict[str, int] = {}
    for group in groups:
        by_class["+".join(group.classes)] = by_class.get("+".join(group.classes), 0) + len(group.rows)
    ordered = sorted(groups, key=lambda group: ranks[group.name])
    counts = np.cumsum([len(group.rows) for group in ordered])
    largest = max(len(group.rows) for group in groups)
    for length in range(1, len(groups) + 1):
        for name, total in by_class.items():
            found = sum(len(g.rows) for g in ordered[:length] if "+".join(g.classes) == name)
            due = total * counts[length - 1] / len(cases)
            assert abs(found - due) <= 2 * largest  # a class is balanced to one group on either side


@FEW
@given(sets(smallest=1, largest=4), SEEDS)
def test_tiny_sets_are_split_or_refused_in_one_line(made, seed):
    cases, pairs = made
    try:
        _, division = divided(cases, pairs, draw(seed))
    except DataError as error:
        text = str(error)
        assert "\n" not in text
        assert "groups give" in text
        assert "add patients" in text
    else:
        assert set(division.parts) == {"train", "val", "test"}
