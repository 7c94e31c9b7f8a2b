import pytest

from pipelines.splitting.groups import find_groups
from pipelines.splitting.leakage import describe_leaks, describe_parts, describe_split, leaked_rows, moved_by_joining
from pipelines.splitting.parts import HASH, LISTED, Placed, Rule
from pipelines.splitting.protocols import Division
from pipelines.splitting.ranks import SIZES
from tests.support.split_sets import EVEN, SHARES, case, divided, draw, pair


def test_leaks_by_hand():
    """t0 has a copy in train, t1 one over t0, t2 shares a patient with val, t3 has nobody, t4 is t3's copy."""
    cases = [case("a"), case("b", "p"), case("t0"), case("t1"), case("t2", "p"), case("t3"), case("t4")]
    duplicates = [pair("a", "t0"), pair("t0", "t1"), pair("t3", "t4")]
    groups = find_groups(cases, duplicates)
    parts = ("train", "val", "test", "test", "test", "test", "test")
    assert leaked_rows(groups, parts) == {2, 3, 4}
    assert describe_leaks(cases, duplicates, groups, parts) == {
        "test_images": 5,
        "leaked_images": 3,
        "leaked_share": 0.6,
        "test_groups": 3,
        "leaked_groups": 2,
        "with_a_near_duplicate": 1,
        "in_a_cluster_of_near_duplicates": 2,
        "with_a_relative_in_train": 2,
        "class_conflicts_in_test": 0,
        "cases": ["t0", "t1", "t2"],
    }


def division(parts: tuple[str, ...], groups: list, reason: str = HASH) -> Division:
    placed = {group.name: Placed(parts[group.rows[0]], reason) for group in groups}
    return Division(parts, placed, Rule())


def test_facts_and_warnings_of_parts_by_hand():
    cases = [case(f"c{index}", f"p{index // 2}", area=0.05 if index < 6 else 0.0) for index in range(8)]
    groups = find_groups(cases, [pair("c0", "c7")])
    own = division(("train",) * 4 + ("test",) * 2 + ("train",) * 2, groups)
    facts, warnings = describe_parts(cases, groups, own, draw())
    assert facts["train"] == {
        "images": 6,
        "groups": 2,
        "nominal_share": 0.63,
        "expected_share": 0.63,
        "share_images": 0.75,
        "share_groups": 2 / 3,
        "classes": {"benign": 6},
        "sizes": dict.fromkeys(SIZES, 0) | {"no lesion": 2, "0.022 to 0.058": 4},
        "median_area": 0.05,
    }
    assert warnings == [
        "train holds 75.0% of the images; expected 63.0%",
        "val holds 0.0% of the images; expected 7.0%",
        "val holds no image of class benign",
        "test holds 25.0% of the images; expected 30.0%",
    ]


def test_what_a_list_placed_is_expected_where_it_is():
    cases = [case(f"c{index}") for index in range(10)]
    groups = find_groups(cases, [])
    facts, warnings = describe_parts(cases, groups, division(("train",) * 8 + ("val", "test"), groups, LISTED), draw())
    assert [facts[part]["expected_share"] for part in ("train", "val", "test")] == [0.8, 0.1, 0.1]
    assert warnings == []


def test_tolerances_of_class_and_area_have_numbers():
    """Of 100 images 30 are malignant with large lesions: half of them in a test part of 30."""
    cases = [case(f"b{index}", area=0.04) for index in range(70)]
    cases += [case(f"m{index}", "", "malignant", area=0.2) for index in range(30)]
    groups = find_groups(cases, [])
    parts = ("train",) * 48 + ("val",) * 5 + ("test",) * 17 + ("train",) * 13 + ("val",) * 2 + ("test",) * 15
    warnings = describe_parts(cases, groups, division(parts, groups), draw())[1]
    assert warnings == [
        "test is 53.1% benign; the whole set 70.0%, and 16.2% is 2 sd of 32 groups",
        "test is 46.9% malignant; the whole set 30.0%, and 16.2% is 2 sd of 32 groups",
    ]
    lower = [row | {"area": "0.04"} if index >= 85 else row for index, row in enumerate(cases)]
    lower = [row | {"area": "0.08"} if parts[index] == "test" else row for index, row in enumerate(lower)]
    assert (
        "test has a median lesion area of 0.0800; the whole set 0.0400"
        in describe_parts(lower, groups, division(parts, groups), draw())[1]
    )


