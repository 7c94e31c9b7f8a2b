from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.datasets.case import Case
from pipelines.datasets.collect import Row
from pipelines.datasets.conflicts import check_pairs, flag_pairs


def row(name: str, class_name: str = "benign", **fields: Any) -> Row:
    case = Case(name, Path(f"{name}.png"), (), class_name, identity=fields.pop("identity", ""))
    return Row(case, 90, 120, **{"pixels": name, "file": name, "area": 0.1, "label": "one", **fields})


class Link:
    """A pair as `find_pairs` gives it, as far as conflicts read it."""

    def __init__(self, a: int, b: int, kind: str = "re-encoded") -> None:
        self.a, self.b, self.kind, self.aligned_ncc = a, b, kind, 0.99


def test_duplicates_of_unequal_class_contradict_and_a_patient_with_two_classes_does_not() -> None:
    rows = [row("a", identity="p"), row("b", "malignant", identity="q"), row("c", identity="q"), row("d"), row("e")]
    flagged = flag_pairs(rows, [Link(0, 1), Link(3, 4)])
    assert [item.case.flags for item in flagged] == [
        ("duplicate", "class_conflict"),
        ("duplicate", "class_conflict"),
        (),
        ("duplicate",),
        ("duplicate",),
    ]


def test_one_image_in_two_classes_is_named_with_its_likeness() -> None:
    for other, likeness in (
        (row("b", "malignant", pixels="a", file="a"), "byte-identical files"),
        (row("b", "malignant", pixels="a"), "the same pixels"),
        (row("b", "malignant"), "re-encoded, aligned NCC 0.990"),
    ):
        found = check_pairs([row("a"), other], [Link(0, 1)])
        assert [item.check for item in found] == ["class conflict", "duplicates"]
        assert (found[0].case, found[0].file) == ("a", "a.png and b.png")
        assert found[0].found == f"benign and malignant ({likeness})"


def test_equal_images_with_unequal_masks() -> None:
    rows = [row("a"), row("b", pixels="a"), row("c", pixels="a", label="two", area=0.2), row("d", label="three")]
    found = [item for item in check_pairs(rows, []) if item.check == "different masks"]
    assert [(item.case, item.file, item.found) for item in found] == [
        ("c", "a.png and c.png", "lesions of 10.00 and 20.00 %")
    ]


def test_clusters_and_chains() -> None:
    rows = [row(f"r{index}") for index in range(10)]
    found = check_pairs(rows, [Link(index, index + 1) for index in range(5)])
    assert [(item.check, item.found) for item in found] == [("duplicates", "6 in 1 clusters of near-duplicates")]
    found = check_pairs(rows, [*(Link(index, index + 1) for index in range(6)), Link(8, 9)])
    assert [(item.check, item.found) for item in found] == [
        ("duplicates", "9 in 2 clusters of near-duplicates"),
        ("duplicate chain", "7"),
    ]
