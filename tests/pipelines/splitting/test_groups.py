from pipelines.splitting.groups import Unit, duplicate_clusters, find_groups, restrict
from tests.support.split_sets import case, pair


def test_patients_and_duplicates_merge_transitively():
    cases = [case("a", "p2"), case("b", "p1"), case("c", "p2"), case("d"), case("e"), case("f")]
    groups = find_groups(cases, [pair("b", "c"), pair("d", "f")])
    assert [(group.name, group.rows, group.identities) for group in groups] == [
        ("d", (3, 5), ("d", "f")),
        ("e", (4,), ("e",)),
        ("p1", (0, 1, 2), ("p1", "p2")),
    ]


def test_units_tell_identity_and_the_owners_part():
    cases = [case("a", "p", official="train"), case("b", "p"), case("c", "p", "malignant", official="train")]
    (group,) = find_groups(cases, [])
    assert group.units == (Unit("p", "", (1,)), Unit("p", "train", (0, 2)))
    assert group.classes == ("benign", "malignant")
    assert group.official == {"", "train"}


def test_units_know_the_contradictions_that_are_their_own():
    """p contradicts itself; q's images are joined over an image of r, and none of the two does."""
    cases = [case("a", "p"), case("b", "p", "malignant"), case("c", "q"), case("d", "q", "malignant"), case("e", "r")]
    groups = {group.name: group for group in find_groups(cases, [pair("a", "b"), pair("c", "e"), pair("d", "e")])}
    assert groups["p"].conflict
    assert groups["p"].units == (Unit("p", "", (0, 1), conflict=True),)
    assert groups["q"].conflict
    assert groups["q"].units == (Unit("q", "", (2, 3)), Unit("r", "", (4,)))
    kept = restrict(groups["p"], {0, 1})
    assert kept is not None
    assert kept.units == groups["p"].units


def test_a_case_called_like_a_patient_is_another_group_with_a_hash_of_its_own_name():
    """Patients 1 ... 9 in groups.csv beside images 1 ... 99: the folder of many a user."""
    cases = [case("1"), case("2", "1"), case("3", "1"), case("1 (image)")]
    groups = {group.name: group for group in find_groups(cases, [])}
    assert {name: group.rows for name, group in groups.items()} == {
        "1": (1, 2),
        "1 (image)": (3,),
        "1 (image) (image)": (0,),
    }
    assert groups["1 (image) (image)"].key == "1"
    assert find_groups(cases[:1], [])[0].name == "1"


def test_clusters_leave_identities_aside():
    cases = [case("a", "p"), case("b", "p"), case("c")]
    clusters = duplicate_clusters(cases, [pair("b", "c")])
    assert clusters[1] == clusters[2] != clusters[0]


def test_a_group_cut_to_some_rows_keeps_its_name():
    (group,) = find_groups([case("a", "p1"), case("b", "p2"), case("c", "p2")], [pair("a", "b")])
    kept = restrict(group, {1, 9})
    assert kept is not None
    assert (kept.name, kept.key, kept.rows, kept.units) == ("p1", "p1", (1,), (Unit("p2", "", (1,)),))
    assert restrict(group, {9}) is None