def test_a_group_lists_what_its_members_would_have_alone():
    names = [f"c{index:02d}" for index in range(60)]
    train, test = (next(n for n in names if draw().part(n) == part) for part in ("train", "test"))
    cases = [case(name) for name in names] + [case("zz", "", "malignant")]
    groups, own = divided(cases, [pair(train, test)], draw())
    smaller = min(train, test)
    (entry,) = moved_by_joining(cases, groups, own, draw())
    assert (entry["group"], entry["part"], entry["reason"]) == (smaller, draw().part(smaller), "hash")
    assert {unit["identity"]: unit["part_alone"] for unit in entry["identities"]} == {train: "train", test: "test"}
    assert [unit["cases"] for unit in entry["identities"]] == sorted([[train], [test]])
    groups, own = divided(cases, [pair(test, "zz")], draw())
    (entry,) = moved_by_joining(cases, groups, own, draw())
    assert (entry["group"], entry["part"], entry["reason"]) == (test, "train", "class conflict")


def test_a_patient_that_nobody_joined_was_not_moved_by_joining():
    """Two images of one patient contradict each other: in train by that, which class_conflicts says."""
    patient = next(name for name in (f"p{index}" for index in range(99)) if draw().part(name) == "test")
    cases = [*(case(f"c{index:02d}") for index in range(60)), case("x", patient), case("y", patient, "malignant")]
    groups, own = divided(cases, [pair("x", "y")], draw())
    assert own.parts[-2:] == ("train", "train")
    assert moved_by_joining(cases, groups, own, draw()) == []
    report = describe_split("clean", cases, [pair("x", "y")], groups, own, draw())
    assert report["class_conflicts"] == {patient: ["x", "y"]}
    other = next(row["case"] for row in cases if draw().part(row["case"]) == "test")
    groups, own = divided(cases, [pair("x", "y"), pair("x", other)], draw())
    (entry,) = moved_by_joining(cases, groups, own, draw())
    assert {unit["identity"]: unit["part_alone"] for unit in entry["identities"]} == {patient: "train", other: "test"}


@pytest.mark.parametrize(
    ("protocol", "given", "carved"),
    [
        ("clean", ("train", "test"), False),
        ("official", ("train", "test"), True),
        ("official", ("train", "val", "test"), False),
        ("official", ("test",), False),
    ],
)
def test_report_says_whether_val_was_carved(protocol, given, carved):
    """The owner's first val case ends it; where the owner names no train part, val is hashed."""
    cases = [case(f"c{index:02d}", official=(*given, "")[index % (len(given) + 1)]) for index in range(80)]
    groups, own = divided(cases, [], draw(), protocol)
    assert describe_split(protocol, cases, [], groups, own, draw())["carved"] is carved
    in_train = [row for row in range(80) if cases[row]["official_part"] == "train"]
    if protocol == "official":
        assert any(own.parts[row] == "val" for row in in_train) is carved


@pytest.mark.parametrize("named", [0, 1, 10])
def test_images_with_a_published_identity_are_counted(named):
    cases = [case(f"c{index}", "p" * (index + 1) if index < named else "") for index in range(10)]
    groups, own = divided(cases, [], draw(1, EVEN))
    report = describe_split("clean", cases, [], groups, own, draw(1, EVEN))
    assert (report["images_with_identity"], report["images"]) == (named, 10)


@pytest.mark.parametrize("protocol", ["clean", "official"])
def test_report_of_a_whole_split(protocol):
    cases = [case(f"c{index:02d}", f"p{index // 2:02d}", site="A") for index in range(80)]
    cases += [case(f"x{index}", official="external", site="B") for index in range(4)]
    if protocol == "official":
        cases = [row | {"official_part": "test"} if row["case"] in ("c00", "c01") else row for row in cases]
        cases = [row | {"official_part": "val"} if row["case"] in ("c04", "c05") else row for row in cases]
    duplicates = [pair("c10", "c13")]
    groups, own = divided(cases, duplicates, draw(), protocol)
    report = describe_split(protocol, cases, duplicates, groups, own, draw())
    assert report["protocol"] == protocol
    assert set(report["area_strata"]) == set(report["parts"]["test"]["sizes"])
    assert report["groups_that_cross_parts"] == report["test"]["leaked_images"] == 0
    assert report["merged_groups"] == {"p05": ["p05", "p06"]}
    assert report["placed_by"]["external"] == 4
    assert report["placed_by"].get("owner", 0) == (2 if protocol == "official" else 0)
    assert report["sites"]["B"] == {"train": 0, "val": 0, "test": 4}
    assert sum(report["sites"]["A"].values()) == 80
    assert report["parts"]["test"]["expected_share"] == pytest.approx(
        (SHARES["test"] * (80 if protocol == "clean" else 76) + (4 if protocol == "clean" else 6)) / 84
    )
