import numpy as np
import pytest

from pipelines.runtime.errors import NumericsError
from segmentation.scores import COLUMNS, Scoring, of_class, pooled_error_auroc, score_all, score_case
from segmentation.uncertainty import pixel_error_auroc

SCORING = Scoring(("lesion",), bins=15, margin=0.2)


def case(**changes: str) -> dict[str, str]:
    row = {
        "case": "c1",
        "class": "benign",
        "site": "A",
        "width": "64",
        "height": "64",
        "spacing_x": "",
        "spacing_y": "",
    }
    row |= {"inner_top": "0", "inner_left": "0", "inner_height": "32", "inner_width": "32"}
    return row | changes


def label(top: int, left: int, side: int, size: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_exact_prediction_scores_one_at_both_sizes():
    working, native = label(8, 8, 16, 32), label(16, 16, 32, 64)
    row = score_case(working[None].astype(np.float32), working, native, case(), SCORING)[0]
    assert row["dice"] == row["iou"] == 1.0
    assert row["dice_native"] > 0.97  # bilinear rounds the four corners
    assert row["hd95"] == row["ece"] == row["brier"] == row["ece_box"] == 0.0
    assert row["empty"] == row["empty_native"] == ""
    assert row["target_area"] == 0.25
    assert row["hd95_mm"] is None


def test_millimeters_where_spacing_is_known():
    working, native = label(8, 8, 8, 32), label(16, 16, 16, 64)
    shifted = label(8, 12, 8, 32)[None].astype(np.float32)
    row = score_case(shifted, working, native, case(spacing_x="0.5", spacing_y="0.1"), SCORING)[0]
    assert row["hd95"] == 4.0
    assert row["hd95_native"] == pytest.approx(8.0, abs=0.5)
    assert row["hd95_mm"] == pytest.approx(4.0, abs=0.25)  # across: 0.5 mm per pixel


def test_empty_masks_at_both_sizes():
    nothing, native = np.zeros((1, 32, 32), np.float32), label(16, 16, 32, 64)
    row = score_case(nothing, label(8, 8, 16, 32), native, case(), SCORING)[0]
    assert row["empty"] == row["empty_native"] == "prediction"
    assert row["dice"] == row["dice_native"] == 0.0
    assert row["hd95"] == pytest.approx(np.hypot(32, 32))
    assert row["hd95_native"] == pytest.approx(np.hypot(64, 64))
    free = score_case(nothing, np.zeros((32, 32), np.uint8), np.zeros((64, 64), np.uint8), case(), SCORING)[0]
    assert free["empty"] == "both"
    assert free["dice"] == 1.0
    assert free["hd95"] == 0.0
    assert free["ece_box"] is None
    alarm = score_case(nothing + 1, np.zeros((32, 32), np.uint8), np.zeros((64, 64), np.uint8), case(), SCORING)[0]
    assert alarm["empty"] == "target"
    assert alarm["predicted_area"] == alarm["largest_component"] == 1.0


def test_padding_of_a_letterbox_counts_for_nothing():
    inside = {"inner_top": "8", "inner_height": "16", "height": "32"}
    working = label(12, 8, 8, 32)
    probability = working[None].astype(np.float32)
    probability[:, :8] = probability[:, 24:] = 1.0  # nonsense where there is no image
    native = np.kron(working[8:24], np.ones((2, 2), np.uint8))
    row = score_case(probability, working, native, case(**inside), SCORING)[0]
    assert row["dice"] == 1.0
    assert row["ece"] == 0.0
    assert row["dice_native"] > 0.93


def test_three_channels_are_two_foreground_classes():
    probability = np.zeros((3, 32, 32), np.float32)
    probability[0] = 0.4
    probability[1], probability[2] = 0.35, 0.25
    probability[:, :16] = np.array([0.1, 0.2, 0.7])[:, None, None]
    assert of_class(probability, 2)[0][:16].all()
    assert not of_class(probability, 1)[0].any()
    working = np.zeros((32, 32), np.uint8)
    working[:16] = 2
    native = np.kron(working, np.ones((2, 2), np.uint8))
    rows = score_case(probability, working, native, case(), Scoring(("a", "b"), 15, 0.0))
    assert [row["foreground"] for row in rows] == ["a", "b"]
    assert rows[0]["empty"] == "both"
    assert rows[1]["dice"] == 1.0
    assert rows[1]["dice_native"] > 0.97


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.5])
def test_probability_that_is_none_is_named(bad):
    with pytest.raises(NumericsError, match="c1"):
        score_case(np.full((1, 32, 32), bad), label(8, 8, 4, 32), label(8, 8, 4, 64), case(), SCORING)


def test_rows_hold_every_column():
    p = label(8, 8, 16, 32)
    rows = score_all([p[None] * 1.0], [p], [label(16, 16, 32, 64)], [case()], {"c1": "g7"}, {"c1"}, "direct", SCORING)
    assert set(rows[0]) == set(COLUMNS)
    assert (rows[0]["site"], rows[0]["leaked"]) == ("A", True)
    assert rows[0]["group"] == "g7"
    assert rows[0]["mode"] == "direct"


def test_uncertainty_of_a_class_by_hand():
    """12 of 16 annotated pixels at p = 0.8, a sure background, and of the 4 missed ones one that was nearly found."""
    probability = np.zeros((1, 32, 32), np.float32)
    probability[0, 8:12, 8:11] = 0.8
    target = label(8, 8, 4, 32)
    probability[0, 8, 11] = 0.4
    row = score_case(probability, target, target.repeat(2, 0).repeat(2, 1), case(), SCORING)[0]
    assert row["uncertainty"] == pytest.approx(1 - 2 * 9.6 / (12 + 10.0))
    # wrong: p = 0.4, less sure than all 1020 right ones, and three of p = 0, which tie with 1008 of them
    assert row["error_auroc"] == pytest.approx((1020 + 3 * 0.5 * 1008) / (4 * 1020))
    assert row["error_auroc_box"] == pytest.approx((32 + 3 * 0.5 * 20) / (4 * 32))  # 6 x 6 pixels
    pooled = pooled_error_auroc([probability], [target], [case()], 1, SCORING)
    assert pooled == pytest.approx({key: row[key] for key in ("error_auroc", "error_auroc_box")})


def test_pooled_errors_are_those_of_all_pixels_and_leave_the_padding_out():
    rng = np.random.default_rng(0)
    p = rng.random((3, 1, 32, 32)).astype(np.float32)
    p[:, :, 16:] = 0.5  # padding: the least certain of all
    targets = (rng.random((3, 32, 32)) < 0.5).astype(np.uint8)
    inner = [case(inner_height="16")] * 3
    doubt, wrong = np.minimum(p, 1 - p)[:, 0, :16], (p[:, 0, :16] >= 0.5) != (targets[:, :16] == 1)
    expected = pixel_error_auroc(doubt, wrong)
    found = pooled_error_auroc(p, targets, inner, 1, SCORING)
    assert found["error_auroc"] == pytest.approx(expected, abs=2e-3)
    assert found["error_auroc_box"] == pytest.approx(expected, abs=2e-3)  # the box is all of the image
    nothing = pooled_error_auroc(np.zeros_like(p), np.zeros_like(targets), inner, 1, SCORING)
    assert nothing == {"error_auroc": None, "error_auroc_box": None}
