"""What joins the pool, by hand-made links, and as a property of any links."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.duplicates import connected_groups
from pipelines.datasets.pooling import Bridge, Excluded, Member, decide_pool, qualified

MAIN = [
    Member("t1", "train", "g1"),
    Member("t2", "train", "g2"),
    Member("t3", "train", "g2"),
    Member("v1", "val", "h1"),
    Member("s1", "test", "h2"),
    Member("s2", "test", "h3"),
]
T1, T2, T3, V1, S1, S2 = range(6)


def link(a: int, b: int, kind: str = "near") -> SimpleNamespace:
    return SimpleNamespace(a=a, b=b, kind=kind)


def names(count: int) -> list[str]:
    return [f"x/{row}" for row in range(count)]


def test_an_image_that_duplicates_nothing_joins_as_a_group_of_its_own():
    decision = decide_pool(names(2), ["", ""], [], [], MAIN)
    assert decision.groups == {0: "image x/0", 1: "image x/1"}
    assert decision.excluded == []


def test_a_copy_of_a_test_or_val_image_is_left_out_and_named():
    decision = decide_pool(
        names(3), [""] * 3, [], [link(0, S2), link(0, S1, "mirrored"), link(2, V1, "identical")], MAIN
    )
    assert decision.groups == {1: "image x/1"}
    assert decision.excluded == [
        Excluded(0, "duplicate of a test image (mirrored)", "s1"),
        Excluded(2, "duplicate of a val image (identical)", "v1"),
    ]


def test_its_whole_group_goes_with_it_over_images_patients_and_sources():
    # 0 copies a test image; 1 duplicates 0; 2 is a patient with 1; 3 (another source) duplicates 2; 4 stands alone
    identities = ["", "x/p", "x/p", "", ""]
    named = [*names(3), "y/3", "y/4"]
    decision = decide_pool(named, identities, [link(0, 1), link(2, 3)], [link(0, S1)], MAIN)
    assert decision.groups == {4: "image y/4"}
    assert [(item.row, item.reason, item.other) for item in decision.excluded] == [
        (0, "duplicate of a test image (near)", "s1"),
        (1, "of one group with such a duplicate", "x/0"),
        (2, "of one group with such a duplicate", "x/0"),
        (3, "of one group with such a duplicate", "x/0"),
    ]


def test_a_duplicate_of_a_train_image_takes_the_name_of_its_group_and_so_does_its_patient():
    decision = decide_pool(names(3), ["x/p", "x/p", ""], [], [link(0, T2), link(0, T3)], MAIN)
    assert decision.groups == {0: "g2", 1: "g2", 2: "image x/2"}


def test_images_of_one_patient_are_one_group_by_the_patients_name():
    decision = decide_pool(["x/b", "x/a", "y/a"], ["x/p", "x/p", "y/p"], [], [], MAIN)
    assert decision.groups == {0: "patient x/p", 1: "patient x/p", 2: "patient y/p"}


def test_what_duplicates_two_train_groups_can_be_of_neither():
    decision = decide_pool(names(2), ["", ""], [link(0, 1)], [link(0, T1), link(1, T3)], MAIN)
    assert decision.groups == {}
    assert {(item.reason, item.other) for item in decision.excluded} == {
        ("duplicates of several train groups", "g1, g2")
    }


def test_a_train_image_is_no_bridge_from_a_copy_of_a_test_image_to_another_image():
    """Main images are parted already: what duplicates a train image alone is as good as that train image."""
    decision = decide_pool(names(2), ["", ""], [], [link(0, S1), link(0, T1), link(1, T1)], MAIN)
    assert decision.groups == {1: "g1"}
    assert [item.row for item in decision.excluded] == [0]


def test_images_of_an_external_site_are_left_out_with_their_group():
    # 1 is of the site, 0 of its patient; 2 copies a test image and 3, of the site, duplicates 2; 4 stands alone
    identities = ["x/p", "x/p", "", "", ""]
    decision = decide_pool(names(5), identities, [link(2, 3)], [link(2, S1)], MAIN, external={1, 3})
    assert decision.groups == {4: "image x/4"}
    assert [(item.reason, item.other) for item in decision.excluded] == [
        ("of one group with an image of an external site", "x/1"),
        ("image of an external site", ""),
        ("duplicate of a test image (near)", "s1"),
        ("of one group with such a duplicate", "x/2"),
    ]


def test_a_train_image_whose_group_published_lists_put_into_test_too_takes_no_image_in():
    main = [*MAIN, Member("s4", "test", "g2")]
    decision = decide_pool(names(3), ["x/p", "x/p", ""], [], [link(0, T2), link(2, T1)], main)
    assert decision.groups == {2: "g1"}
    reason = "of a group with images in val or test too"
    assert decision.excluded == [Excluded(0, reason, "g2"), Excluded(1, reason, "g2")]
    # both images are known to be of one group: that 0 duplicates the two says nothing new of the split
    assert decide_pool(names(1), [""], [], [link(0, T2), link(0, 6)], main).bridges == []


def test_an_image_that_duplicates_a_train_and_a_held_out_image_is_named_with_both():
    across = [link(0, S1), link(0, T3), link(0, T2), link(0, T1), link(1, V1), link(2, T1)]
    decision = decide_pool(names(3), [""] * 3, [link(1, 2)], across, MAIN)
    assert decision.bridges == [Bridge(0, "g1", "s1"), Bridge(0, "g2", "s1")]
    assert decision.groups == {}


def test_group_names_are_their_own():
    """A case called like a patient of its set, and groups of the dataset called like those of the pool."""
    main = [Member("t", "train", "image x/0"), Member("u", "train", "image x/0 (pool)"), Member("s", "test", "x/2")]
    decision = decide_pool(["x/0", "x/1", "x/2", "x/p"], ["", "x/p", "", ""], [], [], main)
    assert decision.groups == {
        0: "image x/0 (pool) (pool)",
        1: "patient x/p",
        2: "image x/2",
        3: "image x/p",
    }


def test_names_of_sources_do_not_mix():
    assert qualified("busi", "benign (1)") == "busi/benign (1)"
    assert qualified("busi", "") == ""


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_of_a_component_with_a_held_out_image_joins(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    rows, mains = st.integers(0, count - 1), st.integers(0, len(MAIN) - 1)
    identities = data.draw(st.lists(st.sampled_from(["", "x/p", "x/q"]), min_size=count, max_size=count))
    within = [link(a, b) for a, b in data.draw(st.lists(st.tuples(rows, rows), max_size=10)) if a != b]
    across = [link(a, b) for a, b in data.draw(st.lists(st.tuples(rows, mains), max_size=6))]
    decision = decide_pool(names(count), identities, within, across, MAIN)
    left_out = {item.row for item in decision.excluded}
    assert sorted([*decision.groups, *left_out]) == list(range(count))
    first = {identity: identities.index(identity) for identity in identities if identity}
    edges = [(item.a, item.b) for item in within] + [(first[p], row) for row, p in enumerate(identities) if p]
    component = connected_groups(count, edges)
    touched = {component[item.a] for item in across if MAIN[item.b].part != "train"}
    assert all(component[row] not in touched for row in decision.groups)
    for a in decision.groups:  # one group is one component, or components that duplicate one train group
        for b in decision.groups:
            if component[a] == component[b]:
                assert decision.groups[a] == decision.groups[b]
            elif decision.groups[a] == decision.groups[b]:
                assert decision.groups[a] in {"g1", "g2"}
