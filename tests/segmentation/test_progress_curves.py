"""What the table of a training says: when a Dice was reached, and whether it ended in nothing."""

import pytest

from segmentation.progress_curves import collapse, curve_of, steps_to

ROWS = [
    {"step": "10", "total": "1.0", "dice_val": ""},
    {"step": "20", "total": "0.8", "dice_val": "0.5"},
    {"step": "30", "total": "0.7", "dice_val": ""},
    {"step": "40", "total": "0.6", "dice_val": "0.78"},
    {"step": "60", "total": "0.6", "dice_val": "0.74"},
]


def test_a_curve_holds_the_filled_rows_and_is_reached_once() -> None:
    curve = curve_of(ROWS, "dice_val")
    assert curve == [(20, 0.5), (40, 0.78), (60, 0.74)]
    assert [steps_to(curve, target) for target in (0.4, 0.5, 0.75, 0.78, 0.8)] == [20, 20, 40, 40, None]
    assert curve_of(ROWS, "absent") == []
    assert steps_to([], 0.75) is None


@pytest.mark.parametrize(
    ("share", "word"), [("0.0", "called background"), ("1.0", "called foreground"), ("1e-05", ""), ("0.99", "")]
)
def test_one_mask_for_all_validation_images_is_a_collapse(share: str, word: str) -> None:
    rows = [{"step": "10", "foreground_val": "0.0"}, {"step": "20", "foreground_val": share}]
    found = collapse([*rows, {"step": "30", "foreground_val": ""}])
    assert len(found) == bool(word)
    assert all(word in text and "at step 20" in text and "segmenter.label_fraction" in text for text in found)


def kept(values: list[float]) -> list[dict[str, str]]:
    return [{"step": str(10 * (place + 1)), "keep_foreground": str(value)} for place, value in enumerate(values)]


def test_pseudo_labels_without_foreground_in_the_last_fifth_are_a_collapse() -> None:
    (found,) = collapse(kept([0.4] * 8 + [0.0, 0.0]))
    assert "last 20% of the steps" in found
    assert "kappa_foreground" in found
    assert collapse(kept([0.0] * 8 + [0.001, 0.0])) == []
    assert collapse(kept([0.4] * 8 + [0.0, 0.0]), learns=False) == []
    assert collapse([{"step": "10", "total": "1.0"}]) == []
