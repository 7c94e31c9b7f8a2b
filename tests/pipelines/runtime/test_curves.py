"""When a training's curve reached something."""

from pipelines.runtime.curves import curve_of, share_to, steps_to

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


def test_the_share_of_the_training_until_then() -> None:
    curve = curve_of(ROWS, "dice_val")
    assert [share_to(curve, target) for target in (0.5, 0.75, 0.8)] == [20 / 60, 40 / 60, None]
    assert share_to([], 0.5) is None
