import pytest

from pipelines.report import data
from pipelines.report.table import ArmRow, SiteScore
from pipelines.runtime.bootstrap import Interval
from tests.support.report_world import gathered, leakage_of, line
from tests.support.split_sets import case, pair


@pytest.fixture
def found():
    return gathered({("both", 0): [line("a1", 0.5)]}, ("both",), (0,))


def test_a_clean_split_says_so(found):
    lines = dict(data.protocol(found))
    assert lines["protocol"].startswith("clean: whole groups")
    assert lines["test images"] == "1 in 1 groups"
    assert lines["images without a lesion"] == "none in test"
    assert lines["size of the scores"] == "4 x 4 pixels; native too"
    assert lines["names of patients or lesions"].startswith("not published")
    assert data.leak_note(found) == ""
    assert data.part_note(found) == "no group of images (patient, lesion, near-duplicate) lies in two parts"
    assert dict(data.leaks(found))["groups that lie in more than one part"] == "0"
    assert data.sites(found) == data.excluded(found) == []


@pytest.mark.parametrize(
    ("identities", "expected"),
    [
        (("p", "q", "q"), "published"),
        (("p", "", ""), "published for 1 of 3 images; the others are grouped by near-duplicates only"),
        (("", "", ""), "not published: patient identity unknown, groups are near-duplicates only"),
    ],
)
def test_how_many_images_have_a_patient(found, identities, expected):
    rows = [case(name, identity) for name, identity in zip("abc", identities, strict=True)]
    found.leakage = leakage_of(rows, [], ("train", "val", "test"))[0]
    assert dict(data.protocol(found))["names of patients or lesions"] == expected


def test_class_conflicts_are_of_duplicates(found):
    """The patient's lesions of two classes are none; the two near-duplicates are."""
    rows = [case("a", "p"), case("b", "p", "malignant"), case("c", "q"), case("d", "q", "malignant"), case("e")]
    found.leakage = leakage_of(rows, [pair("c", "d")], ("train", "train", "train", "train", "test"))[0]
    assert dict(data.leaks(found))["groups with duplicates of unequal class"] == "1"


def test_literature_has_its_leaks_in_words(found):
    """Of three test images one is a copy of a train image; one has no lesion."""
    rows = [case("a"), case("v"), case("t"), case("u", area=0.0), case("w")]
    found.leakage = leakage_of(rows, [pair("a", "t")], ("train", "val", "test", "test", "test"), "literature")[0]
    found.integrity["findings"] = [{"check": "reduced copy"}]
    lines = dict(data.protocol(found))
    assert lines["lists"] == "lists, seed 41; as published"
    assert lines["sha256 of the scored list"] == "0" * 64
    assert lines["size of the scores"].endswith("native too, of a reduced copy")
    assert lines["images without a lesion"] == "1 in test, counted for false positives alone"
    note = data.leak_note(found)
    assert "Protocol literature: 1 of 3 test images (33.3%, 1 groups) have a near-duplicate" in note
    assert "1 images without a lesion among them all" in note
    assert "put images of 1 groups" in data.part_note(found)
    assert dict(data.leaks(found))["groups of such test images"] == "1 of 3"


def test_a_link_that_is_not_listed_is_counted_by_its_cluster(found):
    """a-t and t-w are listed, a-w is not: w is in one cluster with a train image all the same."""
    rows = [case("a"), case("v"), case("t"), case("u"), case("w")]
    links = [pair("a", "t"), pair("t", "w")]
    found.leakage = leakage_of(rows, links, ("train", "val", "test", "test", "test"), "literature")[0]
    assert found.leakage["test"]["with_a_near_duplicate"] == 1
    row = "of these, in one cluster of near-duplicates with images of train or val"
    assert dict(data.leaks(found))[row] == "2 of 3"


def test_sites_by_part_and_by_score(found):
    rows = [case("a", site="A"), case("v"), case("t", site="B"), case("u", site="A")]
    found.leakage = leakage_of(rows, [], ("train", "val", "test", "test"))[0]
    assert data.sites(found) == [
        {"site": "not named", "train": 0, "val": 1, "test": 0},
        {"site": "A", "train": 1, "val": 0, "test": 1},
        {"site": "B", "train": 0, "val": 0, "test": 1},
    ]
    scores = (SiteScore("", 3, 2, Interval(0.75, 0.7, 0.8), 0, None),)
    (line_,) = data.site_scores([ArmRow("both", "refine", "lesion", sites=scores), ArmRow("real", "", "")])
    assert (line_["arm"], line_["site"], line_["images"], line_["dice"].mean) == ("both", "not named", 3, 0.75)


def test_excluded_cases_and_findings_by_check(found):
    one = {"case": "a", "check": "empty mask", "file": "a_mask.png", "expected": "a lesion", "found": "none"}
    flags = [
        {"severity": "flag", "check": "color", "case": name, "file": "", "expected": "gray", "found": "color"}
        | {"remedy": "look"}
        for name in "abc"
    ]
    found.integrity = {"errors": 0, "warnings": 0, "flags": 3, "excluded": [one], "findings": flags}
    found.duplicates = {"mirrored": 1, "near": 2}
    assert data.excluded(found) == [{"case": "a", "check": "empty mask", "expected": "a lesion", "found": "none"}]
    report = data.integrity(found)
    first = "a: expected gray, found color; look"
    assert report["groups"] == [{"severity": "flag", "check": "color", "count": 3, "first": first}]
    assert "1 mirrored, 2 near" in report["sentence"]
    assert data.message(flags[0] | {"file": "a.png"}).startswith("a.png: ")
